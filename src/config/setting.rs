//! What a setting is: its key, the shape of its value, its default, and its names as a flag and as a variable.

use std::{fmt::Write as _, time::Duration};

/// One setting: a leaf of the configuration.
#[derive(Debug, PartialEq)]
pub struct Setting {
    /// The path in the file, parted by dots: `tls.minVersion`.
    pub key: &'static str,
    pub shape: Shape,
    /// The default, as YAML.
    pub default: &'static str,
    /// Whether `null` is a value.
    pub nullable: bool,
    /// Whether a change of the file takes effect without a restart.
    pub reload: bool,
    /// What the setting does, as Markdown.
    pub doc: &'static str,
    example: &'static str,
}

/// What a setting's value looks like; a list is never null, but may be empty where `words` does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Address,
    Upstream,
    File,
    Directory,
    /// A length of time, in milliseconds at the finest.
    Span {
        min: Duration,
        max: Duration,
    },
    /// A length of time in whole seconds, as tokens and keys count.
    Seconds {
        min: Duration,
        max: Duration,
    },
    Count {
        min: u64,
        max: u64,
    },
    Bytes {
        min: u64,
        max: u64,
    },
    Number {
        min: f64,
        max: f64,
    },
    Bool,
    Choice(&'static [&'static str]),
    Text,
    Header,
    Namespace,
    Secret,
    Secrets,
    Hosts,
    Groups,
    Paths,
    Networks,
    Rules,
}

impl Setting {
    /// A setting that is not null and counts until the next start.
    pub(super) const fn new(key: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> Self {
        Self { key, shape, default, nullable: false, reload: false, doc, example: default }
    }

    /// The same, null being a value as well; `example` is one that is not.
    pub(super) const fn or_null(mut self, example: &'static str) -> Self {
        self.nullable = true;
        self.example = example;
        self
    }

    /// The same with another example than the default.
    pub(super) const fn such_as(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    /// The same, reloaded when the file changes.
    pub(super) const fn reloads(mut self) -> Self {
        self.reload = true;
        self
    }

    /// The flag without its dashes: `tls-min-version`.
    pub fn flag(&self) -> String {
        let mut flag = String::new();
        for c in self.key.chars() {
            match c {
                '.' => flag.push('-'),
                'A'..='Z' => {
                    flag.push('-');
                    flag.push(c.to_ascii_lowercase());
                }
                _ => flag.push(c),
            }
        }
        flag
    }

    /// The environment variable: `VESTIBULE_TLS_MIN_VERSION`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.flag().replace('-', "_").to_ascii_uppercase())
    }

    /// A value that is right, as YAML.
    pub fn example(&self) -> &'static str {
        self.example
    }

    /// The value's shape in words: "a whole number of at least 1, or null".
    pub fn words(&self) -> String {
        let mut words = self.shape.words();
        if self.nullable {
            words.push_str(", or null");
        }
        words
    }
}

/// What the names of all variables begin with.
pub const VARIABLE_PREFIX: &str = "VESTIBULE_";

impl Shape {
    /// Whether the value is a list, or may be one.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::Secrets | Self::Hosts | Self::Groups | Self::Paths | Self::Networks | Self::Rules)
    }

    /// What one item of a list looks like; of what is no list, the value itself.
    pub(super) fn item_words(&self) -> String {
        match self {
            Self::Secrets => "the name of a Secret (small letters, digits, `-` and `.`, at most 253)".to_owned(),
            Self::Hosts => "a host name or an IP address".to_owned(),
            Self::Groups => format!("a group name ({GROUP_NAME})"),
            Self::Paths => "a path that begins with `/`".to_owned(),
            Self::Networks => "a network such as 10.0.0.0/8, or a single address".to_owned(),
            Self::Rules => "a rule such as {path: /healthz, allow: anyone}".to_owned(),
            _ => self.words(),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Address => "an IP address with a port".to_owned(),
            Self::Upstream => "http://HOST:PORT, https://HOST[:PORT], h2c://HOST:PORT or unix:/PATH".to_owned(),
            Self::File => "the path of a file".to_owned(),
            Self::Directory => "the path of a directory".to_owned(),
            Self::Span { min, max } => format!(
                "a length of time with its unit (ms, s, m, h, d) from {} to {}",
                span_text(*min),
                span_text(*max)
            ),
            Self::Seconds { min, max } => format!(
                "a length of time in whole seconds with its unit (s, m, h, d) from {} to {}",
                span_text(*min),
                span_text(*max)
            ),
            Self::Count { min, max } => {
                if *max == u64::MAX {
                    format!("a whole number of at least {min}")
                } else {
                    format!("a whole number from {min} to {max}")
                }
            }
            Self::Bytes { min, max } => {
                let range =
                    if *max == u64::MAX { format!("of at least {min}") } else { format!("from {min} to {max}") };
                format!("a number of bytes {range}, plain or with Ki, Mi or Gi")
            }
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Bool => "true or false".to_owned(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::Text => "a text of 1 to 256 bytes without control characters".to_owned(),
            Self::Header => "the name of a header".to_owned(),
            Self::Namespace => "the name of a namespace".to_owned(),
            Self::Secret => "the name of a Secret".to_owned(),
            Self::Secrets => "the name of a Secret, or a list of different ones".to_owned(),
            Self::Hosts => "a list of host names and IP addresses".to_owned(),
            Self::Groups => format!("a list of group names ({GROUP_NAME})"),
            Self::Paths => "a path that begins with `/`, or a list of such paths".to_owned(),
            Self::Networks => "a list of networks such as 10.0.0.0/8, or single addresses".to_owned(),
            Self::Rules => "a list of rules such as {path: /healthz, allow: anyone}".to_owned(),
        }
    }
}

/// What a group's name is.
pub(super) const GROUP_NAME: &str = "visible ASCII without `,` and `:`, at most 256 bytes";

/// A length of time as the configuration spells it: `1h30m`, `250ms`, `0s`.
pub(super) fn span_text(span: Duration) -> String {
    let mut text = String::new();
    let mut rest = span.as_millis();
    for (unit, millis) in UNITS {
        let count = rest / u128::from(millis);
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
            rest %= u128::from(millis);
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// The units of a length of time in milliseconds, the longest first.
pub(super) const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_key() {
        for (key, flag, variable) in [
            ("listen", "listen", "VESTIBULE_LISTEN"),
            ("tls.minVersion", "tls-min-version", "VESTIBULE_TLS_MIN_VERSION"),
            (
                "store.kubernetes.fallback.users",
                "store-kubernetes-fallback-users",
                "VESTIBULE_STORE_KUBERNETES_FALLBACK_USERS",
            ),
            ("upstreamCa", "upstream-ca", "VESTIBULE_UPSTREAM_CA"),
        ] {
            let setting = Setting::new(key, Shape::Bool, "true", "");
            assert_eq!(setting.flag(), flag);
            assert_eq!(setting.variable(), variable);
        }
    }

    #[test]
    fn spans_are_spelled_as_they_are_read() {
        for (millis, text) in
            [(0, "0s"), (250, "250ms"), (1_500, "1s500ms"), (5_400_000, "1h30m"), (2_592_000_000, "30d")]
        {
            assert_eq!(span_text(Duration::from_millis(millis)), text);
        }
    }
}
