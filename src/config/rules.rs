//! `access.rules`: who may do what where, as the configuration writes it.

use serde_json::{Map, Value};

use crate::config::{
    document::{found, nearest, shown},
    names::is_group,
    paths,
    setting::{GROUP_NAME, Setting},
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
            .map(|(i, item)| rule(item).map_err(|Wrong { at, reason }| Refusal::at(format!("[{i}]{at}"), reason)))
            .collect()
    }
}

/// What is wrong with a rule, and where in it: `.methods[0]`.
struct Wrong {
    at: String,
    reason: String,
}

fn whole(reason: impl Into<String>) -> Wrong {
    Wrong { at: String::new(), reason: reason.into() }
}

fn inside(key: &'static str, reason: impl Into<String>) -> Wrong {
    Wrong { at: format!(".{key}"), reason: reason.into() }
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
    let strings = Strings {
        key: "methods",
        list: "a list of methods in capitals, not empty",
        item: "a method in capitals",
        is_right: is_method,
        mend: |item| Some(item.to_ascii_uppercase()).filter(|method| is_method(method)),
        example: "GET",
    };
    strings.read(value).map(Some)
}

fn is_method(method: &str) -> bool {
    let legal = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=32).contains(&method.len()) && method.bytes().all(legal)
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
        (None, Some(groups)) => {
            let strings = Strings {
                key: "groups",
                list: "a list of group names, not empty",
                item: &format!("a group name ({GROUP_NAME})"),
                is_right: is_group,
                mend: |_| None,
                example: "Administrator",
            };
            strings.read(groups).map(RuleEffect::Groups)
        }
        (Some(_), Some(_)) => {
            Err(whole("has both `allow` and `groups`: keep one of them, groups being authenticated anyway"))
        }
        (None, None) => {
            Err(whole("says not who: add `allow: anyone`, `allow: authenticated` or `groups: [Administrator]`"))
        }
    }
}

/// A key of a rule whose value is a list, not empty, of right strings.
struct Strings<'a> {
    key: &'static str,
    /// What the value is, in words, and what an item of it is.
    list: &'a str,
    item: &'a str,
    is_right: fn(&str) -> bool,
    /// What was probably meant by a wrong item.
    mend: fn(&str) -> Option<String>,
    example: &'a str,
}

impl Strings<'_> {
    fn read(&self, value: &Value) -> Result<Vec<String>, Wrong> {
        let Self { key, list, example, .. } = self;
        let wrong = |found| inside(key, format!("is {list}; found {found}: write e.g. `{key}: [{example}]`"));
        let items = value.as_array().ok_or_else(|| wrong(found(value)))?;
        if items.is_empty() {
            return Err(wrong("an empty list".to_owned()));
        }
        items.iter().enumerate().map(|(i, item)| self.one(i, item)).collect()
    }

    fn one(&self, i: usize, item: &Value) -> Result<String, Wrong> {
        let Self { key, item: words, .. } = self;
        match item.as_str() {
            Some(text) if (self.is_right)(text) => Ok(text.to_owned()),
            text => {
                let mend = text.and_then(self.mend).unwrap_or_else(|| self.example.to_owned());
                let found = found(item);
                Err(Wrong {
                    at: format!(".{key}[{i}]"),
                    reason: format!("is {words}; found {found}: write e.g. `{key}: [{mend}]`"),
                })
            }
        }
    }
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
            ("[{path: /a, groups: ['a,b']}]", "[0].groups[0]", "found \"a,b\""),
            ("[{path: /a, groups: [1]}]", "[0].groups[0]", "found 1"),
            ("[{path: /a, allow: anyone, methods: []}]", "[0].methods", "found an empty list"),
            (
                "[{path: /a, allow: anyone, methods: [get]}]",
                "[0].methods[0]",
                "found \"get\": write e.g. `methods: [GET]`",
            ),
            ("[{path: /a, allow: anyone, methods: GET}]", "[0].methods", "found \"GET\""),
            ("[{path: /a, allow: anyone, methods: ['GET ']}]", "[0].methods[0]", "found \"GET \""),
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
