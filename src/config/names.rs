//! Which names are names: of groups, headers, Secrets, namespaces, hosts.

use std::net::IpAddr;

use http::HeaderName;
use serde_json::Value;

use crate::config::{
    paths,
    setting::{Setting, Shape},
    value::{FromValue, Refusal, items, text},
};

impl FromValue for String {
    fn from_value(setting: &Setting, value: &Value) -> Result<Self, Refusal> {
        let text = text(value)?;
        let right = match setting.shape {
            Shape::Text => is_text(text),
            Shape::Secret => is_dns_subdomain(text),
            Shape::Namespace => is_dns_label(text),
            _ => false,
        };
        if right { Ok(text.to_owned()) } else { Err(Refusal::Shape) }
    }
}

impl FromValue for Vec<String> {
    fn from_value(setting: &Setting, value: &Value) -> Result<Self, Refusal> {
        let strings = |right: fn(&str) -> bool, value: &Value| {
            items(value, |_, item| item.as_str().filter(|s| right(s)).map(str::to_owned))
        };
        match setting.shape {
            Shape::Groups => strings(is_group, value),
            Shape::Hosts => strings(is_host, value),
            Shape::Secrets => one_or_more(value, |at, item| {
                item.as_str().filter(|s| is_dns_subdomain(s)).map(str::to_owned).ok_or_else(|| wrong(at, item))
            }),
            Shape::Paths => one_or_more(value, |at, item| {
                let text = item.as_str().ok_or_else(|| wrong(at, item))?;
                paths::plain(text).map_err(|reason| Refusal::at(place(at), reason)).map(str::to_owned)
            }),
            _ => Err(Refusal::Shape),
        }
    }
}

/// A header of the application's requests that tells who calls.
impl FromValue for HeaderName {
    fn from_value(_: &Setting, value: &Value) -> Result<Self, Refusal> {
        let text = text(value)?;
        let name = Self::from_bytes(text.as_bytes()).map_err(|_| Refusal::Shape)?;
        if RESERVED.iter().any(|reserved| same_header(reserved, name.as_str())) {
            return Err(Refusal::because(
                "is a header with a meaning of its own: name another, e.g. `X-Forwarded-User`",
            ));
        }
        Ok(name)
    }
}

/// Whether servers that map `-`, `_` and `.` onto each other (CGI, WSGI) take two names for one.
pub(super) fn same_header(a: &str, b: &str) -> bool {
    let fold = |b: u8| match b {
        b'_' | b'.' => b'-',
        b => b.to_ascii_lowercase(),
    };
    a.len() == b.len() && a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// User and group names are visible ASCII; `,` parts groups in a header, `:` ends a name in Basic (RFC 7617, section 2).
pub(super) fn is_group(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_graphic() && b != b',' && b != b':';
    (1..=256).contains(&name.len()) && name.bytes().all(legal)
}

/// Headers that frame, route or authenticate a message, or that are removed or overwritten in every request.
const RESERVED: &[&str] = &[
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-request-id",
    "x-rewrite-url",
];

fn is_text(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.contains(char::is_control)
}

/// RFC 1123, section 2.1, as Kubernetes names namespaces.
pub(crate) fn is_dns_label(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(legal) && !name.starts_with('-') && !name.ends_with('-')
}

/// RFC 1123 as Kubernetes names most objects: labels parted by dots, which need not be short.
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(legal) && !part.starts_with('-') && !part.ends_with('-');
    name.len() <= 253 && name.split('.').all(part)
}

fn is_host(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<IpAddr>().is_ok() || (labels.len() <= 253 && labels.to_ascii_lowercase().split('.').all(is_dns_label))
}

/// One value or a list of at least one, all different; `parse` is told the item's index in a list.
fn one_or_more(
    value: &Value,
    parse: impl Fn(Option<usize>, &Value) -> Result<String, Refusal>,
) -> Result<Vec<String>, Refusal> {
    let Value::Array(list) = value else {
        return match value {
            Value::String(_) => Ok(vec![parse(None, value)?]),
            _ => Err(Refusal::Shape),
        };
    };
    if list.is_empty() {
        return Err(Refusal::because("is an empty list: name at least one"));
    }
    let mut parsed: Vec<String> = Vec::with_capacity(list.len());
    for (i, item) in list.iter().enumerate() {
        let one = parse(Some(i), item)?;
        if parsed.contains(&one) {
            let reason = format!("repeats {one}: name it once");
            return Err(Refusal::at(place(Some(i)), reason));
        }
        parsed.push(one);
    }
    Ok(parsed)
}

fn wrong(at: Option<usize>, item: &Value) -> Refusal {
    at.map_or(Refusal::Shape, |at| Refusal::item(at, item))
}

fn place(at: Option<usize>) -> String {
    at.map_or_else(String::new, |at| format!("[{at}]"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(254);
        for (right, good, bad) in [
            (
                is_group as fn(&str) -> bool,
                &["Administrator", "SaaS_User", "a/b@c"][..],
                &["", "a,b", "a:b", "a b", "\u{fc}", "a\n"][..],
            ),
            (
                is_dns_subdomain,
                &["vestibule-users", "a.b", "1"],
                &["", "A", "a_b", "-a", "a-", "a..b", ".a", "a/b", &long],
            ),
            (is_dns_label, &["default", "1a"], &["", "a.b", "A", "-a", &long]),
            (
                is_host,
                &["app", "App.Example.org", "*.example.org", "192.0.2.1", "::1"],
                &["", "*", "a.*.b", "a b", "a:80", "[::1]", &long],
            ),
        ] {
            for name in good {
                assert!(right(name), "{name}");
            }
            for name in bad {
                assert!(!right(name), "{name}");
            }
        }
        assert!(is_group(&"g".repeat(256)) && !is_group(&"g".repeat(257)));
    }

    #[test]
    fn headers_with_a_meaning_are_refused_in_every_spelling() {
        let setting = Setting::new("h", Shape::Header, "X-Forwarded-User", "");
        let parse = |name: &str| HeaderName::from_value(&setting, &json!(name));
        assert_eq!(parse("X-Forwarded-User").unwrap(), "x-forwarded-user");
        for reserved in ["Authorization", "HOST", "Connection", "Transfer_Encoding", "X.Forwarded.For", "Upgrade", "te"]
        {
            assert!(matches!(parse(reserved), Err(Refusal::Because { .. })), "{reserved}");
        }
        for wrong in ["", "X User", "X:User", "\u{fc}"] {
            assert_eq!(parse(wrong), Err(Refusal::Shape), "{wrong}");
        }
    }

    #[test]
    fn a_list_of_names_has_some_that_differ() {
        let setting = Setting::new("s", Shape::Secrets, "a", "");
        let parse = |value: Value| Vec::<String>::from_value(&setting, &value);
        assert_eq!(parse(json!("a")), Ok(vec!["a".to_owned()]));
        assert_eq!(parse(json!(["a", "b"])).unwrap().len(), 2);
        for (bad, expected) in [
            (json!("A"), Refusal::Shape),
            (json!(5), Refusal::Shape),
            (json!([]), Refusal::because("is an empty list: name at least one")),
            (json!(["a", "a"]), Refusal::at("[1]", "repeats a: name it once")),
            (json!(["a", "B"]), Refusal::item(1, &json!("B"))),
        ] {
            assert_eq!(parse(bad), Err(expected));
        }
    }
}
