//! The configuration file: read, bounded, parsed, and taken apart into the settings that the table knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    path::Path,
};

use serde_json::Value;

use crate::config::{
    error::{ConfigError, Source},
    table::{SETTINGS, setting},
};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// By key.
    pub(super) values: BTreeMap<&'static str, Value>,
    /// The sections that are there and not null, by their dotted path.
    pub(super) sections: BTreeSet<String>,
}

/// The most bytes that a file may have.
const MAX_BYTES: u64 = 1 << 20;

/// The file's bytes; of one over 1 MiB the beginning, which is refused as too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(|error| {
        let source = Source::File(path.to_owned());
        ConfigError::new(&source, format_args!("cannot be read ({error}): name a configuration file that can"))
    })?;
    Ok(bytes)
}

impl Document {
    /// What the file at `path` held when it was read.
    ///
    /// Errors: it is over 1 MiB or not YAML, repeats a key, or holds a key that is no setting.
    pub(super) fn of(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        let source = Source::File(path.to_owned());
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ConfigError::new(&source, "is larger than 1 MiB: a configuration is not; name the right file"));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| ConfigError::new(&source, "is not UTF-8 text: name a YAML file, in UTF-8"))?;
        Self::parse(text, &source)
    }

    pub(super) fn parse(text: &str, source: &Source) -> Result<Self, ConfigError> {
        let mut document = Self::default();
        let value = yaml(text).map_err(|e| ConfigError::new(source, e))?;
        match value {
            Value::Null => {}
            Value::Object(map) => document.section("", map, source)?,
            other => {
                let found = found(&other);
                return Err(ConfigError::new(
                    source,
                    format_args!(
                        "is a mapping of settings; found {found}: write e.g. `upstream: http://127.0.0.1:8080`"
                    ),
                ));
            }
        }
        Ok(document)
    }

    fn section(
        &mut self,
        prefix: &str,
        map: serde_json::Map<String, Value>,
        source: &Source,
    ) -> Result<(), ConfigError> {
        for (name, value) in map {
            let key = format!("{prefix}{name}");
            // A dot in a name would be taken for nesting further down.
            if name.contains('.') {
                return Err(dotted(&key, source));
            }
            if let Some(setting) = setting(&key) {
                self.values.insert(setting.key, value);
            } else if children(&key).next().is_some() {
                match value {
                    Value::Null => {}
                    Value::Object(map) => {
                        self.section(&format!("{key}."), map, source)?;
                        self.sections.insert(key);
                    }
                    other => {
                        let names: BTreeSet<_> = children(&key).collect();
                        let names = names.into_iter().collect::<Vec<_>>().join(", ");
                        let found = found(&other);
                        return Err(ConfigError::new(
                            source,
                            format_args!("`{key}` is a section; found {found}: nest its settings below it ({names})"),
                        ));
                    }
                }
            } else {
                return Err(ConfigError::new(
                    source,
                    format_args!("`{}` is not a setting; did you mean `{}`?", shown(&key), nearest_key(prefix, &name)),
                ));
            }
        }
        Ok(())
    }
}

/// Parses one YAML document within bounds; the error has a line, and no line break or excerpt.
pub(super) fn yaml(text: &str) -> Result<Value, String> {
    // A document of comments alone is empty, which the parser calls the end of its input.
    if text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#')
    }) {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_nodes: 100_000,
            max_depth: 32,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 1_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let e = e.without_snippet();
        match e {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), location } => {
                format!("line {}: `{}` stands twice: keep one of them", location.line(), shown(key))
            }
            serde_saphyr::Error::MultipleDocuments { location, .. } => {
                format!("line {}: a second document begins: keep one of them", location.line())
            }
            other => format!("is not YAML that can be read: {other}; correct it there"),
        }
    })
}

/// A value as an error shows it: short, on one line.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        // It may be a key that was put where its file's path belongs.
        Value::String(text) if is_pem(text) => "PEM text".to_owned(),
        Value::String(text) if looks_secret(text) => "something that looks like a hash or a token".to_owned(),
        Value::String(text) => format!("\"{}\"", shown(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// Certificates and keys, also where their lines were joined.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}

/// Password hashes (crypt's and PHC's forms, LDAP's schemes) and JWTs begin like this.
fn looks_secret(text: &str) -> bool {
    let crypt = text.strip_prefix('$').is_some_and(|rest| rest.contains('$'));
    crypt || text.starts_with("{S") || text.starts_with("eyJ")
}

/// Foreign text as an error shows it: escaped and cut.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    if SECRETS.iter().any(|sign| text.contains(sign)) {
        return "(not shown: it looks like a hash or a key)".to_owned();
    }
    let mut short: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        short.push_str("...");
    }
    short
}

/// What a password's hash or a PEM section begins with, wherever it has slipped in.
const SECRETS: [&str; 7] = ["$argon2", "$2a$", "$2b$", "$2y$", "$apr1$", "{SHA}", "-----BEGIN"];

/// That of `names` which is most like `word`.
pub(super) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    names.into_iter().max_by(|a, b| {
        let like = |name: &str| strsim::normalized_damerau_levenshtein(&folded, &fold(name));
        like(a).total_cmp(&like(b))
    })
}

