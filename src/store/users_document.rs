//! The users' documents: what the entries of a Secret or the files of a directory mean together.

pub mod edit;
mod htpasswd;
mod merge;
mod write;
mod yaml;

use std::{collections::BTreeMap, fmt};

use crate::auth::users::Users;

/// The largest single document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// More hashes than this for each failing login are worth a warning.
const MANY_HASHES: usize = 8;

/// What makes failing logins cheaper.
pub const MEND_OF_COST: &str = "fewer kinds of hashes, and passwords of one user, make it cheaper";

/// One Secret or directory: its entries (or files) by name.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Stands before the entry's name in messages; empty where there is only one source.
    pub name: &'a str,
    pub entries: &'a BTreeMap<String, Vec<u8>>,
}

/// The table of all documents, and what is odd about them: a line each, at most a hundred.
#[derive(Debug)]
pub struct Loaded {
    pub users: Users,
    pub warnings: Vec<String>,
    /// That failing logins are dear, where they are; the mend is `MEND_OF_COST`.
    pub cost: Option<String>,
}

impl Loaded {
    /// Each warning with its mend, where it has one: what to log.
    pub fn all_warnings(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().cloned().chain(self.cost.iter().map(|cost| format!("{cost}: {MEND_OF_COST}")))
    }
}

/// Why the documents make no table: one line that names the entry and, where there is one, the line.
/// Never holds a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDocument(String);

impl fmt::Display for InvalidDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidDocument {}

/// Reads all documents of all sources as one table, in the order of the sources, their entries and the
/// lines in these.
///
/// `*.yaml` is a YAML document, `*.htpasswd` and `auth` are htpasswd; any other entry is passed over with
/// a warning. A YAML user without passwords may stand beside a htpasswd line of the same name (of any
/// source) and the two are one user; every other name that stands twice is an error.
///
/// A YAML user with no password anywhere is active: it cannot log in, and can carry tokens that an
/// operator minted. A user with a name or group that is not allowed, or with hashes that are all
/// unsupported, is unusable, with a warning.
pub fn parse(sources: &[Source<'_>]) -> Result<Loaded, InvalidDocument> {
    let mut merge = merge::Merge::default();
    for source in sources {
        for (entry, content) in source.entries {
            let label = source.label(entry);
            match Kind::of(entry) {
                Some(kind) => {
                    let text = bounded_text(&label, kind, content)?;
                    match kind {
                        Kind::Yaml => merge.yaml(&label, yaml::parse(&label, &text)?)?,
                        Kind::Htpasswd => merge.htpasswd(&label, htpasswd::parse(&label, &text)?)?,
                    }
                }
                None => merge.warnings.add(format!(
                    "{label}: passed over, as it ends neither in .yaml nor in .htpasswd nor is called auth"
                )),
            }
        }
    }
    let (users, warnings) = merge.finish();
    let profile = users.work_profile();
    let cost = (profile.hashes() > MANY_HASHES).then(|| {
        format!("each failing login computes {} hashes, so that its time says nothing ({profile})", profile.hashes())
    });
    Ok(Loaded { users, warnings: warnings.into_lines(), cost })
}

impl Source<'_> {
    fn label(&self, entry: &str) -> String {
        let entry: String = entry.chars().flat_map(char::escape_debug).collect();
        if self.name.is_empty() { entry } else { format!("{}/{entry}", self.name) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Yaml,
    Htpasswd,
}

impl Kind {
    fn of(entry: &str) -> Option<Self> {
        if entry.ends_with(".yaml") {
            Some(Self::Yaml)
        } else if entry == "auth" || entry.ends_with(".htpasswd") {
            Some(Self::Htpasswd)
        } else {
            None
        }
    }
}

/// htpasswd lines in another encoding have unusable names, no more; YAML is UTF-8 or nothing.
fn bounded_text<'a>(label: &str, kind: Kind, content: &'a [u8]) -> Result<std::borrow::Cow<'a, str>, InvalidDocument> {
    if content.len() > MAX_DOCUMENT_BYTES {
        return Err(InvalidDocument(format!("{label}: is larger than 64 MiB")));
    }
    let text = String::from_utf8_lossy(content);
    if kind == Kind::Yaml && matches!(text, std::borrow::Cow::Owned(_)) {
        return Err(InvalidDocument(format!("{label}: is not UTF-8")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
