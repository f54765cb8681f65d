//! Stored password hashes: which are supported, what one costs to check, and the check itself.

mod credential;
mod phc;
mod plaintext;

use std::fmt;

use aws_lc_rs::rand;
use subtle::ConstantTimeEq;

pub use self::{credential::CredentialId, plaintext::Password};

/// The parameters of new hashes: OWASP's argon2id recommendation, 19 MiB, two passes, one lane.
pub const DEFAULT_WORK: Work = Work::Argon2id { memory_kib: 19_456, passes: 2, lanes: 1 };

/// The most memory that one check may take, in KiB.
pub const MAX_MEMORY_KIB: u32 = 65_536;

/// The most passes over its memory that a supported argon2id hash may ask for.
pub const MAX_PASSES: u32 = 16;

/// The most lanes that a supported argon2id hash may ask for; they are worked one after another.
pub const MAX_LANES: u32 = 16;

/// The supported bcrypt costs (the binary logarithm of the rounds).
pub const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// bcrypt looks at no more of a password than this.
const BCRYPT_PASSWORD_BYTES: usize = 72;

const SALT_BYTES: usize = 16;
const ARGON2_OUTPUT_BYTES: usize = 32;
const BCRYPT_OUTPUT_BYTES: usize = 23;

/// The kind and cost of a hash: two hashes of the same work take the same time and memory to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    Argon2id {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    /// `cost` is the binary logarithm of the rounds.
    Bcrypt {
        cost: u32,
    },
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2id { memory_kib, passes, lanes } => write!(f, "argon2id m={memory_kib},t={passes},p={lanes}"),
            Self::Bcrypt { cost } => write!(f, "bcrypt cost {cost}"),
        }
    }
}

/// Why a stored hash cannot be used; never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusableHash {
    /// The scheme, by name, is not one of ours.
    Scheme(&'static str),
    /// A parameter, by name, is outside what is supported.
    Cost(&'static str),
    /// The text of a supported scheme is damaged, and where.
    Malformed(&'static str),
}

impl fmt::Display for UnusableHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => write!(
                f,
                "{scheme} is not supported (argon2id and bcrypt are: `htpasswd -B` or `vestibule users passwd` make them)"
            ),
            Self::Cost(limit) => write!(f, "its cost is not supported ({limit}): set the password anew"),
            Self::Malformed(part) => write!(f, "{part} is damaged: set the password anew"),
        }
    }
}

impl std::error::Error for UnusableHash {}

/// What argon2id works in: at most `MAX_MEMORY_KIB`, had when it is first needed. Whoever checks one password after
/// another keeps it: fresh memory costs a page fault for every 4 KiB, and giving it back stops every thread for a moment.
#[derive(Default)]
pub struct HashMemory(Vec<argon2::Block>);

impl HashMemory {
    /// `None` where the memory cannot be had. What an earlier hash has left in it is overwritten before it is read.
    fn blocks(&mut self, count: usize) -> Option<&mut [argon2::Block]> {
        if self.0.len() < count {
            self.0 = Vec::new();
            self.0.try_reserve_exact(count).ok()?;
            self.0.resize(count, argon2::Block::new());
        }
        Some(&mut self.0[..count])
    }
}

impl fmt::Debug for HashMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashMemory(..)")
    }
}

/// One stored hash, ready to be checked against. Unprintable.
#[derive(Clone)]
pub struct PasswordHash {
    scheme: Scheme,
    credential: CredentialId,
}

#[derive(Clone)]
enum Scheme {
    Argon2id {
        memory_kib: u32,
        passes: u8,
        lanes: u8,
        salt_len: u8,
        /// The salt, then the output: one allocation for each of 100,000 users.
        salt_and_output: Box<[u8]>,
    },
    Bcrypt {
        cost: u8,
        salt: [u8; SALT_BYTES],
        output: [u8; BCRYPT_OUTPUT_BYTES],
    },
}

