//! The value of each setting, from the strongest of its sources: flag, variable, file, default.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use crate::config::{
    document::{Document, found, nearest, shown, yaml},
    error::{ConfigError, Source},
    setting::{Setting, Shape, VARIABLE_PREFIX},
    table::{SETTINGS, setting},
    value::{FromValue, Refusal},
};

/// The values that have not been taken yet, and where all came from.
#[derive(Debug)]
pub(super) struct Values {
    values: BTreeMap<&'static str, Value>,
    sources: BTreeMap<&'static str, Source>,
    sections: BTreeSet<String>,
    /// For errors about what nobody has given.
    origin: Source,
}

impl Values {
    /// Merges the sources; besides come warnings about variables that are passed over.
    pub(super) fn gather(
        file: Option<(&Path, Document)>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static Setting, String)>,
    ) -> Result<(Self, Vec<String>), ConfigError> {
        let (file, document) = file.map_or_else(Default::default, |(path, document)| (Some(path), document));
        let mut gathered = Self {
            values: BTreeMap::new(),
            sources: BTreeMap::new(),
            sections: document.sections,
            origin: file.map_or(Source::Default, |path| Source::File(path.to_owned())),
        };
        for setting in SETTINGS {
            let default = yaml(setting.default).expect("the table's defaults are YAML");
            gathered.put(setting, default, Source::Default);
        }
        if let Some(path) = file {
            for (key, value) in document.values {
                let setting = setting(key).expect("a document holds settings of the table");
                gathered.put(setting, value, Source::File(path.to_owned()));
            }
        }
        let (variables, warnings) = known(variables);
        for (setting, raw) in variables {
            gathered.put_raw(setting, &raw, Source::Variable(setting))?;
        }
        for (setting, raw) in flags {
            gathered.put_raw(setting, &raw, Source::Flag(setting))?;
        }
        Ok((gathered, warnings))
    }

    /// Takes a setting's value; each is taken once.
    pub(super) fn take<T: FromValue>(&mut self, key: &str) -> Result<T, ConfigError> {
        let setting = setting(key).expect("only settings of the table are taken");
        let value = self.values.remove(key).expect("a setting is taken once");
        T::from_value(setting, &value).map_err(|refusal| match refusal {
            Refusal::Shape => wrong_shape(setting, &value, &self.sources[key]),
            Refusal::Item { at, found } => wrong_item(setting, at, &found, &self.sources[key]),
            Refusal::Because { at, reason } => self.refuse_at(key, &at, &reason),
        })
    }

    /// An error about a setting whose value is wrong beside others.
    pub(super) fn refuse(&self, key: &str, reason: &str) -> ConfigError {
        self.refuse_at(key, "", reason)
    }

    /// Whether a setting has been given by nobody.
    pub(super) fn is_default(&self, key: &str) -> bool {
        self.sources[key] == Source::Default
    }

    /// Whether a section, or a setting in it, has been given.
    pub(super) fn has_section(&self, section: &str) -> bool {
        self.sections.contains(section)
    }

    /// Where a section was given, for an error about it as a whole.
    pub(super) fn refuse_section(&self, section: &str, reason: &str) -> ConfigError {
        let below = format!("{section}.");
        let source = self
            .sources
            .iter()
            .find(|(key, source)| key.starts_with(&below) && **source != Source::Default)
            .map_or(&self.origin, |(_, source)| source);
        ConfigError::new(source, format_args!("`{section}` {reason}"))
    }

    /// The keys that have not been taken.
    pub(super) fn rest(&self) -> Vec<&'static str> {
        self.values.keys().copied().collect()
    }

    fn refuse_at(&self, key: &str, at: &str, reason: &str) -> ConfigError {
        ConfigError::new(&self.sources[key], format_args!("`{key}{at}` {reason}"))
    }

    fn put(&mut self, setting: &'static Setting, value: Value, source: Source) {
        self.values.insert(setting.key, value);
        self.sources.insert(setting.key, source);
    }

    /// Puts a variable's or a flag's text; with one setting come the sections around it, unless it takes a value away.
    fn put_raw(&mut self, setting: &'static Setting, raw: &str, source: Source) -> Result<(), ConfigError> {
        let value = raw_value(setting.shape, raw).ok_or_else(|| wrong_shape(setting, &Value::from(raw), &source))?;
        if !value.is_null() {
            for (dot, _) in setting.key.match_indices('.') {
                self.sections.insert(setting.key[..dot].to_owned());
            }
        }
        self.put(setting, value, source);
        Ok(())
    }
}

