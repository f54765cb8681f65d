//! What a token says, written and read with strict types.

use serde::Serialize;
use serde_json::{Map, Value};

use super::json;

/// The claims of a token (RFC 7519, section 4.1). Times are whole seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The token's own name: a UUID in tokens that are minted here.
    pub jti: String,
    pub iat: u64,
    /// The user's name.
    pub sub: String,
    pub iss: String,
    /// The first second at which the token is over.
    pub exp: u64,
    /// When the password was checked: refreshing carries it along.
    pub auth_time: u64,
    /// The user's groups when the token was minted.
    pub groups: Vec<String>,
    /// Which password was used; a token that an operator minted has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cred: Option<String>,
    /// Whom the token is for. One is written as a string, several as an array (RFC 7519, section 4.1.3).
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "audience")]
    pub aud: Vec<String>,
}

/// A required claim is missing, one is of another type than it must be, or the text is no JSON object with unique
/// members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidClaims;

impl Claims {
    /// The payload of a token.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and integers always serialise")
    }

    /// Reads a payload. Times must be JSON integers, names non-empty strings; `null` is not the same as absent;
    /// a member that stands twice is an error; unknown members mean nothing.
    ///
    /// `nbf` is never minted here. Where another holder of the key has set it, the token must not be used before
    /// (RFC 7519, section 4.1.5).
    pub fn parse(payload: &[u8], now: u64) -> Result<Self, InvalidClaims> {
        let Ok(Value::Object(mut claims)) = json::parse(payload) else {
            return Err(InvalidClaims);
        };
        if let Some(nbf) = claims.remove("nbf")
            && nbf.as_u64().ok_or(InvalidClaims)? > now
        {
            return Err(InvalidClaims);
        }
        Ok(Self {
            jti: name(&mut claims, "jti")?,
            iat: time(&claims, "iat")?,
            sub: name(&mut claims, "sub")?,
            iss: name(&mut claims, "iss")?,
            exp: time(&claims, "exp")?,
            auth_time: time(&claims, "auth_time")?,
            groups: claims.remove("groups").map_or(Ok(Vec::new()), strings)?,
            cred: claims.remove("cred").map(string).transpose()?,
            aud: match claims.remove("aud") {
                None => Vec::new(),
                Some(Value::String(one)) => vec![one],
                Some(several) => strings(several)?,
            },
        })
    }
}

fn time(claims: &Map<String, Value>, claim: &str) -> Result<u64, InvalidClaims> {
    claims.get(claim).and_then(Value::as_u64).ok_or(InvalidClaims)
}

fn name(claims: &mut Map<String, Value>, claim: &str) -> Result<String, InvalidClaims> {
    match claims.remove(claim) {
        Some(Value::String(name)) if !name.is_empty() => Ok(name),
        _ => Err(InvalidClaims),
    }
}

fn string(value: Value) -> Result<String, InvalidClaims> {
    match value {
        Value::String(string) => Ok(string),
        _ => Err(InvalidClaims),
    }
}

fn strings(value: Value) -> Result<Vec<String>, InvalidClaims> {
    match value {
        Value::Array(values) => values.into_iter().map(string).collect(),
        _ => Err(InvalidClaims),
    }
}

