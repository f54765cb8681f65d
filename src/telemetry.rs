//! Logs: one event a line on standard error, as JSON or as text, without ever holding up who logs.

mod escape;
mod event;
mod line;
mod names;
mod sink;
mod timestamp;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::time::Duration;

pub use self::event::{Access, Event};
pub use self::line::{Line, Value};
pub use self::names::{EventName, Format, Level, UnknownName};
use self::sink::Sink;

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub format: Format,
    /// The least grave level that is written.
    pub level: Level,
    /// Whether requests are logged, at [`Level::Info`].
    pub access: bool,
}

/// The way to the log. Clones share it; when the last is gone, what is left is written and the writer ends.
#[derive(Clone)]
pub struct Logger {
    settings: Settings,
    sink: Option<Arc<Sink>>,
}

impl Logger {
    /// Logs to standard error, from a thread that only writes.
    ///
    /// # Errors
    /// Where standard error is closed or no thread can be started.
    pub fn to_stderr(settings: Settings) -> io::Result<Self> {
        // A descriptor of its own: a reader that blocks holds no lock that a panic or an exit needs.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::to_writer(settings, stderr)
    }

    /// Logs to `out`, as [`Logger::to_stderr`] does.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn to_writer(settings: Settings, out: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Some(Arc::new(Sink::start(settings.format, out)?));
        Ok(Self { settings, sink })
    }

    /// A logger that writes nothing.
    #[must_use]
    pub fn disabled() -> Self {
        let settings = Settings { format: Format::Json, level: Level::Error, access: false };
        Self { settings, sink: None }
    }

    /// Whether events of this level are written.
    #[must_use]
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.settings.level && self.sink.is_some()
    }

    /// Whether [`Logger::access`] writes anything: where not, there is no need to gather its fields.
    #[must_use]
    pub fn access_enabled(&self) -> bool {
        self.settings.access && self.enabled(Level::Info)
    }

    /// Begins an event. The message is for people; what programs look for goes into fields.
    pub fn event(&self, level: Level, event: EventName, message: &str) -> Event<'_> {
        Event::new(self, level, event, message)
    }

    /// Writes a request's line, where the access log is on.
    pub fn access(&self, access: &Access<'_>) {
        if self.access_enabled() {
            access.emit(self);
        }
    }

    /// Waits until every line so far is written, `patience` at most; says whether it was.
    pub fn flush(&self, patience: Duration) -> bool {
        self.sink.as_ref().is_none_or(|sink| sink.flush(patience))
    }

    /// Makes panics events of this log. Where it happened is logged, not the message: that may quote anything.
    pub fn catch_panics(&self) {
        let logger = self.clone();
        panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            logger
                .event(Level::Error, EventName::Panic, "a task or thread panicked; this is a bug")
                .field("location", panic.location().map(ToString::to_string))
                .field("thread", thread.name())
                .emit();
        }));
    }

    fn format(&self) -> Format {
        self.settings.format
    }

    fn append(&self, line: &str, urgent: bool) {
        if let Some(sink) = &self.sink {
            sink.append(line, urgent);
        }
    }
}

#[cfg(test)]
mod tests;