/// The variables that are settings, and warnings about the others that bear the name. No value is repeated: a variable
/// that is no setting may be anybody's secret.
fn known(variables: impl IntoIterator<Item = (String, String)>) -> (Vec<(&'static Setting, String)>, Vec<String>) {
    let names: BTreeMap<String, &'static Setting> = SETTINGS.iter().map(|s| (s.variable(), s)).collect();
    let mut settings = Vec::new();
    let mut links = BTreeSet::new();
    let mut warnings = BTreeSet::new();
    for (name, raw) in variables {
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
            continue;
        };
        if let Some(setting) = names.get(&name) {
            if !raw.trim().is_empty() {
                settings.push((*setting, raw));
            }
        } else if is_service_link(rest) {
            links.insert(shown(&name));
        } else {
            let near = nearest(&name, names.keys().map(String::as_str)).unwrap_or_default();
            warnings.insert(format!("{} is not a setting and is passed over; did you mean {near}?", shown(&name)));
        }
    }
    let mut warnings: Vec<_> = warnings.into_iter().collect();
    if !links.is_empty() {
        let links = links.into_iter().collect::<Vec<_>>().join(", ");
        warnings.push(format!(
            "{links}: set by Kubernetes for a Service, not settings, and passed over (`enableServiceLinks: false` in the pod keeps them away)"
        ));
    }
    (settings, warnings)
}

/// Whether Kubernetes sets a variable of that name, after the prefix, for a Service whose name begins like ours:
/// `PORT`, `PORT_443_TCP_ADDR`, `SERVICE_HOST`, `SERVICE_PORT_HTTPS`, `ADMIN_SERVICE_HOST`.
fn is_service_link(rest: &str) -> bool {
    let whole = format!("_{rest}");
    let port = |after: &str| {
        let mut parts = after.split('_');
        parts.next().is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
            && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    };
    whole.ends_with("_SERVICE_HOST")
        || whole.ends_with("_SERVICE_PORT")
        || whole.contains("_SERVICE_PORT_")
        || whole.ends_with("_PORT")
        || whole.match_indices("_PORT_").any(|(i, part)| port(&whole[i + part.len()..]))
}

/// A variable's or a flag's text as a value; `None`: it is no value at all.
///
/// Text is taken as it stands, quotes around it aside; lists are YAML in brackets, or parted by commas.
fn raw_value(shape: Shape, raw: &str) -> Option<Value> {
    let raw = raw.trim();
    let quoted = raw.starts_with(['"', '\'']);
    match shape {
        _ if raw == "null" => Some(Value::Null),
        Shape::Rules | Shape::Bool | Shape::Count { .. } | Shape::Number { .. } => yaml(raw).ok(),
        _ if quoted => yaml(raw).ok(),
        _ if shape.is_list() => {
            if raw.starts_with('[') {
                return yaml(raw).ok();
            }
            let items = raw.split(',').map(|item| Value::from(item.trim()));
            Some(Value::Array(items.collect()))
        }
        _ => Some(Value::from(raw)),
    }
}

fn wrong_shape(setting: &Setting, value: &Value, source: &Source) -> ConfigError {
    // An address may hold a password.
    let found = match value.as_str() {
        Some(text) if setting.shape == Shape::Upstream && text.contains('@') => "something with an `@`".to_owned(),
        _ => found(value),
    };
    let example = source.example(setting, &mend(setting, value));
    ConfigError::new(
        source,
        format_args!("`{}` is {}; found {found}: write e.g. {example}", setting.key, setting.words()),
    )
}

fn wrong_item(setting: &Setting, at: usize, found: &str, source: &Source) -> ConfigError {
    let example = source.example(setting, setting.example());
    ConfigError::new(
        source,
        format_args!("`{}[{at}]` is {}; found {found}: write e.g. {example}", setting.key, setting.shape.item_words()),
    )
}

