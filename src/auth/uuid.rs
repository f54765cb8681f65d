//! Names that nobody else has drawn: random UUIDs and short identifiers.

use std::fmt::Write as _;

use aws_lc_rs::rand;

/// A random UUID as text, 36 characters in lower case (RFC 9562, section 5.4).
pub fn v4() -> String {
    let mut bytes: [u8; 16] = random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Eight random bytes as sixteen hexadecimal digits.
pub fn short() -> String {
    hex(&random::<8>())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random source never fails once it is seeded");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String never fails");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_version_its_variant_and_its_form() {
        for _ in 0..200 {
            let uuid = v4();
            let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
            assert!(uuid.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        }
    }

    #[test]
    fn no_two_are_the_same() {
        let uuids: std::collections::HashSet<String> = (0..1000).map(|_| v4()).collect();
        let shorts: std::collections::HashSet<String> = (0..1000).map(|_| short()).collect();
        assert_eq!((uuids.len(), shorts.len()), (1000, 1000));
        assert!(shorts.iter().all(|name| name.len() == 16));
    }
}
