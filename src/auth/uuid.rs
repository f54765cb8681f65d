//! Names that nobody else has drawn: random UUIDs and short identifiers.

use std::cell::RefCell;

use aws_lc_rs::rand;

/// Random bytes that are drawn at once: one call of the generator costs as much for 16 as for a thousand.
const DRAWN: usize = 1024;

/// Every request without an id gets one, so this is on the request path.
struct Drawn {
    bytes: [u8; DRAWN],
    used: usize,
}

thread_local! {
    static RANDOM: RefCell<Drawn> = const { RefCell::new(Drawn { bytes: [0; DRAWN], used: DRAWN }) };
}

/// A random UUID as text, 36 characters in lower case (RFC 9562, section 5.4).
pub fn v4() -> String {
    let mut bytes: [u8; 16] = random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut digits = [0; 32];
    for (two, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        two.copy_from_slice(&hex(byte));
    }
    let mut text = Vec::with_capacity(36);
    for (part, hyphen) in [(0..8, true), (8..12, true), (12..16, true), (16..20, true), (20..32, false)] {
        text.extend_from_slice(&digits[part]);
        text.extend(hyphen.then_some(b'-'));
    }
    String::from_utf8(text).expect("digits and hyphens are text")
}

/// Eight random bytes as sixteen hexadecimal digits.
pub fn short() -> String {
    random::<8>().into_iter().flat_map(hex).map(char::from).collect()
}

/// Bytes that cannot be foreseen.
pub fn random<const N: usize>() -> [u8; N] {
    RANDOM.with_borrow_mut(|drawn| {
        if drawn.used + N > DRAWN {
            rand::fill(&mut drawn.bytes).expect("the system's random source never fails once it is seeded");
            drawn.used = 0;
        }
        let taken = &mut drawn.bytes[drawn.used..drawn.used + N];
        drawn.used += N;
        let mut bytes = [0; N];
        bytes.swap_with_slice(taken);
        bytes
    })
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]
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
