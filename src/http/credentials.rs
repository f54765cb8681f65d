//! What a login request carries: user and password, as HTTP Basic or JSON, and how long the token is to last.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use zeroize::Zeroizing;

use crate::auth::password::Password;
use crate::metrics::Dialect;

/// Bytes of a user name that are looked at.
const MAX_NAME: usize = 256;
/// The longest `ttl` in seconds that may be asked for, whatever is configured.
const MAX_TTL: u64 = 86_400;

/// A login that is well-formed.
pub(crate) struct Credentials {
    pub(crate) name: Vec<u8>,
    pub(crate) password: Password,
    pub(crate) ttl: Option<u64>,
}

/// A login that is not: what to tell its sender. Never holds what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads credentials from whichever place holds them; both may, if they agree.
pub(crate) fn read(dialect: Dialect, headers: &HeaderMap, body: &[u8], max_ttl: u64) -> Result<Credentials, Malformed> {
    let basic = basic(headers)?;
    let fields = if body.is_empty() { Fields::default() } else { Fields::parse(body, dialect)? };
    let ttl = checked_ttl(fields.ttl, max_ttl)?;
    let in_body = match (fields.name, fields.password) {
        (None, None) => None,
        (Some(name), Some(password)) => Some((name.into_bytes(), password)),
        _ => return Err(Malformed("User name and password are both needed")),
    };
    let (name, password) = match (basic, in_body) {
        (None, None) if body.is_empty() => return Err(Malformed("A JSON body or HTTP Basic credentials are needed")),
        (None, None) => return Err(Malformed("User name and password are needed")),
        (Some(one), Some(other)) if one != other => {
            return Err(Malformed("The body and the Authorization header name different credentials"));
        }
        (Some(one), _) | (None, Some(one)) => one,
    };
    if name.is_empty() || password.as_bytes().is_empty() {
        return Err(Malformed("User name and password must not be empty"));
    }
    if name.len() > MAX_NAME {
        return Err(Malformed("The user name is longer than 256 bytes"));
    }
    Ok(Credentials { name, password, ttl })
}

/// The `ttl` of a refresh: its body may hold nothing else that counts.
pub(crate) fn read_ttl(body: &[u8], max_ttl: u64) -> Result<Option<u64>, Malformed> {
    let fields = if body.is_empty() { Fields::default() } else { Fields::parse(body, Dialect::Refresh)? };
    checked_ttl(fields.ttl, max_ttl)
}

fn checked_ttl(ttl: Option<Ttl>, max_ttl: u64) -> Result<Option<u64>, Malformed> {
    match ttl {
        None => Ok(None),
        Some(Ttl(Some(ttl))) if (1..=MAX_TTL.min(max_ttl)).contains(&ttl) => Ok(Some(ttl)),
        Some(_) => Err(Malformed("`ttl` must be a whole number of seconds, at least 1 and no more than allowed")),
    }
}

/// Both as bytes: neither need be text.
type NameAndPassword = (Vec<u8>, Password);

/// HTTP Basic (RFC 7617): the name ends at the first colon. Other schemes are none of a login's business.
fn basic(headers: &HeaderMap) -> Result<Option<NameAndPassword>, Malformed> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Malformed("More than one Authorization header"));
    }
    let value = value.as_bytes();
    let Some((scheme, rest)) = value.split_at_checked(5) else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case(b"basic") || rest.first().is_some_and(|byte| *byte != b' ') {
        return Ok(None);
    }
    let broken = Malformed("The Basic credentials are not base64 of name:password");
    let decoded = Zeroizing::new(STANDARD.decode(rest.trim_ascii()).map_err(|_| broken)?);
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or(broken)?;
    Ok(Some((decoded[..colon].to_vec(), Password::new(&decoded[colon + 1..]))))
}

/// The members of a login's JSON object that count; others are passed over.
#[derive(Default)]
struct Fields {
    name: Option<String>,
    password: Option<Password>,
    ttl: Option<Ttl>,
}

/// `None`: there, but no whole number.
struct Ttl(Option<u64>);

impl Fields {
    fn parse(body: &[u8], dialect: Dialect) -> Result<Self, Malformed> {
        let (name, password) = match dialect {
            Dialect::Densify => (Some("userName"), Some("pwd")),
            Dialect::Redis => (Some("username"), Some("password")),
            Dialect::Refresh => (None, None),
        };
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let fields = deserializer
            .deserialize_map(FieldsVisitor { name, password })
            .and_then(|fields| deserializer.end().map(|()| fields));
        fields.map_err(|_| {
            Malformed("The body must be one JSON object with each member once, and strings for name and password")
        })
    }
}

