//! What one user has asked for, from the audit log.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use serde_json::Value;

use super::{Account, Namespace};

/// The requests of one user since it was begun.
pub(crate) struct Trail {
    log: std::path::PathBuf,
    from: u64,
    user: String,
}

/// One request (audit.k8s.io/v1 `Event`). A watch is there twice: when it begins and when it ends.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// `ResponseStarted` of a watch, `ResponseComplete`, `Panic`.
    pub(crate) stage: String,
    pub(crate) verb: String,
    /// `secrets`; empty where the request is for none.
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) status: u16,
    pub(crate) user_agent: String,
    /// Path and query.
    pub(crate) uri: String,
}

impl Account<'_> {
    /// Follows what this account asks for from now on; `None`, where the cluster is not ours. The log is a moment
    /// behind the answers.
    pub(crate) fn trail(&self, namespace: &Namespace) -> Option<Trail> {
        self.can_sign().then(|| Trail::begin(namespace, &self.user()))
    }
}

impl Trail {
    /// Follows any user of a cluster of ours, such as `admin`.
    pub(crate) fn begin(namespace: &Namespace, user: &str) -> Self {
        let log = namespace.cluster.own().audit_log();
        let from = log.metadata().map_or(0, |file| file.len());
        Self { log, from, user: user.to_owned() }
    }

    /// All entries so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut text = String::new();
        let mut log = File::open(&self.log).expect("an audit log");
        log.seek(SeekFrom::Start(self.from)).expect("a file that only grows");
        log.read_to_string(&mut text).expect("text");
        // The last line may be in the making.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let events = lines.map(|line| serde_json::from_str::<Value>(line).expect("an audit event"));
        events.filter(|event| event["user"]["username"] == self.user.as_str()).map(|event| Entry::of(&event)).collect()
    }

    /// All requests so far, each once.
    pub(crate) fn requests(&self) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.verb != "watch" || entry.stage == "ResponseStarted");
        entries
    }

    /// The verbs, each once, in alphabetical order.
    pub(crate) fn verbs(&self) -> Vec<String> {
        let mut verbs: Vec<_> = self.entries().into_iter().map(|entry| entry.verb).collect();
        verbs.sort_unstable();
        verbs.dedup();
        verbs
    }
}

impl Entry {
    fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let status = event["responseStatus"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        Self {
            stage: text(&event["stage"]),
            verb: text(&event["verb"]),
            resource: text(&event["objectRef"]["resource"]),
            name: text(&event["objectRef"]["name"]),
            status: status.unwrap_or_default(),
            user_agent: text(&event["userAgent"]),
            uri: text(&event["requestURI"]),
        }
    }
}
