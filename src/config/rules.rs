//! `access.rules`: who may do what where, as the configuration writes it.

use serde_json::{Map, Value};

use crate::config::{
    document::{found, nearest, shown},
    names::is_group,
    paths,
    setting::Setting,
    value::{FromValue, Refusal},
};

/// One rule; the first that matches a request decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matcher: RuleMatch,
    /// The methods that it is for, in capitals; `None`: all.
    pub methods: Option<Vec<String>>,
    pub effect: RuleEffect,
}

/// What a rule matches: a plain path, beginning with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleMatch {
    /// This path alone.
    Path(String),
    /// This path and all below it.
    Prefix(String),
}

/// Whom a rule lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleEffect {
    /// Everyone, without a token.
    Anyone,
    /// Whoever has a valid token.
    Authenticated,
    /// Whoever has a valid token and is in one of these groups.
    Groups(Vec<String>),
}

const KEYS: [&str; 5] = ["path", "prefix", "methods", "allow", "groups"];

impl FromValue for Vec<Rule> {
    fn from_value(_: &Setting, value: &Value) -> Result<Self, Refusal> {
        let list = value.as_array().ok_or(Refusal::Shape)?;
        list.iter()
            .enumerate()
            .map(|(i, item)| {
                rule(item).map_err(|Wrong { key, reason }| {
                    let key = key.map(|key| format!(".{key}")).unwrap_or_default();
                    Refusal::at(format!("[{i}]{key}"), reason)
                })
            })
            .collect()
    }
}

/// What is wrong with a rule, and in which of its keys.
struct Wrong {
    key: Option<&'static str>,
    reason: String,
}

fn whole(reason: impl Into<String>) -> Wrong {
    Wrong { key: None, reason: reason.into() }
}

fn inside(key: &'static str, reason: impl Into<String>) -> Wrong {
    Wrong { key: Some(key), reason: reason.into() }
}

fn rule(item: &Value) -> Result<Rule, Wrong> {
    let Value::Object(map) = item else {
        return Err(whole(format!(
            "is a mapping; found {}: write e.g. `{{path: /healthz, allow: anyone}}`",
            found(item)
        )));
    };
    if let Some(unknown) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let near = nearest(unknown, KEYS).unwrap_or_default();
        return Err(whole(format!("has `{}`, which no rule has; did you mean `{near}`?", shown(unknown))));
    }
    Ok(Rule { matcher: matcher(map)?, methods: methods(map)?, effect: effect(map)? })
}

fn matcher(map: &Map<String, Value>) -> Result<RuleMatch, Wrong> {
    let path = |key: &'static str, value: &Value| {
        let text = value
            .as_str()
            .ok_or_else(|| inside(key, format!("is a path; found {}: write e.g. `{key}: /admin`", found(value))))?;
        paths::plain(text).map(str::to_owned).map_err(|reason| inside(key, reason))
    };
    match (map.get("path"), map.get("prefix")) {
        (Some(value), None) => path("path", value).map(RuleMatch::Path),
        (None, Some(value)) => path("prefix", value).map(RuleMatch::Prefix),
        (Some(_), Some(_)) => {
            Err(whole("has both `path` and `prefix`: keep `path` for one path, or `prefix` for all below it"))
        }
        (None, None) => {
            Err(whole("says not where: add `path: /healthz` for one path, or `prefix: /admin` for all below it"))
        }
    }
}

fn methods(map: &Map<String, Value>) -> Result<Option<Vec<String>>, Wrong> {
    let Some(value) = map.get("methods") else {
        return Ok(None);
    };
    let methods = strings(value, |method| {
        let legal = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        (1..=32).contains(&method.len()) && method.bytes().all(legal)
    });
    methods.map(Some).map_err(|found| {
        inside(
            "methods",
            format!("is a list of methods in capitals, not empty; found {found}: write e.g. `methods: [GET]`"),
        )
    })
}

fn effect(map: &Map<String, Value>) -> Result<RuleEffect, Wrong> {
    match (map.get("allow"), map.get("groups")) {
        (Some(allow), None) => match allow.as_str() {
            Some("anyone") => Ok(RuleEffect::Anyone),
            Some("authenticated") => Ok(RuleEffect::Authenticated),
            _ => Err(inside(
                "allow",
                format!("is one of anyone, authenticated; found {}: write e.g. `allow: authenticated`", found(allow)),
            )),
        },
        (None, Some(groups)) => strings(groups, is_group).map(RuleEffect::Groups).map_err(|found| {
            inside(
                "groups",
                format!("is a list of group names, not empty; found {found}: write e.g. `groups: [Administrator]`"),
            )
        }),
        (Some(_), Some(_)) => {
            Err(whole("has both `allow` and `groups`: keep one of them, groups being authenticated anyway"))
        }
        (None, None) => {
            Err(whole("says not who: add `allow: anyone`, `allow: authenticated` or `groups: [Administrator]`"))
        }
    }
}

