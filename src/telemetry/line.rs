//! One log line while it is being written, in either format.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{EventName, Format, Level, escape, timestamp};
use crate::metrics::ClosedSet;

/// Bytes of a value that are kept; the rest is cut and `…` says so.
const VALUE_BYTES: usize = 512;

/// Bytes of a message that are kept.
const MESSAGE_BYTES: usize = 1_024;

/// A line's text. Only [`Value`]s write to it.
pub struct Line {
    text: String,
    format: Format,
}

impl Line {
    /// Begins a line in `text`'s memory: everything up to the message. `millis` is since the epoch.
    pub(super) fn begin(mut text: String, format: Format, millis: u64, level: Level, event: EventName) -> Self {
        text.clear();
        match format {
            Format::Json => {
                text.push_str("{\"timestamp\":\"");
                timestamp::push(&mut text, millis);
                text.push_str("\",\"level\":\"");
                text.push_str(level.as_str());
                text.push_str("\",\"event\":\"");
                text.push_str(event.as_str());
                text.push('"');
            }
            Format::Text => {
                timestamp::push(&mut text, millis);
                text.push(' ');
                text.push_str(level.padded());
                text.push(' ');
                text.push_str(event.as_str());
                text.push_str(": ");
            }
        }
        let mut line = Self { text, format };
        if event.is_audit() && format == Format::Json {
            line.field("audit", &true);
        }
        line
    }

    pub(super) fn message(&mut self, message: &str) {
        if self.format == Format::Json {
            self.text.push_str(",\"message\":\"");
        }
        escape::push_str(&mut self.text, message, MESSAGE_BYTES);
        if self.format == Format::Json {
            self.text.push('"');
        }
    }

    pub(super) fn field(&mut self, key: &'static str, value: &impl Value) {
        if !value.is_present() {
            return;
        }
        match self.format {
            Format::Json => {
                self.text.push_str(",\"");
                self.text.push_str(key);
                self.text.push_str("\":");
            }
            Format::Text => {
                self.text.push(' ');
                self.text.push_str(key);
                self.text.push('=');
            }
        }
        value.write(self);
    }

    /// The whole line with its newline.
    pub(super) fn end(mut self) -> String {
        self.text.push_str(match self.format {
            Format::Json => "}\n",
            Format::Text => "\n",
        });
        self.text
    }

    fn quoted(&mut self, write: impl FnOnce(&mut String)) {
        self.text.push('"');
        write(&mut self.text);
        self.text.push('"');
    }

    /// Text that needs no escape, bare where the format allows it.
    fn bare(&mut self, value: impl fmt::Display) {
        match self.format {
            Format::Json => self.quoted(|text| escape::push_display(text, value, VALUE_BYTES)),
            Format::Text => escape::push_display(&mut self.text, value, VALUE_BYTES),
        }
    }

    fn string(&mut self, value: &str) {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@+~".contains(&byte);
        if self.format == Format::Text && !value.is_empty() && value.bytes().all(is_word) {
            escape::push_str(&mut self.text, value, VALUE_BYTES);
        } else {
            self.quoted(|text| escape::push_str(text, value, VALUE_BYTES));
        }
    }
}

/// What can stand in a field. Deliberately not every `Display`: a type whose text is secret has no way in.
pub trait Value {
    /// Where this is false, the field is left out.
    fn is_present(&self) -> bool {
        true
    }

    /// Appends the value to the line, escaped and bounded to 512 bytes.
    fn write(&self, line: &mut Line);
}

/// `None` leaves the field out.
impl<V: Value> Value for Option<V> {
    fn is_present(&self) -> bool {
        self.as_ref().is_some_and(Value::is_present)
    }

    fn write(&self, line: &mut Line) {
        if let Some(value) = self {
            value.write(line);
        }
    }
}

impl Value for &str {
    fn write(&self, line: &mut Line) {
        line.string(self);
    }
}

impl Value for String {
    fn write(&self, line: &mut Line) {
        line.string(self);
    }
}

/// Bytes from the wire; what is not UTF-8 is shown as U+FFFD.
impl Value for &[u8] {
    fn write(&self, line: &mut Line) {
        line.quoted(|text| escape::push_bytes(text, self, VALUE_BYTES));
    }
}

impl Value for fmt::Arguments<'_> {
    fn write(&self, line: &mut Line) {
        line.quoted(|text| escape::push_display(text, self, VALUE_BYTES));
    }
}

impl Value for IpAddr {
    fn write(&self, line: &mut Line) {
        line.bare(self);
    }
}

impl Value for SocketAddr {
    fn write(&self, line: &mut Line) {
        line.bare(self);
    }
}

impl Value for bool {
    fn write(&self, line: &mut Line) {
        line.text.push_str(if *self { "true" } else { "false" });
    }
}

/// In milliseconds, with the microseconds as decimals.
impl Value for Duration {
    fn write(&self, line: &mut Line) {
        let micros = u64::try_from(self.as_micros()).unwrap_or(u64::MAX);
        timestamp::push_padded(&mut line.text, micros / 1_000, 1);
        line.text.push('.');
        timestamp::push_padded(&mut line.text, micros % 1_000, 3);
    }
}

impl<L: ClosedSet> Value for L {
    fn write(&self, line: &mut Line) {
        line.string(self.as_str());
    }
}

macro_rules! unsigned {
    ($($integer:ty)+) => {$(
        impl Value for $integer {
            fn write(&self, line: &mut Line) {
                timestamp::push_padded(&mut line.text, *self as u64, 1);
            }
        }
    )+};
}
unsigned!(u16 u32 u64 usize);

impl Value for i64 {
    fn write(&self, line: &mut Line) {
        if *self < 0 {
            line.text.push('-');
        }
        timestamp::push_padded(&mut line.text, self.unsigned_abs(), 1);
    }
}