impl PasswordHash {
    /// Reads `$argon2id$v=19$m=..,t=..,p=..$salt$hash` (a PHC string, RFC 9106) with at most 64 MiB, or
    /// `$2a$`, `$2b$`, `$2y$` bcrypt of cost 4 to 14.
    pub fn parse(text: &str) -> Result<Self, UnusableHash> {
        Ok(Self { scheme: phc::parse(text)?, credential: CredentialId::of_stored_hash(text) })
    }

    /// A hash of a random secret with the given work: what is checked where there is nothing to check.
    /// `work` is one that `parse` let through.
    pub(in crate::auth) fn dummy(work: Work) -> Self {
        let mut random = [0; SALT_BYTES + ARGON2_OUTPUT_BYTES];
        fill_random(&mut random);
        let (salt, output) = random.split_at(SALT_BYTES);
        let scheme = match work {
            Work::Argon2id { memory_kib, passes, lanes } => Scheme::Argon2id {
                memory_kib,
                passes: u8::try_from(passes).expect("parse bounds the passes"),
                lanes: u8::try_from(lanes).expect("parse bounds the lanes"),
                salt_len: SALT_BYTES as u8,
                salt_and_output: random.into(),
            },
            Work::Bcrypt { cost } => Scheme::Bcrypt {
                cost: u8::try_from(cost).expect("parse bounds the cost"),
                salt: salt.try_into().expect("split at the salt's length"),
                output: output[..BCRYPT_OUTPUT_BYTES].try_into().expect("cut to the output's length"),
            },
        };
        Self { scheme, credential: CredentialId::of_stored_hash("") }
    }

    /// Whether `password` is the right one. Blocks for as long as `work` takes, whatever the answer.
    ///
    /// bcrypt passwords are cut at 72 bytes, as every implementation does; one with a NUL is never right
    /// (others end it there), and costs the same.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        self.verify_in(&mut HashMemory::default(), password)
    }

    /// As `verify`, in memory that may have served other hashes.
    #[must_use]
    pub fn verify_in(&self, memory: &mut HashMemory, password: &[u8]) -> bool {
        match &self.scheme {
            Scheme::Argon2id { salt_len, salt_and_output, .. } => {
                let (salt, stored) = salt_and_output.split_at(usize::from(*salt_len));
                let mut output = vec![0; stored.len()];
                let computed = argon2id(self.work(), memory, password, salt, &mut output);
                computed & bool::from(output.ct_eq(stored))
            }
            Scheme::Bcrypt { cost, salt, output } => {
                let mut key = [0; BCRYPT_PASSWORD_BYTES];
                let used = password.len().min(BCRYPT_PASSWORD_BYTES);
                key[..used].copy_from_slice(&password[..used]);
                let key_len = (used + 1).min(BCRYPT_PASSWORD_BYTES);
                let computed = bcrypt::bcrypt(u32::from(*cost), *salt, &key[..key_len]);
                zeroize::Zeroize::zeroize(&mut key);
                let unambiguous = !password.contains(&0);
                unambiguous & bool::from(computed[..BCRYPT_OUTPUT_BYTES].ct_eq(output))
            }
        }
    }

    #[must_use]
    pub fn work(&self) -> Work {
        match self.scheme {
            Scheme::Argon2id { memory_kib, passes, lanes, .. } => {
                Work::Argon2id { memory_kib, passes: u32::from(passes), lanes: u32::from(lanes) }
            }
            Scheme::Bcrypt { cost, .. } => Work::Bcrypt { cost: u32::from(cost) },
        }
    }

    /// Names the stored entry in tokens without giving it away.
    #[must_use]
    pub const fn credential(&self) -> CredentialId {
        self.credential
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// Hashes a password for storing: a PHC string of `DEFAULT_WORK` with a random salt. Blocks.
#[must_use]
pub fn hash(password: &[u8]) -> String {
    let mut salt = [0; SALT_BYTES];
    fill_random(&mut salt);
    let mut output = [0; ARGON2_OUTPUT_BYTES];
    let computed = argon2id(DEFAULT_WORK, &mut HashMemory::default(), password, &salt, &mut output);
    assert!(computed, "19 MiB of memory can be had");
    phc::format(DEFAULT_WORK, &salt, &output)
}

/// False where the memory cannot be had; then nothing has been computed and no password is right.
fn argon2id(work: Work, memory: &mut HashMemory, password: &[u8], salt: &[u8], output: &mut [u8]) -> bool {
    let Work::Argon2id { memory_kib, passes, lanes } = work else {
        return false;
    };
    let Ok(params) = argon2::Params::new(memory_kib, passes, lanes, Some(output.len())) else {
        return false;
    };
    let Some(blocks) = memory.blocks(params.block_count()) else {
        return false;
    };
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, output, blocks)
        .is_ok()
}

