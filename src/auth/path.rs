//! Whether a path can be read in one way only, so that what is judged is what the application serves.

use std::fmt;

/// Why two readers could take a path for two different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// It does not begin with a slash.
    NotAbsolute,
    /// `//`
    EmptySegment,
    /// `.` or `..` as a segment (RFC 3986, 5.2.4).
    DotSegment,
    /// `\`, which some read as a slash.
    Backslash,
    /// `#`, where some end the path.
    Fragment,
    /// `;`, where some end the segment.
    Semicolon,
    /// Anything raw that is not visible ASCII (RFC 3986, 2).
    NotVisible,
    /// `%2f`, `%5c`, `%25`, `%3b` or `%00`.
    EscapedDelimiter,
    /// An escape for a letter, a digit, `-`, `.`, `_` or `~` (RFC 3986, 2.3), such as `%2e` or `%61`.
    EscapedUnreserved,
    /// `%` without two hexadecimal digits (RFC 3986, 2.1).
    BadEscape,
}

impl Ambiguity {
    /// What is wrong, in words that quote nothing of the path.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::EmptySegment => "the path has an empty segment",
            Self::DotSegment => "the path has a dot segment",
            Self::Backslash => "the path has a backslash",
            Self::Fragment => "the path has a fragment",
            Self::Semicolon => "the path has a semicolon",
            Self::NotVisible => "the path has a character that is not visible ASCII",
            Self::EscapedDelimiter => "the path has an escaped delimiter",
            Self::EscapedUnreserved => "the path has an escape for a character that needs none",
            Self::BadEscape => "the path has a bad escape",
        }
    }
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// The first thing in the path, up to any `?`, that two readers could take differently.
///
/// Takes the request target's raw bytes (RFC 9112, 3.2.1): a URI type may have cut the fragment off already. `*`, the target of
/// `OPTIONS` for the whole server, has one reading.
pub fn ambiguity(path_and_query: &str) -> Option<Ambiguity> {
    let path = without_query(path_and_query);
    if path == "*" {
        return None;
    }
    let Some(mut rest) = path.as_bytes().strip_prefix(b"/") else {
        return Some(Ambiguity::NotAbsolute);
    };
    let mut segment = Segment::default();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'/' if segment.length == 0 => return Some(Ambiguity::EmptySegment),
            b'/' if segment.is_dots() => return Some(Ambiguity::DotSegment),
            b'/' => segment = Segment::default(),
            b'\\' => return Some(Ambiguity::Backslash),
            b'#' => return Some(Ambiguity::Fragment),
            b';' => return Some(Ambiguity::Semicolon),
            b'%' => {
                let Some((decoded, after)) = escape(rest) else {
                    return Some(Ambiguity::BadEscape);
                };
                match decoded {
                    b'/' | b'\\' | b'%' | b';' | 0 => return Some(Ambiguity::EscapedDelimiter),
                    b'-' | b'.' | b'_' | b'~' => return Some(Ambiguity::EscapedUnreserved),
                    letter if letter.is_ascii_alphanumeric() => {
                        return Some(Ambiguity::EscapedUnreserved);
                    }
                    _ => {}
                }
                segment.push(b'%');
                rest = after;
            }
            byte if byte.is_ascii_graphic() => segment.push(*byte),
            _ => return Some(Ambiguity::NotVisible),
        }
    }
    segment.is_dots().then_some(Ambiguity::DotSegment)
}

/// What stands before the first `?`.
pub(super) fn without_query(path_and_query: &str) -> &str {
    path_and_query.split_once('?').map_or(path_and_query, |(path, _)| path)
}

/// The byte that two hexadecimal digits at the beginning stand for, and what follows them.
pub(super) fn escape(digits: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = digits else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(*high)? << 4 | digit(*low)?, rest))
}

#[derive(Default)]
struct Segment {
    length: usize,
    others: bool,
}

impl Segment {
    fn push(&mut self, byte: u8) {
        self.length += 1;
        self.others |= byte != b'.';
    }

    fn is_dots(&self) -> bool {
        !self.others && matches!(self.length, 1 | 2)
    }
}

#[cfg(test)]
mod tests {
    use super::Ambiguity::*;
    use super::*;

