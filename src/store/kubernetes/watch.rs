//! One Secret watched by its name, for good: begun, resumed, begun anew.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroizing;

use super::api_error::Status;
use super::backoff::Backoff;
use super::connection::{MAX_ANSWER, next_chunk};
use super::known::{Known, Taken};
use super::secret::Object;
use super::{ApiError, Fault, SecretVersion, Verb};
use crate::store::jitter;

/// How long a watch is asked to last, drawn anew for each: thousands do not end together.
const SHORTEST: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(600);
/// What the API server is late at most to end it.
const GRACE: Duration = Duration::from_secs(30);
/// API servers send a bookmark each minute or so. One that has sent nothing for so long may have forgotten the watch, or a
/// proxy in between has, which answers PINGs itself.
const SILENCE: Duration = Duration::from_secs(150);
/// For what there is at the beginning.
const BEGINNING: Duration = Duration::from_secs(10);
/// A watch that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(60);
/// After so many failures in a row a watch begins anew instead of where it was, with credentials read again.
const STUBBORN: u32 = 3;

/// Says that what there was at the beginning has been sent (`meta/v1`, `InitialEventsAnnotationKey`).
const BEGINNING_ENDS: &str = "k8s.io/initial-events-end";

/// How the next watch begins.
#[derive(Default)]
struct Resume {
    /// After this version, as long as the API server remembers it.
    after: Option<String>,
    /// The API server has no streaming lists: a list comes first.
    lists: bool,
}

/// Why a watch ended without anything being wrong.
enum End {
    /// It was over, or broke off: resumed.
    Over,
    /// It cannot go on from where it was: begun anew at once.
    Anew,
}

pub(super) async fn run(known: Arc<Known>) {
    let mut backoff = Backoff::new();
    let mut resume = Resume::default();
    let mut failures = 0_u32;
    loop {
        let began = Instant::now();
        let ended = watch(&known, &mut resume).await;
        let lasted = began.elapsed() >= GOOD;
        if lasted {
            backoff.reset();
        }
        match ended {
            Ok(end) => {
                failures = 0;
                let pause = match end {
                    End::Over if lasted => Duration::ZERO,
                    End::Over => backoff.next(None),
                    End::Anew => {
                        resume.after = None;
                        backoff.next(None)
                    }
                };
                sleep(pause).await;
            }
            Err(error) => {
                failures += 1;
                let stubborn = failures.is_multiple_of(STUBBORN);
                if stubborn {
                    resume.after = None;
                }
                let renews = stubborn || *error.fault() == Fault::Unauthorized;
                // A token or a right may have been replaced at this moment: before people are called, it is tried once more.
                if failures > 1 || !error.is_refusal() {
                    let pause = backoff.next(error.retry_after());
                    known.failed(error);
                    sleep(pause).await;
                }
                if renews {
                    // Just before the next try, and not before the pause: kubelet may have written another token meanwhile.
                    known.cluster.renew().await;
                }
            }
        }
    }
}

async fn watch(known: &Known, resume: &mut Resume) -> Result<End, ApiError> {
    let failed = |fault| known.cluster.error(&known.name, Verb::Watch, fault);
    let mut beginning = resume.after.is_none();
    if beginning && resume.lists {
        let (secret, version) = known.cluster.list(&known.name).await?;
        match secret {
            Some(secret) => take(known, secret, true).await?,
            None => known.missing(),
        }
        resume.after = Some(version);
        beginning = false;
    }
    let lasts = jitter::between(SHORTEST, LONGEST).as_secs();
    let from = match &resume.after {
        Some(version) => format!("resourceVersion={version}"),
        None => "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
    };
    let opened = known.cluster.watch(&known.name, &format!("{from}&timeoutSeconds={lasts}")).await.map_err(failed)?;
    let deadline = Instant::now() + Duration::from_secs(lasts) + GRACE;
    if opened.status != StatusCode::OK {
        let answer = timeout(BEGINNING, opened.collect()).await;
        let answer = answer.unwrap_or_else(|_| Err(late())).map_err(failed)?;
        let fault = Fault::of_answer(answer.status, answer.retry_after, &answer.body);
        return match fault {
            // Streaming lists may be switched off, or not be there yet.
            Some(Fault::Invalid(_)) if beginning => {
                resume.lists = true;
                Ok(End::Anew)
            }
            Some(Fault::Gone | Fault::Invalid(_)) if resume.after.is_some() => Ok(End::Anew),
            Some(fault) => Err(failed(known.cluster.judged(fault).await)),
            None => Err(failed(Fault::Unavailable("it does not watch".to_owned()))),
        };
    }
    if !beginning {
        known.live();
    }
    let mut events = Events::new(opened.body);
    let mut found = false;
    let begun = Instant::now() + BEGINNING;
    loop {
        let silence = if beginning { begun } else { deadline.min(Instant::now() + SILENCE) };
        let event = match timeout_at(silence, events.next()).await {
            Ok(Ok(Some(event))) => event,
            Err(_) if beginning => {
                // An API server that has never heard of streaming lists ignores the wish for one.
                resume.lists = true;
                return Err(failed(late()));
            }
            Ok(Err(fault)) if beginning => return Err(failed(fault)),
            Ok(Ok(None)) if beginning => return Err(failed(Fault::Unavailable("the connection broke off".to_owned()))),
            // Whether anything is wrong will be seen at the next try.
            _ => return Ok(End::Over),
        };
        let after = match event {
            Event::Is(secret) if secret.name() != known.name => continue,
            Event::Is(secret) => {
                found = true;
                let version = secret.resource_version().to_owned();
                take(known, secret, beginning).await?;
                version
            }
            Event::Deleted(version) => {
                // Another one may be there already, and the event may be an old one.
                known.read().await?;
                version
            }
            Event::Bookmark { version, beginning_ends } => {
                if beginning && beginning_ends {
                    beginning = false;
                    if !found {
                        known.missing();
                    }
                    known.live();
                }
                version
            }
            Event::Error(Fault::Gone) => return Ok(End::Anew),
            Event::Error(fault) => return Err(failed(fault)),
            Event::Other => continue,
        };
        if !beginning && !after.is_empty() {
            resume.after = Some(after);
        }
    }
}