fn fill_random(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the system gives random bytes");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The password of these three is `password`; the first is of the argon2 reference implementation, the
    /// others of crypt(3).
    pub(crate) const ARGON2: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    pub(crate) const BCRYPT_4: &str = "$2y$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm";
    pub(crate) const BCRYPT_5: &str = "$2b$05$bbcdefghijklmnopqrstuuNef7JNYBZGLtzc2rYBYE7yLl1aar.5W";

    #[test]
    fn reference_vectors_verify_and_others_do_not() {
        for text in [
            ARGON2,
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            BCRYPT_4,
            BCRYPT_5,
        ] {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.verify(b"password"), "{text}");
            for wrong in [&b"Password"[..], b"password\0", b"password ", b"passwor", b""] {
                assert!(!hash.verify(wrong), "{text} {wrong:?}");
            }
        }
    }

    #[test]
    fn memory_that_served_another_hash_changes_no_answer() {
        let hashes = [ARGON2, BCRYPT_4, &hash(b"password"), ARGON2].map(|text| PasswordHash::parse(text).unwrap());
        let mut memory = HashMemory::default();
        for hash in &hashes {
            assert!(!hash.verify_in(&mut memory, b"wrong"));
            assert!(hash.verify_in(&mut memory, b"password"));
        }
        assert_eq!(memory.0.len(), 19_456);
    }

    #[test]
    fn bcrypt_is_cut_at_72_bytes_and_never_takes_a_nul() {
        let long = PasswordHash::parse("$2a$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i").unwrap();
        assert!(long.verify(&[b'x'; 80]));
        assert!(long.verify(&[b'x'; 72]));
        assert!(!long.verify(&[b'x'; 71]));

        let short = PasswordHash::parse("$2b$04$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC").unwrap();
        assert!(short.verify(b"a"));
        // bcrypt repeats the key, so this one would come out right.
        assert!(!short.verify(b"a\0a"));
    }

    #[test]
    fn a_new_hash_verifies_has_the_default_work_and_its_own_salt() {
        let text = hash(b"correct horse");
        let parsed = PasswordHash::parse(&text).unwrap();
        assert!(parsed.verify(b"correct horse"));
        assert!(!parsed.verify(b"wrong horse"));
        assert_eq!(parsed.work(), DEFAULT_WORK);
        assert_ne!(text, hash(b"correct horse"));
    }

    #[test]
    fn a_dummy_does_the_same_work_and_is_never_the_same() {
        for text in [ARGON2, BCRYPT_4] {
            let work = PasswordHash::parse(text).unwrap().work();
            let dummy = PasswordHash::dummy(work);
            assert_eq!(dummy.work(), work);
            assert!(!dummy.verify(b"password"));
            assert!(!dummy.verify(b""));
        }
    }

    #[test]
    fn a_hash_is_unprintable() {
        let hash = PasswordHash::parse(ARGON2).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }

    #[test]
    fn a_credential_changes_with_the_stored_text() {
        let credential = |text| PasswordHash::parse(text).unwrap().credential();
        assert_eq!(credential(BCRYPT_4), CredentialId::of_stored_hash(BCRYPT_4));
        assert_ne!(credential(BCRYPT_4), credential(BCRYPT_5));
    }
}
