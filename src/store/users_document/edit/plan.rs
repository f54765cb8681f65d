//! What a change makes of the stored documents.

use std::{borrow::Cow, collections::BTreeMap};

use super::{Change, DEFAULT_ENTRY, EditError, Edited};
use crate::{
    auth::{names, password::PasswordHash},
    store::users_document::{
        InvalidDocument, Kind, Source, bounded_text,
        htpasswd::{self, Line},
        merge, write,
        yaml::{self, Document, PasswordEntry, Text, Time, UserEntry},
    },
};

/// The entries that are documents: their bytes, and these as text, in which htpasswd of another encoding has
/// replacement characters.
pub(super) struct Texts<'a>(BTreeMap<&'a str, (Kind, &'a [u8], Cow<'a, str>)>);

/// All documents of one source.
pub(super) struct Stored<'a> {
    yaml: BTreeMap<&'a str, Document<'a>>,
    /// The bytes, which survive a change of one line, and the lines.
    htpasswd: BTreeMap<&'a str, (&'a [u8], Vec<Line<'a>>)>,
}

/// Where a user stands: in a YAML entry, in a htpasswd entry, or in both.
struct Place<'a> {
    yaml: Option<(&'a str, usize)>,
    htpasswd: Option<(&'a str, Line<'a>)>,
}

/// What is to become of one entry.
pub(super) enum Plan<'a> {
    Yaml { entry: &'a str, document: Document<'a>, warnings: Vec<String> },
    Htpasswd { entry: &'a str, content: Vec<u8>, again: bool },
}

impl<'a> Texts<'a> {
    pub(super) fn read(source: &Source<'a>) -> Result<Self, InvalidDocument> {
        let mut texts = BTreeMap::new();
        for (entry, content) in source.entries {
            if let Some(kind) = Kind::of(entry) {
                texts.insert(entry.as_str(), (kind, content.as_slice(), bounded_text(entry, kind, content)?));
            }
        }
        Ok(Self(texts))
    }
}

impl<'a> Stored<'a> {
    pub(super) fn read(texts: &'a Texts<'_>) -> Result<Self, InvalidDocument> {
        let mut stored = Self { yaml: BTreeMap::new(), htpasswd: BTreeMap::new() };
        for (entry, (kind, content, text)) in &texts.0 {
            match kind {
                Kind::Yaml => {
                    stored.yaml.insert(entry, yaml::parse(entry, text)?);
                }
                Kind::Htpasswd => {
                    stored.htpasswd.insert(entry, (*content, htpasswd::parse(entry, text)?));
                }
            }
        }
        Ok(stored)
    }

