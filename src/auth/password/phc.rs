//! The text forms of stored hashes: PHC strings of argon2id, and bcrypt's crypt(3) form.

use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::NO_PAD},
    prelude::BASE64_STANDARD_NO_PAD,
};

use super::{
    BCRYPT_COSTS, BCRYPT_OUTPUT_BYTES, MAX_LANES, MAX_MEMORY_KIB, MAX_PASSES, SALT_BYTES, Scheme, UnusableHash, Work,
};

const ARGON2_SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;
const ARGON2_OUTPUT_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Salt and hash of bcrypt, in characters.
const BCRYPT_SALT_CHARS: usize = 22;
const BCRYPT_TAIL_CHARS: usize = 53;

/// Some encoders leave bits set in the last character that belong to no byte; crypt(3) ignores them.
const BCRYPT_BASE64_CONFIG: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, BCRYPT_BASE64_CONFIG);

/// What other schemes begin with, and are called.
const UNSUPPORTED: [(&str, &str); 13] = [
    ("$argon2i$", "argon2i"),
    ("$argon2d$", "argon2d"),
    ("$2x$", "the faulty bcrypt of $2x$"),
    ("$2$", "the first bcrypt ($2$)"),
    ("$apr1$", "Apache's MD5 ($apr1$)"),
    ("$1$", "MD5-crypt ($1$)"),
    ("$5$", "SHA-256-crypt ($5$)"),
    ("$6$", "SHA-512-crypt ($6$)"),
    ("$y$", "yescrypt ($y$)"),
    ("$scrypt$", "scrypt"),
    ("$pbkdf2", "PBKDF2"),
    ("{SHA}", "unsalted SHA-1 ({SHA})"),
    ("{SSHA}", "SHA-1 ({SSHA})"),
];

pub(super) fn parse(text: &str) -> Result<Scheme, UnusableHash> {
    if let Some(rest) = text.strip_prefix("$argon2id$") {
        return argon2id(rest);
    }
    if let Some(rest) = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix)) {
        return bcrypt(rest);
    }
    let scheme =
        UNSUPPORTED.iter().find(|(prefix, _)| text.starts_with(prefix)).map_or("this kind of hash", |(_, name)| *name);
    Err(UnusableHash::Scheme(scheme))
}

/// The PHC string of an argon2id hash.
pub(super) fn format(work: Work, salt: &[u8], output: &[u8]) -> String {
    let Work::Argon2id { memory_kib, passes, lanes } = work else {
        unreachable!("only argon2id hashes are made");
    };
    format!(
        "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${}${}",
        BASE64_STANDARD_NO_PAD.encode(salt),
        BASE64_STANDARD_NO_PAD.encode(output),
    )
}

fn argon2id(rest: &str) -> Result<Scheme, UnusableHash> {
    use UnusableHash::{Cost, Malformed};

    let mut parts = rest.split('$');
    match parts.next() {
        Some("v=19") => {}
        Some(version) if version.starts_with("v=") || version.starts_with("m=") => {
            return Err(UnusableHash::Scheme("argon2id before version 19 (v=19)"));
        }
        _ => return Err(Malformed("the argon2id version")),
    }
    let mut parameters = parts.next().unwrap_or_default().split(',');
    let mut parameter = |prefix: &str| {
        parameters
            .next()
            .and_then(|p| p.strip_prefix(prefix))
            .and_then(decimal)
            .ok_or(Malformed("the argon2id parameters (m=,t=,p=)"))
    };
    let (memory, passes, lanes) = (parameter("m=")?, parameter("t=")?, parameter("p=")?);
    if parameters.next().is_some() {
        return Err(Malformed("the argon2id parameters (m=,t=,p=)"));
    }
    let memory_kib = u32::try_from(memory)
        .ok()
        .filter(|&m| m <= MAX_MEMORY_KIB)
        .ok_or(Cost("argon2id over m=65536, which is 64 MiB"))?;
    let within = |value: u64, max: u32| u8::try_from(value).ok().filter(|&v| v >= 1 && u32::from(v) <= max);
    let passes = within(passes, MAX_PASSES).ok_or(Cost("argon2id with t outside 1 to 16"))?;
    let lanes = within(lanes, MAX_LANES).ok_or(Cost("argon2id with p outside 1 to 16"))?;
    // RFC 9106, section 3.1.
    if memory_kib < 8 * u32::from(lanes) {
        return Err(Cost("argon2id with m under 8 times p"));
    }
    let mut field = |lengths: std::ops::RangeInclusive<usize>, what: &'static str| {
        parts
            .next()
            .and_then(|text| BASE64_STANDARD_NO_PAD.decode(text).ok())
            .filter(|bytes| lengths.contains(&bytes.len()))
            .ok_or(Malformed(what))
    };
    let mut salt_and_output = field(ARGON2_SALT_BYTES, "the argon2id salt (8 to 64 bytes)")?;
    let salt_len = u8::try_from(salt_and_output.len()).expect("at most 64 bytes");
    salt_and_output.extend(field(ARGON2_OUTPUT_BYTES, "the argon2id hash (16 to 64 bytes)")?);
    if parts.next().is_some() {
        return Err(Malformed("the end of the argon2id hash"));
    }
    Ok(Scheme::Argon2id { memory_kib, passes, lanes, salt_len, salt_and_output: salt_and_output.into() })
}

