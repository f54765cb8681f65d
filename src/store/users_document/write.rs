//! A users' document as text, in the shape that the reference shows.

use std::fmt::{self, Write};

use super::yaml::{Document, PasswordEntry, Time, UserEntry};

/// Scalars that YAML readers (1.1 or 1.2) take for something else than text.
const RESERVED: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// The whole document; what it says survives, comments and layout do not.
pub(super) fn to_yaml(document: &Document<'_>) -> String {
    let mut out = String::new();
    write(&mut out, document).expect("writing to a String cannot fail");
    out
}

/// Whether the text holds comments. No name, group or hash that is allowed holds a space.
pub(super) fn has_comments(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #") || line.contains("\t#"))
}

fn write(out: &mut String, document: &Document<'_>) -> fmt::Result {
    if document.users.is_empty() {
        return out.write_str("users: {}\n");
    }
    out.write_str("users:\n")?;
    for (name, entry) in &document.users {
        writeln!(out, "  {}:", Scalar(&name.0))?;
        user(out, entry)?;
    }
    Ok(())
}

fn user(out: &mut String, entry: &UserEntry<'_>) -> fmt::Result {
    out.write_str("    groups: [")?;
    for (place, group) in entry.groups.iter().enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        write!(out, "{separator}{}", Scalar(&group.0))?;
    }
    writeln!(out, "]\n    disabled: {}", entry.disabled)?;
    if entry.passwords.is_empty() {
        out.write_str("    passwords: []\n")?;
    } else {
        out.write_str("    passwords:\n")?;
        for password in &entry.passwords {
            self::password(out, password)?;
        }
    }
    writeln!(out, "    tokensNotBefore: {}", OrNull(entry.tokens_not_before))
}

fn password(out: &mut String, entry: &PasswordEntry<'_>) -> fmt::Result {
    let hash = &*entry.hash.0;
    // Bare, as people write it: outside brackets a comma is text.
    let bare = hash.starts_with('$') && hash.bytes().all(|b| b.is_ascii_alphanumeric() || b"$,=/+.-_".contains(&b));
    if bare {
        writeln!(out, "      - hash: {hash}")?;
    } else {
        writeln!(out, "      - hash: {}", Scalar(hash))?;
    }
    writeln!(out, "        changedAt: {}", OrNull(entry.changed_at))?;
    writeln!(out, "        expiresAt: {}", OrNull(entry.expires_at))
}

/// Text that reads back as the same text: bare where that is beyond doubt, else in double quotes.
struct Scalar<'a>(&'a str);

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
            && !RESERVED.contains(&&*text.to_ascii_lowercase());
        if bare {
            return f.write_str(text);
        }
        f.write_char('"')?;
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' '..='~' => f.write_char(c)?,
                _ => write!(f, "\\U{:08X}", u32::from(c))?,
            }
        }
        f.write_char('"')
    }
}

struct OrNull(Option<Time>);

impl fmt::Display for OrNull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => time.0.fmt(f),
            None => f.write_str("null"),
        }
    }
}