/// What was probably meant, or else the setting's example, as YAML.
fn mend(setting: &Setting, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => return setting.example().to_owned(),
    };
    match setting.shape {
        Shape::Span { min, max } | Shape::Seconds { min, max } => {
            let seconds = text.parse().ok().map(std::time::Duration::from_secs);
            match seconds.filter(|seconds| (min..=max).contains(seconds)) {
                Some(_) => format!("{text}s"),
                None => setting.example().to_owned(),
            }
        }
        Shape::Choice(names) => {
            let near = nearest(&text, names.iter().copied()).unwrap_or(setting.example());
            quoted_if_need_be(near)
        }
        Shape::Text if !value.is_string() => quoted_if_need_be(&text),
        _ => setting.example().to_owned(),
    }
}

fn quoted_if_need_be(text: &str) -> String {
    match yaml(text) {
        Ok(Value::String(_)) => text.to_owned(),
        _ => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn service_links_are_told_from_settings() {
        for link in [
            "PORT",
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTPS",
            "PORT_443_TCP",
            "PORT_443_TCP_PROTO",
            "PORT_443_TCP_ADDR",
            "PORT_53_UDP_PORT",
            "ADMIN_SERVICE_HOST",
            "ADMIN_PORT",
            "ADMIN_PORT_10444_TCP_ADDR",
        ] {
            assert!(is_service_link(link), "{link}");
        }
        for setting in SETTINGS {
            let variable = setting.variable();
            let rest = variable.strip_prefix(VARIABLE_PREFIX).unwrap();
            assert!(!is_service_link(rest), "{variable}");
        }
        for other in ["PASSWORD", "IMPORT", "PORT_HTTP", "PORT_443_QUIC"] {
            assert!(!is_service_link(other), "{other}");
        }
    }

    #[test]
    fn variables_that_are_no_settings_are_passed_over_by_name_alone() {
        let variables = [
            ("VESTIBULE_PORT", "tcp://10.0.0.1:443"),
            ("VESTIBULE_SERVICE_HOST", "10.0.0.1"),
            ("VESTIBULE_LISTN", "hunter2"),
            ("VESTIBULE_LISTEN", "  "),
            ("PATH", "/bin"),
        ];
        let variables = variables.map(|(name, raw)| (name.to_owned(), raw.to_owned()));
        let (settings, warnings) = known(variables);
        assert!(settings.is_empty(), "an empty variable counts as unset");
        assert_eq!(
            warnings,
            [
                "VESTIBULE_LISTN is not a setting and is passed over; did you mean VESTIBULE_LISTEN?",
                "VESTIBULE_PORT, VESTIBULE_SERVICE_HOST: set by Kubernetes for a Service, not settings, and passed over \
                 (`enableServiceLinks: false` in the pod keeps them away)",
            ]
        );
    }

    #[test]
    fn raw_values() {
        let count = Shape::Count { min: 0, max: 9 };
        for (shape, raw, expected) in [
            (Shape::Address, "[::1]:80", Some(json!("[::1]:80"))),
            (Shape::Text, "123", Some(json!("123"))),
            (Shape::Text, "\"a: b\"", Some(json!("a: b"))),
            (Shape::Text, "a: b # c", Some(json!("a: b # c"))),
            (Shape::Text, "null", Some(Value::Null)),
            (Shape::Text, "\"null\"", Some(json!("null"))),
            (Shape::Text, "'a", None),
            (Shape::Groups, "a, b", Some(json!(["a", "b"]))),
            (Shape::Groups, "[a, b]", Some(json!(["a", "b"]))),
            (Shape::Groups, "[]", Some(json!([]))),
            (Shape::Groups, "a", Some(json!(["a"]))),
            (Shape::Groups, "[a", None),
            (count, "5", Some(json!(5))),
            (count, " 5\n", Some(json!(5))),
            (count, "many", Some(json!("many"))),
            (Shape::Bool, "true", Some(json!(true))),
            (Shape::Bool, "yes", Some(json!("yes"))),
            (Shape::Rules, "[{path: /a}]", Some(json!([{"path": "/a"}]))),
        ] {
            assert_eq!(raw_value(shape, raw), expected, "{raw}");
        }
    }
}