/// `min_version`, `min-version` and `minversion` are slips for `minVersion`.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).map(|c| c.to_ascii_lowercase()).take(80).collect()
}

fn nearest_key(prefix: &str, name: &str) -> String {
    let folded = fold(name);
    let here: Vec<_> = children(prefix.trim_end_matches('.')).collect();
    let exact = here.iter().any(|child| fold(child) == folded);
    // The right name in the wrong section is a likelier slip than another name in the right one.
    let elsewhere = SETTINGS.iter().find(|setting| {
        let last = setting.key.rsplit('.').next().unwrap_or(setting.key);
        !exact && fold(last) == folded
    });
    match elsewhere {
        Some(setting) => setting.key.to_owned(),
        None => nearest(name, here).map_or_else(String::new, |child| format!("{prefix}{child}")),
    }
}

fn dotted(key: &str, source: &Source) -> ConfigError {
    let near = nearest(key, SETTINGS.iter().map(|setting| setting.key)).unwrap_or(key);
    let nested = match near.rsplit_once('.') {
        Some((sections, last)) => {
            let open: String = sections.split('.').map(|s| format!("{s}: {{")).collect();
            format!("{open}{last}: ...{}", "}".repeat(sections.split('.').count()))
        }
        None => format!("{near}: ..."),
    };
    ConfigError::new(source, format_args!("`{}` is not a setting, since sections nest: write `{nested}`", shown(key)))
}

/// The names right below a section, "" being the whole; a name stands as often as it has settings.
fn children(section: &str) -> impl Iterator<Item = &'static str> + use<> {
    let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
    SETTINGS.iter().filter_map(move |setting| {
        let rest = setting.key.strip_prefix(&prefix)?;
        rest.split('.').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let source = Source::File("config.yaml".into());
        Document::parse(text, &source).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        for (text, message) in [
            (
                "tls: {minVerson: '1.3'}",
                "config.yaml: `tls.minVerson` is not a setting; did you mean `tls.minVersion`?",
            ),
            (
                "tls: {min_version: '1.3'}",
                "config.yaml: `tls.min_version` is not a setting; did you mean `tls.minVersion`?",
            ),
            ("lisen: 0.0.0.0:1", "config.yaml: `lisen` is not a setting; did you mean `listen`?"),
            (
                "store: {kubernets: {}}",
                "config.yaml: `store.kubernets` is not a setting; did you mean `store.kubernetes`?",
            ),
            (
                "authorize: {path: {}}",
                "config.yaml: `authorize.path` is not a setting; did you mean `authorize.paths`?",
            ),
            ("maxTtl: 1h", "config.yaml: `maxTtl` is not a setting; did you mean `tokens.maxTtl`?"),
            (
                "tls.minVersion: '1.3'",
                "config.yaml: `tls.minVersion` is not a setting, since sections nest: write `tls: {minVersion: ...}`",
            ),
            (
                "tls: 5",
                "config.yaml: `tls` is a section; found 5: nest its settings below it (certificate, clientAuth, clientCa, key, managed, minVersion)",
            ),
            ("\"a\\nb\": 5", "config.yaml: `a\\nb` is not a setting; did you mean `admin`?"),
            (
                "[1]",
                "config.yaml: is a mapping of settings; found a list: write e.g. `upstream: http://127.0.0.1:8080`",
            ),
        ] {
            assert_eq!(refusal(text), message);
        }
    }

    #[test]
    fn bad_yaml_is_refused_in_one_line_that_has_the_line() {
        assert_eq!(
            refusal("listen: 0.0.0.0:1\nlisten: 0.0.0.0:2\n"),
            "config.yaml: line 2: `listen` stands twice: keep one of them"
        );
        assert_eq!(
            refusal("upstream: x\n---\nupstream: y\n"),
            "config.yaml: line 3: a second document begins: keep one of them"
        );
        for text in [
            "upstream: x\ntls: {certificate: /a\nkey: b\n",
            "upstream: x\ntls: *nothing\n",
            "upstream: x\nlog: !secret {}\n",
        ] {
            let message = refusal(text);
            assert!(message.starts_with("config.yaml: is not YAML"), "{message}");
            assert!(message.contains("line "), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_document_that_grows_or_nests_without_bound_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
        for text in [bomb, deep] {
            assert!(refusal(&text).starts_with("config.yaml: is not YAML"));
        }
    }

    #[test]
    fn nothing_is_a_configuration_too() {
        let source = Source::Default;
        for text in ["", "# only\n\n  # comments\n", "---\n", "null", "{}", "tls:\n"] {
            let document = Document::parse(text, &source).unwrap();
            assert!(document.values.is_empty() && document.sections.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let document = |path: &Path| read(path).and_then(|bytes| Document::of(path, &bytes));
        let refusal = |path: &Path| document(path).unwrap_err().to_string();
        assert!(refusal(&path).contains("config.yaml: cannot be read (No such file"));
        assert!(refusal(directory.path()).contains(": cannot be read (Is a directory"));
        std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(refusal(&path).contains("config.yaml: is larger than 1 MiB"));
        std::fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        assert!(document(&path).is_ok());
        std::fs::write(&path, b"log: \xff").unwrap();
        assert!(refusal(&path).contains("config.yaml: is not UTF-8"));
    }
}
