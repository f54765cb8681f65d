//! What can be wrong with a request to the API server: a closed set, each with its reason and its mend.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::metrics::StoreErrorReason;

/// The longest text of the API server that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// What was asked of a Secret, as RBAC names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Patch,
}

/// What is wrong, without the Secret that it was asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such Secret.
    Missing,
    /// The API server knows who asks, and its Role does not allow it. The user as the API server names it, where it does.
    Forbidden { user: Option<String> },
    /// The API server does not know who asks: a token or certificate that is over or was never good.
    Unauthorized,
    /// The Secret is no longer what it was when it was read.
    Conflict,
    /// The version that a watch was to begin at is forgotten.
    Gone,
    /// The API server has too much to do.
    Throttled { retry_after: Option<Duration> },
    /// The Secret says `immutable: true`.
    Immutable,
    /// An older version than one that was seen before: of an API server that was set back.
    Older { resource_version: String, seen: String },
    /// The API server refuses the request for what it says; in its own word.
    Invalid(String),
    /// No answer, no complete one, or an error that may pass.
    Unavailable(String),
}

/// Why a Secret could not be read, watched or written. Displays as one line with the Secret, the reason and the mend,
/// never with contents or credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    namespace: String,
    secret: String,
    verb: Verb,
    /// Boxed: results carry it.
    fault: Box<Fault>,
    server: String,
}

impl ApiError {
    pub(super) fn new(namespace: &str, secret: &str, verb: Verb, fault: Fault, server: String) -> Self {
        Self { namespace: namespace.to_owned(), secret: secret.to_owned(), verb, fault: Box::new(fault), server }
    }

    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// The reason under which the error is counted.
    pub fn reason(&self) -> StoreErrorReason {
        match &*self.fault {
            Fault::Missing => StoreErrorReason::Missing,
            Fault::Forbidden { .. } | Fault::Unauthorized => StoreErrorReason::Forbidden,
            Fault::Conflict => StoreErrorReason::Conflict,
            Fault::Immutable | Fault::Invalid(_) | Fault::Older { .. } => StoreErrorReason::Invalid,
            Fault::Gone | Fault::Throttled { .. } | Fault::Unavailable(_) => StoreErrorReason::Unavailable,
        }
    }

    pub fn is_conflict(&self) -> bool {
        *self.fault == Fault::Conflict
    }

    /// Whether the same may succeed later without anybody mending anything. A conflict: after reading again.
    pub fn may_pass(&self) -> bool {
        matches!(*self.fault, Fault::Conflict | Fault::Gone | Fault::Throttled { .. } | Fault::Unavailable(_))
    }

    /// Whether it was no answer of a working API server: `fallback` counts.
    pub fn is_outage(&self) -> bool {
        matches!(*self.fault, Fault::Throttled { .. } | Fault::Unavailable(_))
    }

    /// Whether it was refused as who asks, and only people or kubelet can mend that.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(*self.fault, Fault::Forbidden { .. } | Fault::Unauthorized)
    }

    /// How long the API server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match *self.fault {
            Fault::Throttled { retry_after } => retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, secret, verb, fault, server } = self;
        write!(f, "Secret {namespace}/{secret} ")?;
        match &**fault {
            Fault::Missing => {
                write!(f, "is not there: `kubectl --namespace {namespace} create secret generic {secret}`")
            }
            Fault::Forbidden { user } => {
                write!(f, "may not be {}", verb.participle())?;
                if let Some(user) = user {
                    write!(f, " by {user}")?;
                }
                write!(
                    f,
                    ": allow `{verb}` on `secrets` with resourceNames [{secret}] in a Role of namespace {namespace}, and bind it"
                )
            }
            Fault::Unauthorized => write!(
                f,
                "cannot be {}: {server} does not accept this token or certificate: renew it (in a pod: mount the service \
                 account's token)",
                verb.participle()
            ),
            Fault::Conflict => write!(f, "has changed since it was read: try again"),
            Fault::Gone => write!(f, "cannot be watched from so old a version: it is read again"),
            Fault::Throttled { .. } => {
                write!(f, "cannot be {} now: {server} has too much to do (429): try again later", verb.participle())
            }
            Fault::Immutable => {
                write!(f, "is immutable and cannot be changed: delete it and make it anew without `immutable: true`")
            }
            Fault::Older { resource_version, seen } => write!(
                f,
                "has the older version {resource_version}, after {seen}: where the cluster was restored from a backup, \
                 restart this process"
            ),
            Fault::Invalid(reason) => write!(f, "cannot be {}: {server} refuses it: {reason}", verb.participle()),
            Fault::Unavailable(reason) => {
                write!(
                    f,
                    "cannot be {}: {server}: {reason}: see to the API server and the way to it",
                    verb.participle()
                )
            }
        }
    }
}

impl std::error::Error for ApiError {}

impl Verb {
    fn participle(self) -> &'static str {
        match self {
            Self::Get => "read",
            Self::List => "listed",
            Self::Watch => "watched",
            Self::Patch => "patched",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Patch => "patch",
        })
    }
}

/// `meta/v1.Status`, as far as it counts here. Its message may quote what was sent, so little of it is ever shown.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    reason: String,
    message: String,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(rename = "retryAfterSeconds")]
    retry_after: Option<u64>,
}

