//! The htpasswd form: a name and a hash a line.

use super::InvalidDocument;

/// A line that holds a user.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: usize,
    pub(super) name: &'a str,
    pub(super) hash: &'a str,
}

impl Line<'_> {
    /// `text`, which holds this line and its ending, with another hash.
    pub(super) fn with_hash(&self, text: &str, hash: &str) -> Option<String> {
        let (name, rest) = text.split_once(':')?;
        let rest = rest.strip_prefix(self.hash)?;
        Some(format!("{name}:{hash}{rest}"))
    }
}

/// Reads `name:hash` lines; empty lines, those that begin with `#`, space around a line and whatever
/// follows a second colon are passed over, as Apache and nginx do.
pub(super) fn parse<'a>(label: &str, text: &'a str) -> Result<Vec<Line<'a>>, InvalidDocument> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut users = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let number = place + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line
            .split_once(':')
            .ok_or_else(|| InvalidDocument(format!("{label}, line {number}: is not of the form name:hash")))?;
        let hash = rest.split(':').next().unwrap_or_default();
        users.push(Line { number, name, hash });
    }
    Ok(users)
}

/// The text with the line of this number as `change` makes it (`None`: without it); all else as it was.
pub(super) fn with_line(text: &str, number: usize, change: impl FnOnce(&str) -> Option<String>) -> String {
    let mut lines = text.split_inclusive('\n');
    let mut changed: String = lines.by_ref().take(number - 1).collect();
    if let Some(line) = lines.next().and_then(change) {
        changed.push_str(&line);
    }
    changed.extend(lines);
    changed
}
