//! JSON read strictly: a member that stands twice in an object is an error, at any depth.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

/// Why bytes are not strict JSON. Says where, and nothing of what stands there: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidJson {
    duplicate: bool,
    line: usize,
    column: usize,
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.duplicate { "a member stands twice in one object" } else { "this is not JSON (RFC 8259)" };
        write!(f, "{what}, line {} column {}", self.line, self.column)
    }
}

impl std::error::Error for InvalidJson {}

/// One whole JSON text; nothing but white space may follow it.
pub(crate) fn parse(text: &[u8]) -> Result<Value, InvalidJson> {
    match serde_json::from_slice(text) {
        Ok(Unique(value)) => Ok(value),
        Err(error) => Err(InvalidJson {
            // The visitor takes every type, so that this is the only error of its own.
            duplicate: error.classify() == Category::Data,
            line: error.line(),
            column: error.column(),
        }),
    }
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unique(value))) = members.next_entry::<String, Unique>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_reads_as_usual() {
        for text in [
            r#"{"a": 1, "b": [true, null, -3, 1.5, "x\n"], "c": {"a": 1}}"#,
            " [] ",
            r#""text""#,
            "18446744073709551615",
        ] {
            let usual: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), usual, "{text}");
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_an_error_at_any_depth() {
        for text in
            [r#"{"a": 1, "a": 1}"#, r#"{"a": 1, "\u0061": 2}"#, r#"{"keys": [{"b": {"a": 1, "c": 2, "a": 3}}]}"#]
        {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.duplicate, "{text}: {error}");
        }
    }

    #[test]
    fn what_is_not_json_is_an_error_that_repeats_nothing_of_it() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "{\"hunter2\": }", "hunter2", "{} hunter2", "\u{feff}{}", "01", "1e999", &deep] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(!error.duplicate, "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }
}