    fn find(&self, name: &str) -> Option<Place<'a>> {
        let yaml = self.yaml.iter().find_map(|(entry, document)| {
            let place = document.users.iter().position(|(own, _)| own.0 == name)?;
            Some((*entry, place))
        });
        let htpasswd = self.htpasswd.iter().find_map(|(entry, (_, lines))| {
            let line = lines.iter().find(|line| line.name == name)?;
            Some((*entry, *line))
        });
        (yaml.is_some() || htpasswd.is_some()).then_some(Place { yaml, htpasswd })
    }

    /// A user who is there and whose line, if any, can be told from others.
    fn existing(&self, name: &str) -> Result<Place<'a>, EditError> {
        let place = self.find(name).ok_or_else(|| EditError::unknown(name))?;
        if let Some((entry, line)) = place.htpasswd
            && let Some((content, _)) = self.htpasswd.get(entry)
            && name.contains(char::REPLACEMENT_CHARACTER)
            && !htpasswd::name_is_text(content, line.number)
        {
            return Err(EditError::not_text(entry, line.number));
        }
        Ok(place)
    }

    pub(super) fn plan(mut self, change: &Change) -> Result<Plan<'a>, EditError> {
        match change {
            Change::Add { name, groups, hash, expires_at, now } => {
                names::check(name.as_bytes()).map_err(|reason| EditError::name(name, reason))?;
                for group in groups {
                    names::check(group.as_bytes()).map_err(|reason| EditError::group(group, reason))?;
                }
                if let Some(place) = self.find(name) {
                    return Err(EditError::exists(name, place.entry()));
                }
                let mut own: Vec<Text<'_>> = Vec::with_capacity(groups.len());
                for group in groups {
                    if !own.iter().any(|other| other.0 == *group) {
                        own.push(owned(group));
                    }
                }
                let user = UserEntry {
                    groups: own,
                    passwords: vec![new_password(hash, *now, *expires_at)?],
                    ..UserEntry::default()
                };
                self.default_document().users.push((owned(name), user));
                Ok(self.yaml_plan(DEFAULT_ENTRY, Vec::new()))
            }
            Change::Passwd { name, hash, keep_old, expires_at, now } => {
                let password = new_password(hash, *now, *expires_at)?;
                match self.existing(name)? {
                    Place { htpasswd: Some((entry, line)), .. } => {
                        if *keep_old || expires_at.is_some() {
                            return Err(EditError::one_password(name, entry));
                        }
                        Ok(self.htpasswd_plan(entry, line.number, false, |line| htpasswd::with_hash(line, hash)))
                    }
                    place => {
                        let (entry, user) = self.yaml_user(&place, name);
                        if *keep_old {
                            user.passwords.retain(|old| old.expires_at.is_none_or(|at| *now < at.floor()));
                        } else {
                            user.passwords.clear();
                        }
                        user.passwords.insert(0, password);
                        Ok(self.yaml_plan(entry, Vec::new()))
                    }
                }
            }
            Change::Disable { name } => self.set(name, |user| user.disabled = true),
            Change::Enable { name } => self.set(name, |user| user.disabled = false),
            Change::Logout { name, now } => {
                let next = Time::at(now.saturating_add(1));
                let again = Time::at(now.saturating_add(2));
                self.set(name, |user| match user.tokens_not_before {
                    // Tokens of the rest of this second carry the time of the logout that stands already.
                    Some(at) if at.0 == next.0 => user.tokens_not_before = Some(again),
                    // A later time that stands already refuses no fewer tokens.
                    Some(at) if at.0 > next.0 => {}
                    _ => user.tokens_not_before = Some(next),
                })
            }
            Change::Remove { name } => {
                match self.existing(name)? {
                    // The password goes first: without its YAML half the other might be active again.
                    Place { htpasswd: Some((entry, line)), yaml } => {
                        Ok(self.htpasswd_plan(entry, line.number, yaml.is_some(), |_| None))
                    }
                    Place { yaml: Some((entry, place)), .. } => {
                        self.document(entry).users.remove(place);
                        Ok(self.yaml_plan(entry, Vec::new()))
                    }
                    Place { yaml: None, htpasswd: None } => Err(EditError::unknown(name)),
                }
            }
            Change::Import { htpasswd, now } => self.import(htpasswd, *now),
        }
    }

    fn import(mut self, text: &[u8], now: u64) -> Result<Plan<'a>, EditError> {
        let text = bounded_text("the imported file", Kind::Htpasswd, text)?;
        let lines = htpasswd::parse("the imported file", &text)?;
        let mut seen = foldhash::HashMap::<&str, usize>::default();
        let mut warnings = merge::Warnings::default();
        let mut imported = Vec::new();
        for Line { number, name, hash } in lines {
            let unusable = names::check(name.as_bytes())
                .map_err(|reason| format!("the name {reason}"))
                .and_then(|()| PasswordHash::parse(hash).map_err(|reason| reason.to_string()));
            if let Err(reason) = unusable {
                let name = names::shown(name);
                warnings.add(format!("line {number}: user {name} is left out: {reason}"));
                continue;
            }
            if let Some(first) = seen.insert(name, number) {
                return Err(EditError::twice(name, first, number));
            }
            let user = UserEntry { passwords: vec![new_password(hash, now, None)?], ..UserEntry::default() };
            imported.push((owned(name), user));
        }
        let warnings = warnings.into_lines();
        if imported.is_empty() {
            return Err(EditError::nothing_to_import(&warnings));
        }
        if let Some((name, entry)) = self.first_of(&seen) {
            return Err(EditError::exists(name, entry));
        }
        self.default_document().users.extend(imported);
        Ok(self.yaml_plan(DEFAULT_ENTRY, warnings))
    }

    /// The first stored user who is among `names`, and the entry.
    fn first_of(&self, names: &foldhash::HashMap<&str, usize>) -> Option<(&str, &'a str)> {
        let yaml =
            self.yaml.iter().flat_map(|(entry, document)| document.users.iter().map(|(name, _)| (&*name.0, *entry)));
        let htpasswd =
            self.htpasswd.iter().flat_map(|(entry, (_, lines))| lines.iter().map(|line| (line.name, *entry)));
        yaml.chain(htpasswd).find(|(name, _)| names.contains_key(name))
    }

    /// Changes what only YAML can say of a user; one of htpasswd gets a YAML user without passwords.
    fn set(mut self, name: &str, change: impl FnOnce(&mut UserEntry<'a>)) -> Result<Plan<'a>, EditError> {
        let place = self.existing(name)?;
        let (entry, user) = self.yaml_user(&place, name);
        change(user);
        if *user == UserEntry::default()
            && place.yaml.is_none()
            && let Some((entry, line)) = place.htpasswd
        {
            // Nothing to say that is not so already.
            return Ok(self.htpasswd_plan(entry, line.number, false, |line| Some(line.to_owned())));
        }
        Ok(self.yaml_plan(entry, Vec::new()))
    }

    /// The user at `place` in its YAML entry, made in the default one where there is none.
    fn yaml_user(&mut self, place: &Place<'a>, name: &str) -> (&'a str, &mut UserEntry<'a>) {
        let (entry, index) = place.yaml.unwrap_or_else(|| {
            let users = &mut self.default_document().users;
            users.push((owned(name), UserEntry::default()));
            (DEFAULT_ENTRY, users.len() - 1)
        });
        (entry, &mut self.document(entry).users[index].1)
    }

    fn default_document(&mut self) -> &mut Document<'a> {
        self.document(DEFAULT_ENTRY)
    }

    fn document(&mut self, entry: &'a str) -> &mut Document<'a> {
        self.yaml.entry(entry).or_default()
    }

    fn yaml_plan(mut self, entry: &'a str, warnings: Vec<String>) -> Plan<'a> {
        Plan::Yaml { entry, document: self.yaml.remove(entry).unwrap_or_default(), warnings }
    }

    fn htpasswd_plan(
        &self,
        entry: &'a str,
        line: usize,
        again: bool,
        change: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Plan<'a> {
        let content = self.htpasswd.get(entry).map_or(&[][..], |(content, _)| content);
        Plan::Htpasswd { entry, content: htpasswd::with_line(content, line, change), again }
    }
}

impl Place<'_> {
    fn entry(&self) -> &str {
        self.yaml.map(|(entry, _)| entry).or(self.htpasswd.map(|(entry, _)| entry)).unwrap_or(DEFAULT_ENTRY)
    }
}

impl Plan<'_> {
    pub(super) fn into_edited(self, texts: &Texts<'_>) -> Result<Edited, EditError> {
        match self {
            Plan::Htpasswd { entry, content, again } => {
                Ok(Edited { entry: entry.to_owned(), content, comments_lost: false, again, warnings: Vec::new() })
            }
            Plan::Yaml { entry, document, warnings } => {
                let before = texts.0.get(entry).map(|(_, _, text)| &**text);
                let unchanged = match before {
                    Some(text) => yaml::parse(entry, text)? == document,
                    None => false,
                };
                let content = match before {
                    Some(text) if unchanged => text.to_owned(),
                    _ => write::to_yaml(&document),
                };
                if yaml::parse(entry, &content)? != document {
                    return Err(EditError::not_writable(entry));
                }
                Ok(Edited {
                    entry: entry.to_owned(),
                    comments_lost: !unchanged && before.is_some_and(write::has_comments),
                    content: content.into_bytes(),
                    again: false,
                    warnings,
                })
            }
        }
    }
}

fn owned(text: &str) -> Text<'static> {
    Text(Cow::Owned(text.to_owned()))
}

/// A hash that could not be used would lock its user out.
fn new_password(hash: &str, now: u64, expires_at: Option<u64>) -> Result<PasswordEntry<'static>, EditError> {
    PasswordHash::parse(hash)?;
    Ok(PasswordEntry { hash: owned(hash), changed_at: Some(Time::at(now)), expires_at: expires_at.map(Time::at) })
}
