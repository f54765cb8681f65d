//! A refused configuration, in one line, and where the refused value came from.

use std::{fmt, path::PathBuf};

use crate::config::setting::Setting;

/// Why a configuration is refused. Its `Display` is one line that names where the value came from, the setting, what
/// would be right, and the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn new(source: &Source, message: impl fmt::Display) -> Self {
        // A parser's own words may hold a line break; the promise is one line.
        Self(format!("{source}: {message}").replace(char::is_control, " "))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Where a setting's value came from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    Default,
    File(PathBuf),
    Variable(&'static Setting),
    Flag(&'static Setting),
}

impl Source {
    /// How `setting` is written at this place with a value that is given as YAML.
    pub(super) fn example(&self, setting: &Setting, yaml: &str) -> String {
        let raw = yaml.trim_matches('"');
        let raw = if raw.contains(|c: char| c.is_whitespace() || "[]{}*\"".contains(c)) {
            format!("'{raw}'")
        } else {
            raw.to_owned()
        };
        match self {
            Self::Default | Self::File(_) => format!("`{}: {yaml}`", setting.key),
            Self::Variable(_) => format!("`{}={raw}`", setting.variable()),
            Self::Flag(_) => format!("`--{}={raw}`", setting.flag()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("configuration"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(setting) => f.write_str(&setting.variable()),
            Self::Flag(setting) => write!(f, "--{}", setting.flag()),
        }
    }
}
