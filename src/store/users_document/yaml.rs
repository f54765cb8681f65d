//! The YAML form of the users' document, and errors about it that give nothing away.

use std::{borrow::Cow, fmt, marker::PhantomData};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_saphyr::{DuplicateKeyPolicy, Error, MergeKeyPolicy, Options};

use super::{InvalidDocument, MAX_DOCUMENT_BYTES};
use crate::auth::names;

const NOT_A_TIME: &str = "not an RFC 3339 time such as 2026-11-21T10:00:00Z";

/// Aliases may stand for this many YAML events in all: a group list for each of 100,000 users, no bomb.
const MAX_REPLAYED_EVENTS: usize = 2_000_000;
const MAX_ALIASES: usize = 250_000;

/// The deepest that a document of ours goes is 5.
const MAX_DEPTH: usize = 16;

/// A document, in its own order and with all that it says.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document<'a> {
    #[serde(borrow, default, deserialize_with = "users")]
    pub(super) users: Vec<(Text<'a>, UserEntry<'a>)>,
}

#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct UserEntry<'a> {
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub(super) groups: Vec<Text<'a>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) disabled: bool,
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub(super) passwords: Vec<PasswordEntry<'a>>,
    #[serde(default)]
    pub(super) tokens_not_before: Option<Time>,
}

#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct PasswordEntry<'a> {
    #[serde(borrow)]
    pub(super) hash: Text<'a>,
    #[serde(default)]
    pub(super) changed_at: Option<Time>,
    #[serde(default)]
    pub(super) expires_at: Option<Time>,
}

/// Text that is borrowed from the document where it can be, in lists too.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

/// A point in time, in the document's own precision.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub(super) Timestamp);

impl Time {
    /// Seconds since the epoch; the latest representable time where `seconds` is beyond that.
    pub(super) fn at(seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Self(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
    }

    /// Whole seconds since the epoch, none of them after this time: what ends, ends no later.
    pub(super) fn floor(self) -> u64 {
        u64::try_from(self.0.as_second()).unwrap_or(0)
    }

    /// Whole seconds since the epoch, not before this time: what begins, begins no sooner.
    pub(super) fn ceil(self) -> u64 {
        self.floor() + u64::from(self.0.subsec_nanosecond() > 0)
    }
}

/// Reads a document; an empty one has no users.
pub(super) fn parse<'a>(label: &str, text: &'a str) -> Result<Document<'a>, InvalidDocument> {
    // 100,000 users read twice as fast where nothing can be repeated and so nothing must be budgeted.
    if !text.contains('&')
        && !text.contains("<<")
        && let Ok(document) = read(text, unbudgeted())
        && document.names_differ()
    {
        return Ok(document);
    }
    read(text, budgeted()).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let place = if line == 0 { label.to_owned() } else { format!("{label}, line {line}") };
        InvalidDocument(format!("{place}: {}", reason(error.without_snippet())))
    })
}

impl Document<'_> {
    fn names_differ(&self) -> bool {
        let mut names =
            foldhash::HashSet::with_capacity_and_hasher(self.users.len(), foldhash::fast::RandomState::default());
        self.users.iter().all(|(name, _)| names.insert(&*name.0))
    }
}

fn read<'a>(text: &'a str, options: Options) -> Result<Document<'a>, Error> {
    serde_saphyr::from_str_with_options::<Option<Document<'a>>>(text, options).map(Option::unwrap_or_default)
}

fn budgeted() -> Options {
    // Snippets would quote the document.
    serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        reject_unsupported_tags: true,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED_EVENTS,
        },
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_documents: 2,
            max_aliases: MAX_ALIASES,
            // The document's size bounds these.
            max_events: MAX_DOCUMENT_BYTES,
            max_nodes: MAX_DOCUMENT_BYTES,
            max_total_scalar_bytes: MAX_DOCUMENT_BYTES,
            max_anchors: MAX_ALIASES,
            enforce_alias_anchor_ratio: false,
        },
    }
}

/// For text without anchors and merges: serde refuses keys that stand twice, `names_differ` names.
fn unbudgeted() -> Options {
    let mut options = budgeted();
    options.budget = None;
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.merge_keys = MergeKeyPolicy::AsOrdinary;
    options
}

/// Says what is wrong in words of our own: the parser's may quote a value, and a value may be a hash.
fn reason(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => reason(error.without_snippet()),
        Error::SerdeUnknownField { field, expected, .. } => {
            // A password may stand where a key belongs: what is like no known key is not repeated.
            let is_slip = expected.iter().any(|known| strsim::normalized_damerau_levenshtein(field, known) >= 0.5);
            let shown = if is_slip { format!(" {}", names::shown(field)) } else { String::new() };
            format!("unknown key{shown} (known here: {})", expected.join(", "))
        }
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{} stands twice", names::shown(key))
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key stands twice".to_owned(),
        Error::Message { msg, .. } if msg == NOT_A_TIME => format!("a value is {NOT_A_TIME}"),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => misplaced(expected),
        Error::Unexpected { expected, .. } => misplaced(expected),
        Error::InvalidScalar { ty, .. } => misplaced(ty),
        Error::NullIntoString { .. } => "nothing stands where text belongs".to_owned(),
        Error::MultipleDocuments { .. } => "holds more than one YAML document".to_owned(),
        Error::UnknownAnchor { .. } => "an alias has no anchor".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => "nests or repeats more than a users' document needs".to_owned(),
        _ => "is not the YAML of a users' document".to_owned(),
    }
}

fn misplaced(expected: &str) -> String {
    let expected = match expected {
        "mapping start" => "a mapping",
        "sequence start" => "a list",
        "boolean" => "true or false",
        other => other,
    };
    format!("another kind of value stands where {expected} belongs")
}

/// A key without a value is as good as none.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn users<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Text<'de>, UserEntry<'de>)>, D::Error> {
    or_default::<D, InOrder<'de>>(deserializer).map(|users| users.0)
}

/// A mapping whose order is kept; the parser refuses keys that stand twice.
#[derive(Default)]
struct InOrder<'de>(Vec<(Text<'de>, UserEntry<'de>)>);

impl<'de> Deserialize<'de> for InOrder<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Users<'de>(PhantomData<&'de ()>);

        impl<'de> Visitor<'de> for Users<'de> {
            type Value = InOrder<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names to users")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut users = Vec::new();
                while let Some((name, entry)) = map.next_entry::<Text<'de>, Option<UserEntry<'de>>>()? {
                    users.push((name, entry.unwrap_or_default()));
                }
                Ok(InOrder(users))
            }
        }

        deserializer.deserialize_map(Users(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;

        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(Borrowing)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        text.0.parse().map(Self).map_err(|_| D::Error::custom(NOT_A_TIME))
    }
}
