//! How a YAML value becomes a typed one, and why it does not.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use serde_json::Value;

use crate::config::{
    document::{found, is_pem},
    setting::{Setting, Shape, UNITS},
};

/// Why a value is refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// It has not the setting's shape, whose words say what would be right.
    Shape,
    /// An item, from 0, has not the shape of its list's items; what was found there.
    Item { at: usize, found: String },
    /// What follows the setting's key in the error; `at` is where in a list it is: `[2].methods`.
    Because { at: String, reason: String },
}

impl Refusal {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self::at("", reason)
    }

    pub(super) fn item(at: usize, item: &Value) -> Self {
        Self::Item { at, found: found(item) }
    }

    pub(super) fn at(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Because { at: at.into(), reason: reason.into() }
    }
}

/// A typed value that settings have.
pub(super) trait FromValue: Sized {
    fn from_value(setting: &Setting, value: &Value) -> Result<Self, Refusal>;
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(setting: &Setting, value: &Value) -> Result<Self, Refusal> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(setting, value).map(Some),
        }
    }
}

impl FromValue for bool {
    fn from_value(_: &Setting, value: &Value) -> Result<Self, Refusal> {
        value.as_bool().ok_or(Refusal::Shape)
    }
}

impl FromValue for u64 {
    fn from_value(setting: &Setting, value: &Value) -> Result<Self, Refusal> {
        let (min, max, number) = match setting.shape {
            Shape::Count { min, max } => (min, max, value.as_u64()),
            Shape::Bytes { min, max } => (min, max, bytes(value)),
            _ => return Err(Refusal::Shape),
        };
        number.filter(|number| (min..=max).contains(number)).ok_or(Refusal::Shape)
    }
}

impl FromValue for usize {
    fn from_value(setting: &Setting, value: &Value) -> Result<Self, Refusal> {
        u64::from_value(setting, value)?.try_into().map_err(|_| Refusal::Shape)
    }
}

impl FromValue for f64 {
    fn from_value(setting: &Setting, value: &Value) -> Result<Self, Refusal> {
        let Shape::Number { min, max } = setting.shape else {
            return Err(Refusal::Shape);
        };
        value.as_f64().filter(|number| (min..=max).contains(number)).ok_or(Refusal::Shape)
    }
}

impl FromValue for Duration {
    fn from_value(setting: &Setting, value: &Value) -> Result<Self, Refusal> {
        let span = value.as_str().and_then(span).ok_or(Refusal::Shape)?;
        let right = match setting.shape {
            Shape::Span { min, max } => (min..=max).contains(&span),
            Shape::Seconds { min, max } => (min..=max).contains(&span) && span.subsec_nanos() == 0,
            _ => false,
        };
        if right { Ok(span) } else { Err(Refusal::Shape) }
    }
}

impl FromValue for SocketAddr {
    fn from_value(_: &Setting, value: &Value) -> Result<Self, Refusal> {
        text(value)?.parse().map_err(|_| Refusal::Shape)
    }
}

impl FromValue for PathBuf {
    fn from_value(_: &Setting, value: &Value) -> Result<Self, Refusal> {
        let path = text(value)?;
        if is_pem(path) {
            return Err(Refusal::because("holds PEM, not the path of a file: name the file that holds it"));
        }
        if path.is_empty() || path.contains(char::is_control) {
            return Err(Refusal::Shape);
        }
        Ok(Self::from(path))
    }
}

impl FromValue for Vec<IpNet> {
    fn from_value(_: &Setting, value: &Value) -> Result<Self, Refusal> {
        items(value, |_, item| {
            let text = item.as_str()?;
            let network = match text.parse::<IpAddr>() {
                Ok(address) => IpNet::from(address),
                Err(_) => text.parse().ok()?,
            };
            Some(network.trunc())
        })
    }
}

/// The items of a list, each made by `parse` from its index and value; none is an item of the wrong shape.
pub(super) fn items<T>(value: &Value, parse: impl Fn(usize, &Value) -> Option<T>) -> Result<Vec<T>, Refusal> {
    let list = value.as_array().ok_or(Refusal::Shape)?;
    list.iter().enumerate().map(|(i, item)| parse(i, item).ok_or_else(|| Refusal::item(i, item))).collect()
}

/// A value's text.
pub(super) fn text(value: &Value) -> Result<&str, Refusal> {
    value.as_str().ok_or(Refusal::Shape)
}

/// `1h30m`: whole numbers with their units, the longest unit first and none twice.
fn span(text: &str) -> Option<Duration> {
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut millis = 0_u64;
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        // The iterator goes on where the last unit was, so that units only get shorter.
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*factor)?;
        millis = millis.checked_add(part)?;
        rest = after;
    }
    Some(Duration::from_millis(millis))
}

/// `1048576`, `1024Ki`, `1Mi`.
fn bytes(value: &Value) -> Option<u64> {
    let Value::String(text) = value else {
        return value.as_u64();
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Defines an enum whose variants are written as fixed words.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$what])* $variant),+ }

        impl $name {
            /// The words, as the configuration spells them.
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// This one's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::config::value::FromValue for $name {
            fn from_value(
                _: &$crate::config::setting::Setting,
                value: &serde_json::Value,
            ) -> Result<Self, $crate::config::value::Refusal> {
                // YAML reads an unquoted 1.2 as a number.
                let number = value.as_number().map(ToString::to_string);
                match number.as_deref().or(value.as_str()) {
                    $(Some($word) => Ok(Self::$variant),)+
                    _ => Err($crate::config::value::Refusal::Shape),
                }
            }
        }
    };
}
pub(super) use choice;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans() {
        for (text, millis) in [
            ("5s", Some(5_000)),
            ("2m", Some(120_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("30d", Some(2_592_000_000)),
            ("1d1h1m1s1ms", Some(90_061_001)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 s", None),
            ("5S", None),
            ("5s5m", None),
            ("5s5s", None),
            ("5m3", None),
            ("5w", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("18446744073709551615ms1ms", None),
        ] {
            assert_eq!(span(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn byte_counts() {
        for (value, expected) in [
            (json!(0), Some(0)),
            (json!(1048576), Some(1 << 20)),
            (json!("64Ki"), Some(1 << 16)),
            (json!("10Mi"), Some(10 << 20)),
            (json!("2Gi"), Some(2 << 30)),
            (json!("77"), Some(77)),
            (json!("Ki"), None),
            (json!("10M"), None),
            (json!("10 Mi"), None),
            (json!("-1"), None),
            (json!(-1), None),
            (json!(1.5), None),
            (json!("17179869184Gi"), None),
        ] {
            assert_eq!(bytes(&value), expected, "{value}");
        }
    }

    #[test]
    fn networks() {
        let setting = Setting::new("trustedProxies", Shape::Networks, "[]", "");
        let parsed = Vec::<IpNet>::from_value(&setting, &json!(["10.1.2.3/8", "192.0.2.1", "2001:db8::/32", "::1"]));
        let texts: Vec<_> = parsed.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::1/128"]);
        for bad in [json!(["10.0.0.0/33"]), json!(["all"]), json!([1])] {
            assert_eq!(Vec::<IpNet>::from_value(&setting, &bad), Err(Refusal::item(0, &bad[0])));
        }
    }
}
