//! An event: a line that is written field by field, and not at all where its level is switched off.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::line::{Line, Value};
use super::{EventName, Format, Level, Logger};
use crate::metrics::Outcome;

thread_local! {
    /// The memory of the thread's last line, for its next.
    static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
}

/// A line that [`Event::emit`] hands over.
#[must_use = "an event is written by `emit`"]
pub struct Event<'a> {
    logger: &'a Logger,
    level: Level,
    line: Option<Line>,
}

impl<'a> Event<'a> {
    pub(super) fn new(logger: &'a Logger, level: Level, event: EventName, message: &str) -> Self {
        let line = logger.enabled(level).then(|| {
            let mut line = Line::begin(SCRATCH.take(), logger.format(), now(), level, event);
            line.message(message);
            line
        });
        Self { logger, level, line }
    }

    /// Adds a field. `key` is in snake_case and none of `timestamp`, `level`, `event`, `message`, `audit`.
    pub fn field(mut self, key: &'static str, value: impl Value) -> Self {
        if let Some(line) = &mut self.line {
            line.field(key, &value);
        }
        self
    }

    pub fn emit(self) {
        if let Some(line) = self.line {
            let text = line.end();
            self.logger.append(&text, self.level == Level::Error);
            SCRATCH.set(text);
        }
    }
}

/// One request, as the access log shows it.
pub struct Access<'a> {
    pub method: &'a str,
    /// What stands behind a `?` is left out.
    pub path: &'a str,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// The status that was sent.
    pub status: u16,
    pub outcome: Outcome,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From the request's headers to the end of its response.
    pub duration: Duration,
    /// From sending the request to the application until its response headers; `None` where it was not asked.
    pub upstream: Option<Duration>,
    pub user: Option<&'a str>,
    pub source: IpAddr,
    pub request_id: &'a str,
}

impl Access<'_> {
    pub(super) fn emit(&self, logger: &Logger) {
        let path = self.path.split_once('?').map_or(self.path, |(path, _)| path);
        Event::new(logger, Level::Info, EventName::Access, "request served")
            .field("method", self.method)
            .field("path", path)
            .field("status", self.status)
            .field("outcome", self.outcome)
            .field("bytes_in", self.bytes_in)
            .field("bytes_out", self.bytes_out)
            .field("duration_ms", self.duration)
            .field("upstream_ms", self.upstream)
            .field("user", self.user)
            .field("source", self.source)
            .field("request_id", self.request_id)
            .field("protocol", self.protocol)
            .emit();
    }
}

/// The line that owns up to `dropped` others.
pub(super) fn dropped_line(format: Format, dropped: u64) -> String {
    let mut line = Line::begin(String::new(), format, now(), Level::Warn, EventName::LogDropped);
    line.message("lines were dropped: standard error is not read fast enough");
    line.field("dropped", &dropped);
    line.end()
}

/// Milliseconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