/// Which members count, besides `ttl`; the empty name is a member's name too.
struct FieldsVisitor {
    name: Option<&'static str>,
    password: Option<&'static str>,
}

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if Some(&*key) == self.name {
                fields.name = Some(map.next_value()?);
            } else if Some(&*key) == self.password {
                fields.password = Some(Password::new(map.next_value::<String>()?));
            } else if key == "ttl" {
                let value: serde_json::Value = map.next_value()?;
                fields.ttl = Some(Ttl(value.as_u64()));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if !seen.insert(key) {
                return Err(de::Error::custom("a member stands twice"));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn login(authorization: &[&str], body: &str) -> Result<(String, String, Option<u64>), &'static str> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("a header value"));
        }
        read(Dialect::Densify, &headers, body.as_bytes(), 3_600)
            .map(|found| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(&found.name), text(found.password.as_bytes()), found.ttl)
            })
            .map_err(|Malformed(message)| message)
    }

    #[test]
    fn credentials_come_from_either_place_or_from_both_if_they_agree() {
        let (basic, json) = ("Basic YTpiOmM=", r#"{"userName":"a","pwd":"b:c"}"#);
        let found = Ok(("a".to_owned(), "b:c".to_owned(), None));
        assert_eq!(login(&[basic], ""), found);
        assert_eq!(login(&["bAsIc  YTpiOmM="], ""), found);
        assert_eq!(login(&[], json), found);
        assert_eq!(login(&[basic], json), found);
        assert_eq!(login(&["Bearer old"], json), found, "another scheme is passed over");
        assert_eq!(login(&[basic], r#"{"ttl":60}"#), Ok(("a".to_owned(), "b:c".to_owned(), Some(60))));
        assert!(login(&[basic], r#"{"userName":"a","pwd":"other"}"#).is_err());
        assert!(login(&[basic, basic], "").is_err());
    }

    #[test]
    fn anything_else_is_malformed() {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "\"a\"",
            "{}",
            r#"{"userName":"a"}"#,
            r#"{"pwd":"b"}"#,
            r#"{"userName":"a","pwd":""}"#,
            r#"{"userName":"","pwd":"b"}"#,
            r#"{"userName":1,"pwd":"b"}"#,
            r#"{"userName":"a","pwd":null}"#,
            r#"{"userName":"a","pwd":["b"]}"#,
            r#"{"userName":"a","pwd":"b","pwd":"b"}"#,
            r#"{"userName":"a","pwd":"b","x":1,"x":1}"#,
            r#"{"userName":"a","pwd":"b"} x"#,
            r#"{"username":"a","password":"b"}"#,
        ] {
            assert!(login(&[], body).is_err(), "{body}");
        }
        for authorization in ["Basic", "Basic !", "Basic YQ==", "Basic OmI=", "Basic YTo="] {
            assert!(login(&[authorization], "").is_err(), "{authorization}");
        }
        let long = format!(r#"{{"userName":"{}","pwd":"b"}}"#, "a".repeat(257));
        assert!(login(&[], &long).is_err());
    }

    #[test]
    fn a_ttl_is_a_whole_number_in_range() {
        for (ttl, good) in [
            ("1", true),
            ("3600", true),
            ("3601", false),
            ("0", false),
            ("-1", false),
            ("86401", false),
            ("1.5", false),
            ("\"300\"", false),
            ("1e3", false),
            ("1.0", false),
            ("null", false),
            ("true", false),
            ("[1]", false),
            ("18446744073709551616", false),
        ] {
            let body = format!(r#"{{"userName":"a","pwd":"b","ttl":{ttl}}}"#);
            assert_eq!(login(&[], &body).is_ok(), good, "{ttl}");
        }
    }

    #[test]
    fn a_refresh_has_no_member_but_ttl_not_even_one_without_a_name() {
        for (body, expected) in [
            ("", Ok(None)),
            (r#"{"ttl":60}"#, Ok(Some(60))),
            (r#"{"":1}"#, Ok(None)),
            (r#"{"":{},"ttl":60,"username":null}"#, Ok(Some(60))),
        ] {
            assert_eq!(read_ttl(body.as_bytes(), 60), expected, "{body}");
        }
        assert!(read_ttl(br#"{"":1,"":2}"#, 60).is_err());
    }

    #[test]
    fn odd_names_are_well_formed_and_merely_unknown() {
        assert!(login(&[], r#"{"userName":"a\u0000b\n","pwd":"b"}"#).is_ok());
        assert!(login(&["Basic /zpi"], "").is_ok(), "not UTF-8");
    }
}