/// `beginning`: it is said to be how the Secret stands, and not a step on the way there.
async fn take(known: &Known, secret: SecretVersion, beginning: bool) -> Result<(), ApiError> {
    match known.take(secret) {
        Taken::Yes => Ok(()),
        // An event that comes again changes nothing.
        Taken::Older if !beginning => Ok(()),
        Taken::Older | Taken::AskFirst => known.read().await,
    }
}

fn late() -> Fault {
    Fault::Unavailable(format!("no answer within {} s", BEGINNING.as_secs()))
}

enum Event {
    Is(SecretVersion),
    /// With the version at which it was.
    Deleted(String),
    Bookmark {
        version: String,
        beginning_ends: bool,
    },
    Error(Fault),
    Other,
}

/// The events of a watch: one JSON object a line.
struct Events {
    body: Body,
    buffer: Zeroizing<Vec<u8>>,
    /// So many bytes have been looked at and have no end of a line.
    seen: usize,
}

impl Events {
    fn new(body: Body) -> Self {
        Self { body, buffer: Zeroizing::default(), seen: 0 }
    }

    /// `None` at the end.
    async fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.seen..]) {
                let end = self.seen + end;
                let event = Event::from_json(&self.buffer[..end]);
                let rest = Zeroizing::new(self.buffer[end + 1..].to_vec());
                (self.buffer, self.seen) = (rest, 0);
                return event.map(Some);
            }
            self.seen = self.buffer.len();
            let Some(chunk) = next_chunk(&mut self.body).await? else { return Ok(None) };
            if self.buffer.len() + chunk.len() > MAX_ANSWER {
                return Err(Fault::Unavailable("an event is larger than 8 MiB".to_owned()));
            }
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

impl Event {
    fn from_json(line: &[u8]) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Named<T> {
            object: T,
        }
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type")]
            name: &'a str,
        }
        let garbled = || Fault::Unavailable("an event is not what a watch sends".to_owned());
        let kind: Kind<'_> = serde_json::from_slice(line).map_err(|_| garbled())?;
        let object = || serde_json::from_slice::<Named<Object>>(line).map(|event| event.object).map_err(|_| garbled());
        Ok(match kind.name {
            "ADDED" | "MODIFIED" => Self::Is(object()?.into_secret().ok_or_else(garbled)?),
            "DELETED" => Self::Deleted(object()?.resource_version().to_owned()),
            "BOOKMARK" => {
                let object = object()?;
                Self::Bookmark {
                    version: object.resource_version().to_owned(),
                    beginning_ends: object.has_annotation(BEGINNING_ENDS),
                }
            }
            "ERROR" => {
                let status: Named<Status> = serde_json::from_slice(line).map_err(|_| garbled())?;
                Self::Error(Fault::of_status(status.object.code, None, &status.object))
            }
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Result<Event, Fault> {
        Event::from_json(json.as_bytes())
    }

    #[test]
    fn events_are_told_apart() {
        let secret = r#"{"metadata": {"name": "n", "uid": "u", "resourceVersion": "7"}, "data": {"a": "Yg=="}}"#;
        for kind in ["ADDED", "MODIFIED"] {
            let Ok(Event::Is(found)) = event(&format!(r#"{{"type": "{kind}", "object": {secret}}}"#)) else {
                panic!("{kind}")
            };
            assert_eq!((found.resource_version(), found.data()["a"].as_slice()), ("7", &b"b"[..]));
        }
        let deleted = event(&format!(r#"{{"object": {secret}, "type": "DELETED"}}"#));
        assert!(matches!(deleted, Ok(Event::Deleted(version)) if version == "7"));
        for (annotations, ends) in [("null", false), (r#"{"k8s.io/initial-events-end": "true"}"#, true)] {
            let metadata = format!(r#"{{"resourceVersion": "9", "annotations": {annotations}}}"#);
            let found = event(&format!(r#"{{"type": "BOOKMARK", "object": {{"metadata": {metadata}}}}}"#));
            assert!(
                matches!(found, Ok(Event::Bookmark { version, beginning_ends }) if version == "9" && beginning_ends == ends)
            );
        }
        let gone = r#"{"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}"#;
        assert!(matches!(event(gone), Ok(Event::Error(Fault::Gone))));
        assert!(matches!(event(r#"{"type": "NEWER", "object": {}}"#), Ok(Event::Other)));
        for garbled in ["", "{}", "null", r#"{"type": "ADDED"}"#, r#"{"type": "ADDED", "object": {}}"#] {
            assert!(matches!(event(garbled), Err(Fault::Unavailable(_))), "{garbled}");
        }
    }
}