    #[test]
    fn spellings_that_fooled_others_are_ambiguous() {
        let cases = [
            // dot segments, plain and escaped
            ("/public/../admin", DotSegment),
            ("/public/./admin", DotSegment),
            ("/..", DotSegment),
            ("/.", DotSegment),
            ("/./", DotSegment),
            ("/a/..", DotSegment),
            ("/a/.?x=/b", DotSegment),
            ("/public/%2e%2e/admin", EscapedUnreserved),
            ("/public/%2E./admin", EscapedUnreserved),
            ("/public/.%2e/admin", EscapedUnreserved),
            ("/public/..%2fadmin", EscapedDelimiter),
            ("/public/..%5cadmin", EscapedDelimiter),
            ("/public/..\\admin", Backslash),
            ("/public/..;/admin", Semicolon),
            ("/public/%2e%2e%2fadmin", EscapedUnreserved),
            ("/public/%252e%252e/admin", EscapedDelimiter),
            ("/public/..%00/admin", EscapedDelimiter),
            // slashes
            ("//admin", EmptySegment),
            ("//", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a//", EmptySegment),
            ("/public%2Fadmin", EscapedDelimiter),
            ("/public%2fadmin", EscapedDelimiter),
            ("/public%252fadmin", EscapedDelimiter),
            ("/public\\admin", Backslash),
            ("/public%5Cadmin", EscapedDelimiter),
            // ends of the path or of a segment
            ("/admin#/public", Fragment),
            ("/public#/../admin", Fragment),
            ("/#", Fragment),
            ("/admin;x=1/", Semicolon),
            ("/admin;", Semicolon),
            ("/;/admin", Semicolon),
            ("/admin%3bx=1/", EscapedDelimiter),
            ("/admin%3B", EscapedDelimiter),
            ("/admin%00.html", EscapedDelimiter),
            // escaped characters that need no escape
            ("/%61dmin", EscapedUnreserved),
            ("/%41dmin", EscapedUnreserved),
            ("/admi%6E", EscapedUnreserved),
            ("/%30", EscapedUnreserved),
            ("/%7a%5A%39", EscapedUnreserved),
            ("/%2d", EscapedUnreserved),
            ("/%5f", EscapedUnreserved),
            ("/%7E", EscapedUnreserved),
            // bad escapes
            ("/%", BadEscape),
            ("/%2", BadEscape),
            ("/%2?f", BadEscape),
            ("/%zz", BadEscape),
            ("/%2x", BadEscape),
            ("/%+1", BadEscape),
            ("/%u002f", BadEscape),
            ("/%%32%66", BadEscape),
            // raw bytes that a URI cannot have
            ("/ad min", NotVisible),
            ("/ad\tmin", NotVisible),
            ("/admin\r", NotVisible),
            ("/\0", NotVisible),
            ("/\u{7f}", NotVisible),
            ("/admın", NotVisible),
            ("/．．/admin", NotVisible),
            // not a path
            ("", NotAbsolute),
            ("?/", NotAbsolute),
            ("admin", NotAbsolute),
            ("http://host/admin", NotAbsolute),
            ("**", NotAbsolute),
            ("*/admin", NotAbsolute),
            ("\\admin", NotAbsolute),
        ];
        for (path, expected) in cases {
            assert_eq!(ambiguity(path), Some(expected), "{path:?}");
        }
    }

    #[test]
    fn plain_paths_have_one_reading() {
        let plain = [
            "/",
            "/a",
            "/a/",
            "/a/b.c/d-e_f~g",
            "/...",
            "/.../x",
            "/..a/.b/c../d.",
            "/.well-known/jwks.json",
            "/caf%C3%A9",
            "/a%20b",
            "/a%3Fb%23c",
            "/..%20/x",
            "/%C0%AF",
            "/a:b@c!d$e&f'g(h)i*j+k,l=m",
            "/a|b^c`d{e}\"<>[]",
            "/?//../%2f;#\\ %zz",
            "/a?",
            "*",
        ];
        for path in plain {
            assert_eq!(ambiguity(path), None, "{path:?}");
        }
    }

    #[test]
    fn every_escape_is_judged() {
        for byte in 0..=255_u8 {
            let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let delimiter = b"/\\%;\0".contains(&byte);
            for path in [format!("/%{byte:02x}"), format!("/a%{byte:02X}b/")] {
                assert_eq!(ambiguity(&path).is_some(), unreserved || delimiter, "{path}");
            }
        }
    }
}