fn bcrypt(rest: &str) -> Result<Scheme, UnusableHash> {
    use UnusableHash::{Cost, Malformed};

    let (cost, tail) = rest.split_once('$').ok_or(Malformed("the bcrypt hash"))?;
    let cost = (cost.len() == 2 && cost.bytes().all(|b| b.is_ascii_digit()))
        .then(|| cost.parse::<u8>().ok())
        .flatten()
        .ok_or(Malformed("the bcrypt cost"))?;
    if !BCRYPT_COSTS.contains(&u32::from(cost)) {
        return Err(Cost("bcrypt outside cost 4 to 14"));
    }
    if tail.len() != BCRYPT_TAIL_CHARS || !tail.is_ascii() {
        return Err(Malformed("the bcrypt hash (60 characters)"));
    }
    let (salt_text, output_text) = tail.split_at(BCRYPT_SALT_CHARS);
    let mut salt = [0; SALT_BYTES];
    let mut output = [0; BCRYPT_OUTPUT_BYTES];
    for (text, bytes, what) in
        [(salt_text, &mut salt[..], "the bcrypt salt"), (output_text, &mut output[..], "the bcrypt hash")]
    {
        BCRYPT_BASE64.decode_slice(text, bytes).map_err(|_| Malformed(what))?;
    }
    Ok(Scheme::Bcrypt { cost, salt, output })
}