fn audience<S: serde::Serializer>(aud: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match aud {
        [one] => one.serialize(serializer),
        several => several.serialize(serializer),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims() -> Claims {
        Claims {
            jti: "9f0c5b52-7f1c-4d5e-9a53-0a6a3f3f8f10".to_owned(),
            iat: 1000,
            sub: "apiUser".to_owned(),
            iss: "vestibule".to_owned(),
            exp: 1300,
            auth_time: 990,
            groups: vec!["Administrator".to_owned()],
            cred: Some("AAAAAAAAAAAAAAAA".to_owned()),
            aud: vec!["app".to_owned()],
        }
    }

    /// The claims as JSON with one member replaced, or removed where `value` is `None`.
    fn with(name: &str, value: Option<&str>) -> String {
        let mut object = serde_json::from_str::<Map<String, Value>>(&claims().to_json()).unwrap();
        object.remove(name);
        let rest = Value::Object(object).to_string();
        match value {
            None => rest,
            Some(value) => format!("{},\"{name}\":{value}}}", &rest[..rest.len() - 1]),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bare = Claims { groups: Vec::new(), cred: None, aud: Vec::new(), ..claims() };
        let several = Claims { aud: vec!["a".to_owned(), "b".to_owned()], ..claims() };
        for claims in [claims(), bare.clone(), several] {
            assert_eq!(Claims::parse(claims.to_json().as_bytes(), 0), Ok(claims));
        }
        let written: Value = serde_json::from_str(&claims().to_json()).unwrap();
        assert_eq!(written["aud"], "app", "one audience is a string");
        let written: Value = serde_json::from_str(&bare.to_json()).unwrap();
        assert_eq!(written.get("aud"), None);
        assert_eq!(written.get("cred"), None);
        assert_eq!(written["groups"], json!([]), "the groups always stand there");
    }

    #[test]
    fn required_claims_are_there_and_of_their_type() {
        const NO_TIMES: [&str; 13] = [
            "1300.0",
            "1.3e3",
            "1e3",
            "-1",
            "-0",
            "\"1300\"",
            "null",
            "true",
            "[1300]",
            "{}",
            "\"\"",
            "18446744073709551616",
            "1300.5",
        ];
        for name in ["exp", "iat", "auth_time"] {
            for value in NO_TIMES {
                let payload = with(name, Some(value));
                assert_eq!(Claims::parse(payload.as_bytes(), 0), Err(InvalidClaims), "{payload}");
            }
        }
        for name in ["sub", "jti", "iss"] {
            for value in ["\"\"", "null", "1", "true", "[\"a\"]", "{}"] {
                let payload = with(name, Some(value));
                assert_eq!(Claims::parse(payload.as_bytes(), 0), Err(InvalidClaims), "{payload}");
            }
        }
        for name in ["exp", "iat", "auth_time", "sub", "jti", "iss"] {
            let payload = with(name, None);
            assert_eq!(Claims::parse(payload.as_bytes(), 0), Err(InvalidClaims), "{payload}");
        }
    }

    #[test]
    fn optional_claims_of_another_type_are_not_absent() {
        for (name, value) in [
            ("groups", "null"),
            ("groups", "\"Administrator\""),
            ("groups", "[1]"),
            ("groups", "[null]"),
            ("groups", "{\"Administrator\": true}"),
            ("cred", "null"),
            ("cred", "7"),
            ("cred", "[\"AAAA\"]"),
            ("aud", "null"),
            ("aud", "7"),
            ("aud", "[\"app\", 7]"),
            ("aud", "{\"app\": true}"),
            ("nbf", "null"),
            ("nbf", "\"0\""),
            ("nbf", "1.0"),
        ] {
            let payload = with(name, Some(value));
            assert_eq!(Claims::parse(payload.as_bytes(), 9), Err(InvalidClaims), "{payload}");
        }
    }

    #[test]
    fn unknown_claims_mean_nothing_and_duplicates_are_refused() {
        let parse = |payload: &str| Claims::parse(payload.as_bytes(), 1100);
        assert_eq!(parse(&with("scope", Some("{\"a\": [1.5, null]}"))), Ok(claims()));
        let twice = with("exp", Some("1300, \"exp\": 9999999999"));
        assert_eq!(parse(&twice), Err(InvalidClaims));
        let unknown_twice = with("scope", Some("1, \"scope\": 2"));
        assert_eq!(parse(&unknown_twice), Err(InvalidClaims));
        for payload in ["", "null", "[]", "\"sub\"", "{", "{}", "{} {}"] {
            assert_eq!(parse(payload), Err(InvalidClaims), "{payload}");
        }
    }

    #[test]
    fn a_token_with_nbf_is_not_used_before() {
        let payload = with("nbf", Some("1100"));
        assert_eq!(Claims::parse(payload.as_bytes(), 1099), Err(InvalidClaims));
        assert_eq!(Claims::parse(payload.as_bytes(), 1100), Ok(claims()));
    }
}
