//! The htpasswd form: a name and a hash a line.

use super::InvalidDocument;

/// The byte order mark that some editors begin a file with. Anywhere else it is a character like others.
const MARK: char = '\u{feff}';

/// A line that holds a user.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: usize,
    pub(super) name: &'a str,
    pub(super) hash: &'a str,
}

/// `line`, which holds a user and its ending, with another hash; all other bytes stay as they are.
pub(super) fn with_hash(line: &[u8], hash: &str) -> Option<Vec<u8>> {
    let (name, rest) = split_at_colon(line)?;
    let old = split_at_colon(rest).map_or_else(|| trimmed_len(rest), |(old, _)| old.len());
    Some([name, b":", hash.as_bytes(), &rest[old..]].concat())
}

/// Whether the name in the line of this number is UTF-8, so that it is what `parse` makes of it.
pub(super) fn name_is_text(content: &[u8], number: usize) -> bool {
    let line = content.split(|byte| *byte == b'\n').nth(number - 1).unwrap_or_default();
    split_at_colon(line).is_some_and(|(name, _)| str::from_utf8(name).is_ok())
}

/// Reads `name:hash` lines; empty lines, those that begin with `#`, space around a line and whatever
/// follows a second colon are passed over, as Apache and nginx do.
pub(super) fn parse<'a>(label: &str, text: &'a str) -> Result<Vec<Line<'a>>, InvalidDocument> {
    let text = text.strip_prefix(MARK).unwrap_or(text);
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

/// The content with the line of this number as `change` makes it (`None`: without it); all other bytes as they were,
/// whatever their encoding.
pub(super) fn with_line(content: &[u8], number: usize, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    let mut changed = lines.by_ref().take(number - 1).collect::<Vec<_>>().concat();
    if let Some(line) = lines.next().and_then(change) {
        changed.extend(line);
    }
    let rest = lines.collect::<Vec<_>>().concat();
    // Of a name that comes first the mark would be no part any more: another user. An empty line stays before it.
    if changed.is_empty() && rest.starts_with(MARK.to_string().as_bytes()) {
        changed.push(b'\n');
    }
    changed.extend(rest);
    changed
}

fn split_at_colon(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b':')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// How long `bytes` are without the space, and the line's ending, that `parse` trims.
fn trimmed_len(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes);
    // Space that is trimmed is valid, and so as long as it was.
    bytes.len() - (text.len() - text.trim_end().len())
}
