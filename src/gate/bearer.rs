//! The bearer token in a request's headers (RFC 6750, section 2.1).

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What the `Authorization` header holds. A token cannot be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials<'a> {
    /// None, or of a scheme that carries no token.
    None,
    /// A token, not yet judged; empty where the scheme stands alone.
    Token(&'a str),
    /// More than one header: which counts is anybody's guess.
    Several,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(..)",
            Self::Several => "Several",
        })
    }
}

/// Reads `Bearer <token>` or `JWT <token>`, the scheme in any case.
pub(crate) fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Credentials::None };
    if values.next().is_some() {
        return Credentials::Several;
    }
    let bytes = value.as_bytes();
    let scheme_end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    let (scheme, rest) = bytes.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"bearer") && !scheme.eq_ignore_ascii_case(b"jwt") {
        return Credentials::None;
    }
    // A token that is no text cannot be valid; the empty one is refused as malformed.
    Credentials::Token(std::str::from_utf8(rest.trim_ascii()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn reads_both_schemes_in_any_case_and_nothing_else() {
        let of = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header value"));
            match credentials(&headers) {
                Credentials::Token(token) => Some(token.to_owned()),
                _ => None,
            }
        };
        assert_eq!(of(b"Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of(b"bEaReR  abc ").as_deref(), Some("abc"));
        assert_eq!(of(b"jwt abc").as_deref(), Some("abc"));
        assert_eq!(of(b"Bearer").as_deref(), Some(""));
        assert_eq!(of(b"Bearer a\xffb").as_deref(), Some(""));
        assert_eq!(of(b"Basic abc"), None);
        assert_eq!(of(b"Bearerabc"), None);
        assert_eq!(of(b"Bearer\tabc"), None);
    }

    #[test]
    fn two_headers_are_several() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic b"));
        assert_eq!(credentials(&headers), Credentials::Several);
    }
}
