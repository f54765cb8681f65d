//! What a user or a group may be called, and how a name is shown without giving anything away.

use std::fmt;

/// The longest user or group name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// How much of a name a message shows, in characters.
const SHOWN_CHARS: usize = 64;

/// What password hashes of any scheme begin with.
const HASH_PREFIXES: [&str; 8] = ["$argon2", "$2", "$apr1$", "$1$", "$5$", "$6$", "$y$", "{SHA"];

/// Why a user or group name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidName {
    Empty,
    TooLong,
    Character,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => "is longer than 256 bytes",
            Self::Character => "holds something other than visible ASCII without `,` and `:`",
        })
    }
}

impl std::error::Error for InvalidName {}

/// Whether `name` can be a user's or a group's: 1 to 256 bytes of visible ASCII, neither `,` nor `:`.
pub fn check(name: &[u8]) -> Result<(), InvalidName> {
    if name.is_empty() {
        Err(InvalidName::Empty)
    } else if name.len() > MAX_NAME_BYTES {
        Err(InvalidName::TooLong)
    } else if !name.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b':')) {
        Err(InvalidName::Character)
    } else {
        Ok(())
    }
}

/// Whether `text` begins as a password hash does, so that it must not be shown where a name was expected.
#[must_use]
pub fn looks_like_hash(text: &str) -> bool {
    HASH_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// A name for a one-line message: escaped, cut to 64 characters, and withheld where it looks like a
/// hash that has slipped into the wrong column.
#[must_use]
pub fn shown(name: &str) -> String {
    if looks_like_hash(name) {
        return "(a name that looks like a hash)".to_owned();
    }
    let mut shown: String = name.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_visible_ascii_without_comma_and_colon() {
        let longest = "x".repeat(MAX_NAME_BYTES);
        for good in ["a", "apiUser", "a@b.example", "~!\"#$%&'()*+-./;<=>?[\\]^_`{|}", &longest] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        let too_long = "x".repeat(MAX_NAME_BYTES + 1);
        for (bad, why) in [
            (&b""[..], InvalidName::Empty),
            (too_long.as_bytes(), InvalidName::TooLong),
            (b"a,b", InvalidName::Character),
            (b"a:b", InvalidName::Character),
            (b"a b", InvalidName::Character),
            (b"a\n", InvalidName::Character),
            (b"a\0", InvalidName::Character),
            (b"\x7f", InvalidName::Character),
            ("é".as_bytes(), InvalidName::Character),
            (b"\xff", InvalidName::Character),
        ] {
            assert_eq!(check(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_shown_name_is_one_short_line_and_never_a_hash() {
        assert_eq!(shown("bob"), "\"bob\"");
        assert_eq!(shown("a\nb"), "\"a\\nb\"");
        assert!(shown(&"x".repeat(300)).chars().count() < 70);
        for hash in ["$2y$05$abc", "$argon2id$v=19$", "$apr1$x$y", "{SHA}abc="] {
            assert!(!shown(hash).contains(hash), "{hash}");
        }
    }
}
