//! What commands print: data on standard output, everything else on standard error.

use std::io::{self, Write};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use serde_json::Value;

use super::Failure;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

/// `-o json`.
pub(super) fn format_arg() -> Arg {
    Arg::new("output")
        .long("output")
        .short('o')
        .value_name("FORMAT")
        .value_parser(PossibleValuesParser::new(["text", "json"]))
        .default_value("text")
        .help("How to print: for people, or as JSON")
}

pub(super) fn format(arguments: &ArgMatches) -> Format {
    match arguments.get_one::<String>("output").map(String::as_str) {
        Some("json") => Format::Json,
        _ => Format::Text,
    }
}

/// Prints text that ends with a line break.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    printed.map_err(|error| Failure::run_time(format_args!("standard output cannot be written: {}", error.kind())))
}

pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{}\n", json_text(value)))
}

/// JSON on one line that cannot steer a terminal.
pub(super) fn json_line(value: &Value) -> String {
    harmless(&value.to_string())
}

/// Indented JSON that cannot steer a terminal.
fn json_text(value: &Value) -> String {
    harmless(&format!("{value:#}"))
}

/// The same JSON without control characters but line breaks: what others wrote may hold some.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() && c != '\n' {
            // Inside a string, where alone one can stand, this means the same (RFC 8259, section 7).
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

/// Says what was done, or that nothing was.
pub(super) fn note(text: impl std::fmt::Display) {
    eprintln!("vestibule: {text}");
}

pub(super) fn warn(text: impl std::fmt::Display) {
    eprintln!("vestibule: warning: {text}");
}

/// Rows in columns below their headings, two spaces apart.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&headings.map(str::to_owned)).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Seconds since the epoch as RFC 3339 in UTC; the number itself where it is beyond the year 9999.
pub(super) fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "active".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "STATE"], &rows), "NAME    STATE\na       active\nlonger\n");
    }

    #[test]
    fn json_cannot_steer_a_terminal_and_means_the_same() {
        let value = json!({ "a\u{9b}": "\u{1b}[2J\u{7f}\u{85}é", "b": [1, null] });
        let text = json_text(&value);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(1_795_341_600), "2026-11-22T10:00:00Z");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }
}