/// PHC decimals: digits alone, no leading zero. `u64` tells too costly from damaged.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::{PasswordHash, tests as vectors};
    use super::*;

    const SALT: &str = "c29tZXNhbHQ";
    const OUTPUT: &str = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn outcome(text: &str) -> Result<Work, UnusableHash> {
        PasswordHash::parse(text).map(|hash| hash.work())
    }

    #[test]
    fn supported_costs_are_read() {
        for (parameters, memory_kib, passes, lanes) in [
            ("m=19456,t=2,p=1", 19_456, 2, 1),
            ("m=65536,t=3,p=4", 65_536, 3, 4),
            ("m=128,t=16,p=16", 128, 16, 16),
            ("m=8,t=1,p=1", 8, 1, 1),
        ] {
            assert_eq!(
                outcome(&format!("$argon2id$v=19${parameters}${SALT}${OUTPUT}")),
                Ok(Work::Argon2id { memory_kib, passes, lanes })
            );
        }
        let tail = &vectors::BCRYPT_4[7..];
        for prefix in ["2a", "2b", "2y"] {
            for cost in [4, 10, 14] {
                assert_eq!(outcome(&format!("${prefix}${cost:02}${tail}")), Ok(Work::Bcrypt { cost }));
            }
        }
    }

    #[test]
    fn too_costly_hashes_are_unusable() {
        for parameters in [
            "m=65537,t=1,p=1",
            "m=4294967296,t=1,p=1",
            "m=19456,t=17,p=1",
            "m=19456,t=0,p=1",
            "m=19456,t=2,p=17",
            "m=19456,t=2,p=0",
            "m=15,t=2,p=2",
        ] {
            let text = format!("$argon2id$v=19${parameters}${SALT}${OUTPUT}");
            assert!(matches!(outcome(&text), Err(UnusableHash::Cost(_))), "{parameters}");
        }
        let tail = &vectors::BCRYPT_4[7..];
        for cost in ["03", "15", "31", "99"] {
            let text = format!("$2y${cost}${tail}");
            assert!(matches!(outcome(&text), Err(UnusableHash::Cost(_))), "{cost}");
        }
    }

    #[test]
    fn other_schemes_are_unusable() {
        let tail = &vectors::BCRYPT_4[4..];
        for text in [
            "$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "$1$salt$hash",
            "$5$salt$hash",
            "$6$salt$hash",
            "$y$j9T$salt$hash",
            "rqXexS6ZhobKA",
            "plaintext",
            "",
            &format!("$2x${tail}"),
            &format!("$argon2i$v=19$m=256,t=2,p=1${SALT}${OUTPUT}"),
            &format!("$argon2d$v=19$m=256,t=2,p=1${SALT}${OUTPUT}"),
            &format!("$argon2id$v=16$m=256,t=2,p=1${SALT}${OUTPUT}"),
            &format!("$argon2id$m=256,t=2,p=1${SALT}${OUTPUT}"),
        ] {
            assert!(matches!(outcome(text), Err(UnusableHash::Scheme(_))), "{text}");
        }
    }

    #[test]
    fn damaged_hashes_are_unusable() {
        let whole = format!("$argon2id$v=19$m=256,t=2,p=1${SALT}${OUTPUT}");
        let bcrypt = vectors::BCRYPT_4;
        for text in [
            &whole[..whole.len() - 1],
            &format!("{whole}="),
            &format!("{whole}$"),
            &format!("$argon2id$v=19$m=256,t=2,p=1${SALT}"),
            &format!("$argon2id$v=19$m=256,t=2,p=1$${OUTPUT}"),
            &format!("$argon2id$v=19$m=256,t=2,p=1$c2FsdA${OUTPUT}"),
            &format!("$argon2id$v=19$m=256,t=2,p=1${SALT}$c2hvcnQ"),
            &format!("$argon2id$v=19$t=2,m=256,p=1${SALT}${OUTPUT}"),
            &format!("$argon2id$v=19$m=256,t=2${SALT}${OUTPUT}"),
            &format!("$argon2id$v=19$m=256,t=2,p=1,keyid=x${SALT}${OUTPUT}"),
            &format!("$argon2id$v=19$m=+256,t=2,p=1${SALT}${OUTPUT}"),
            &format!("$argon2id$v=19$m=0256,t=2,p=1${SALT}${OUTPUT}"),
            "$argon2id$",
            &bcrypt[..59],
            &format!("{bcrypt}x"),
            &bcrypt.replacen("04", "4", 1),
            &bcrypt.replacen("04", "+4", 1),
            &bcrypt.replacen("abc", "a!c", 1),
            &bcrypt.replacen("abc", "aéc", 1),
            "$2y$",
        ] {
            assert!(matches!(outcome(text), Err(UnusableHash::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn stray_bits_in_the_last_character_of_a_bcrypt_salt_are_ignored() {
        let stray = vectors::BCRYPT_4.replacen("stuu", "stuv", 1);
        assert_ne!(stray, vectors::BCRYPT_4);
        assert!(PasswordHash::parse(&stray).unwrap().verify(b"password"));
    }

    #[test]
    fn no_reason_holds_any_of_the_hash() {
        for text in ["$apr1$lZL6V/ci$eIMz/iKDkbtys", "rqXexS6ZhobKA", "$2y$04$short"] {
            let reason = PasswordHash::parse(text).unwrap_err().to_string();
            let secret = text.rsplit('$').next().unwrap();
            assert!(!reason.contains(secret), "{reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
    }
}