impl Fault {
    /// What an answer says is wrong; `None` for a good one.
    pub(super) fn of_answer(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Option<Self> {
        if status.is_success() {
            return None;
        }
        let said: Status = serde_json::from_slice(body).unwrap_or_default();
        Some(Self::of_status(status.as_u16(), retry_after, &said))
    }

    pub(super) fn of_status(code: u16, retry_after: Option<Duration>, said: &Status) -> Self {
        let asked = said.details.as_ref().and_then(|details| details.retry_after).map(Duration::from_secs);
        let retry_after = retry_after.or(asked.filter(|asked| !asked.is_zero()));
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden { user: quoted_user(&said.message) },
            404 => Self::Missing,
            409 => Self::Conflict,
            410 => Self::Gone,
            422 if said.message.contains("immutable") => Self::Immutable,
            429 => Self::Throttled { retry_after },
            400..=499 => Self::Invalid(format!("{code}{}", said.word())),
            _ => Self::Unavailable(format!("it answers {code}{}", said.word())),
        }
    }
}

impl Status {
    /// The machine-readable reason, where it is one.
    fn word(&self) -> String {
        let is_word = !self.reason.is_empty() && self.reason.len() <= 64;
        match is_word && self.reason.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            true => format!(" {}", self.reason),
            false => String::new(),
        }
    }
}

/// `... User "system:serviceaccount:shop:vestibule" cannot get resource ...`
fn quoted_user(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("User \"")?;
    let (user, _) = rest.split_once('"')?;
    (!user.is_empty()).then(|| user.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(verb: Verb, status: u16, body: &str) -> ApiError {
        let status = StatusCode::from_u16(status).unwrap();
        let fault = Fault::of_answer(status, None, body.as_bytes()).expect("no good answer");
        ApiError::new("shop", "vestibule-keys", verb, fault, "https://10.0.0.1".to_owned())
    }

    #[test]
    fn each_names_the_secret_the_reason_and_the_mend() {
        use StoreErrorReason as Counted;
        let forbidden = r#"{"message": "secrets \"vestibule-keys\" is forbidden: User \"system:serviceaccount:shop:web\" cannot patch resource"}"#;
        let immutable = r#"{"reason": "Invalid", "message": "Secret \"k\" is invalid: data: Forbidden: field is immutable when `immutable` is set"}"#;
        let cases = [
            (Verb::Get, 404, "", Counted::Missing, "kubectl --namespace shop create secret generic vestibule-keys"),
            (
                Verb::Patch,
                403,
                forbidden,
                Counted::Forbidden,
                "patched by system:serviceaccount:shop:web: allow `patch`",
            ),
            (Verb::Watch, 403, "{}", Counted::Forbidden, "watched: allow `watch` on `secrets` with resourceNames"),
            (Verb::Get, 401, "x", Counted::Forbidden, "token"),
            (Verb::Patch, 409, "", Counted::Conflict, "try again"),
            (Verb::Watch, 410, "", Counted::Unavailable, "read again"),
            (Verb::Patch, 422, immutable, Counted::Invalid, "immutable: true"),
            (Verb::Patch, 422, r#"{"reason": "Invalid"}"#, Counted::Invalid, "422 Invalid"),
            (Verb::Get, 429, "", Counted::Unavailable, "429"),
            (
                Verb::Get,
                500,
                r#"{"reason": "InternalError", "message": "c2VjcmV0"}"#,
                Counted::Unavailable,
                "500 InternalError",
            ),
            (Verb::Get, 503, "<html>c2VjcmV0", Counted::Unavailable, "it answers 503"),
            (Verb::Get, 302, "", Counted::Unavailable, "it answers 302"),
        ];
        for (verb, status, body, counted, mend) in cases {
            let error = error(verb, status, body);
            let line = error.to_string();
            assert_eq!(error.reason(), counted, "{line}");
            assert!(line.starts_with("Secret shop/vestibule-keys ") && line.contains(mend), "{line}");
            assert!(!line.contains("c2VjcmV0") && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_told_apart() {
        for (status, passes, outage) in [
            (404, false, false),
            (403, false, false),
            (401, false, false),
            (409, true, false),
            (429, true, true),
            (500, true, true),
        ] {
            let error = error(Verb::Get, status, "");
            assert_eq!((error.may_pass(), error.is_outage()), (passes, outage), "{error}");
        }
    }

    #[test]
    fn the_servers_own_words_are_bounded() {
        let long =
            format!(r#"{{"message": "User \"{}\n\" cannot", "reason": "{}"}}"#, "u".repeat(5_000), "r".repeat(5_000));
        for status in [403, 422, 500] {
            let line = error(Verb::Get, status, &long).to_string();
            assert!(line.len() < 600 && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn a_wait_is_taken_from_the_header_or_the_body() {
        let body = br#"{"details": {"retryAfterSeconds": 7}}"#;
        let too_many = StatusCode::TOO_MANY_REQUESTS;
        for (header, expected) in [(None, 7), (Some(3), 3)] {
            let fault = Fault::of_answer(too_many, header.map(Duration::from_secs), body);
            assert_eq!(fault, Some(Fault::Throttled { retry_after: Some(Duration::from_secs(expected)) }));
        }
    }
}