/// A list, not empty, of right strings, or what was found instead.
fn strings(value: &Value, right: impl Fn(&str) -> bool) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| found(value))?;
    if list.is_empty() {
        return Err("an empty list".to_owned());
    }
    list.iter()
        .map(|item| match item.as_str() {
            Some(text) if right(text) => Ok(text.to_owned()),
            _ => Err(found(item)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{document::yaml, table::setting};

    fn parse(text: &str) -> Result<Vec<Rule>, Refusal> {
        Vec::<Rule>::from_value(setting("access.rules").unwrap(), &yaml(text).unwrap())
    }

    #[test]
    fn rules_that_are_right() {
        let rules = parse(
            "- {path: /healthz, methods: [GET, M-SEARCH], allow: anyone}\n\
             - {prefix: /admin/, groups: [Administrator]}\n\
             - {prefix: /, allow: authenticated}",
        );
        let expected = vec![
            Rule {
                matcher: RuleMatch::Path("/healthz".to_owned()),
                methods: Some(vec!["GET".to_owned(), "M-SEARCH".to_owned()]),
                effect: RuleEffect::Anyone,
            },
            Rule {
                matcher: RuleMatch::Prefix("/admin/".to_owned()),
                methods: None,
                effect: RuleEffect::Groups(vec!["Administrator".to_owned()]),
            },
            Rule { matcher: RuleMatch::Prefix("/".to_owned()), methods: None, effect: RuleEffect::Authenticated },
        ];
        assert_eq!(rules, Ok(expected));
        assert_eq!(parse("[]"), Ok(vec![]));
    }

    #[test]
    fn rules_that_are_not() {
        for (text, expected_at, part) in [
            ("[5]", "[0]", "is a mapping; found 5"),
            ("[{path: /a, allow: anyone}, null]", "[1]", "found null"),
            ("[{path: /a, alow: anyone}]", "[0]", "has `alow`, which no rule has; did you mean `allow`?"),
            ("[{path: /a, method: [GET]}]", "[0]", "did you mean `methods`?"),
            ("[{allow: anyone}]", "[0]", "says not where"),
            ("[{path: /a, prefix: /b, allow: anyone}]", "[0]", "has both `path` and `prefix`"),
            ("[{path: null, allow: anyone}]", "[0].path", "found null"),
            ("[{path: a, allow: anyone}]", "[0].path", "must begin with `/`"),
            ("[{prefix: /a/../b, allow: anyone}]", "[0].prefix", "dot segment"),
            ("[{path: /a}]", "[0]", "says not who"),
            ("[{path: /a, allow: anyone, groups: [a]}]", "[0]", "has both `allow` and `groups`"),
            ("[{path: /a, allow: nobody}]", "[0].allow", "found \"nobody\""),
            ("[{path: /a, allow: null}]", "[0].allow", "found null"),
            ("[{path: /a, groups: []}]", "[0].groups", "found an empty list"),
            ("[{path: /a, groups: a}]", "[0].groups", "found \"a\""),
            ("[{path: /a, groups: ['a,b']}]", "[0].groups", "found \"a,b\""),
            ("[{path: /a, groups: [1]}]", "[0].groups", "found 1"),
            ("[{path: /a, allow: anyone, methods: []}]", "[0].methods", "found an empty list"),
            ("[{path: /a, allow: anyone, methods: [get]}]", "[0].methods", "found \"get\""),
            ("[{path: /a, allow: anyone, methods: GET}]", "[0].methods", "found \"GET\""),
            ("[{path: /a, allow: anyone, methods: ['GET ']}]", "[0].methods", "found \"GET \""),
            ("[{path: /a, allow: anyone, methods: null}]", "[0].methods", "found null"),
        ] {
            let Err(Refusal::Because { at, reason }) = parse(text) else {
                panic!("{text} was not refused");
            };
            assert_eq!(at, expected_at, "{text}");
            assert!(reason.contains(part), "{text}: {reason}");
        }
        assert_eq!(parse("{path: /a}"), Err(Refusal::Shape));
    }
}
