//! Text as the inside of a JSON string: nothing a client sends can end a line, a string or a terminal's patience.

use std::fmt;

/// Ends a value that was cut.
const ELLIPSIS: char = '…';

/// Appends at most `limit` bytes of `text`, escaped as RFC 8259 section 7 asks and beyond: control
/// characters, line separators and bidirectional marks are escaped too, since terminals and log readers act on them.
pub(super) fn push_str(out: &mut String, text: &str, limit: usize) {
    let kept = cut(text.as_bytes(), limit);
    push_unbounded(out, &text[..kept]);
    if kept < text.len() {
        out.push(ELLIPSIS);
    }
}

/// As [`push_str`]; what is not UTF-8 becomes U+FFFD.
pub(super) fn push_bytes(out: &mut String, bytes: &[u8], limit: usize) {
    let kept = cut(bytes, limit);
    for chunk in bytes[..kept].utf8_chunks() {
        push_unbounded(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
    if kept < bytes.len() {
        out.push(ELLIPSIS);
    }
}

/// As [`push_str`], for a value that is being formatted.
pub(super) fn push_display(out: &mut String, value: impl fmt::Display, limit: usize) {
    let mut bounded = Bounded { out, left: limit };
    // The error is the writer's own, to stop a value that is too long.
    let _ = fmt::write(&mut bounded, format_args!("{value}"));
}

struct Bounded<'a> {
    out: &'a mut String,
    left: usize,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_str(self.out, text, self.left);
        if text.len() > self.left {
            self.left = 0;
            return Err(fmt::Error);
        }
        self.left -= text.len();
        Ok(())
    }
}

/// The longest prefix of at most `limit` bytes that ends between characters.
fn cut(bytes: &[u8], limit: usize) -> usize {
    if bytes.len() <= limit {
        return bytes.len();
    }
    let is_boundary = |at: &usize| bytes[*at] & 0b1100_0000 != 0b1000_0000;
    (limit.saturating_sub(3)..=limit).rev().find(is_boundary).unwrap_or(limit)
}

fn push_unbounded(out: &mut String, mut text: &str) {
    while let Some(at) = text.bytes().position(|byte| !PLAIN[usize::from(byte)]) {
        // All before `at` is ASCII, so it is between two characters.
        out.push_str(&text[..at]);
        let mut rest = text[at..].chars();
        if let Some(c) = rest.next() {
            push_char(out, c);
        }
        text = rest.as_str();
    }
    out.push_str(text);
}

/// The bytes that stand for themselves: printable ASCII but `"` and `\`.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

fn push_char(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_unsafe(c) => push_escape(out, c),
        c => out.push(c),
    }
}

/// Control characters, and those that break lines, reorder or hide text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `\uXXXX`; every unsafe character is in the basic plane.
fn push_escape(out: &mut String, c: char) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        let digit = (c as u32 >> shift) & 0xf;
        out.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8], limit: usize) -> String {
        let mut out = String::new();
        push_bytes(&mut out, bytes, limit);
        out
    }

    #[test]
    fn what_could_forge_a_line_is_escaped() {
        let cases: [(&[u8], &str); 16] = [
            (b"", ""),
            (b"plain text, {}[]:'", "plain text, {}[]:'"),
            (b"a\"b", "a\\\"b"),
            (b"a\\b", "a\\\\b"),
            (b"a\nb\r\tc", "a\\nb\\r\\tc"),
            (b"\0\x1b[31m\x07", "\\u0000\\u001b[31m\\u0007"),
            (b"\x7f", "\\u007f"),
            ("caf\u{e9} \u{1f511}".as_bytes(), "caf\u{e9} \u{1f511}"),
            ("\u{85}".as_bytes(), "\\u0085"),
            ("a\u{2028}b\u{2029}".as_bytes(), "a\\u2028b\\u2029"),
            ("\u{202e}txt".as_bytes(), "\\u202etxt"),
            ("\u{200b}\u{feff}".as_bytes(), "\\u200b\\ufeff"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"a\xc3", "a\u{fffd}"),
            (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
            (b"{\"level\":\"info\"}\n{", "{\\\"level\\\":\\\"info\\\"}\\n{"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(escaped(bytes, 512), expected, "{bytes:?}");
        }
    }

    #[test]
    fn every_byte_pair_parses_back() {
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                let json = format!("\"{}\"", escaped(&[a, b], 512));
                let back: String = serde_json::from_str(&json).expect(&json);
                assert_eq!(back, String::from_utf8_lossy(&[a, b]), "{a:02x} {b:02x}");
                assert!(!json.contains(['\n', '\r']));
            }
        }
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(escaped(b"abcd", 4), "abcd");
        assert_eq!(escaped(b"abcde", 4), "abcd…");
        assert_eq!(escaped("abc\u{e9}e".as_bytes(), 4), "abc…");
        assert_eq!(escaped("\u{1f511}\u{1f511}".as_bytes(), 7), "\u{1f511}…");
        assert_eq!(escaped(&[0x80; 9], 4), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}…");
        assert_eq!(escaped(b"abc", 0), "…");
    }

    #[test]
    fn a_formatted_value_is_cut_once() {
        let cases = [("abcd", "", "abcd"), ("abc", "de", "abcd…"), ("ab", "cdefgh", "abcd…"), ("a\n", "b", "a\\nb")];
        for (first, second, expected) in cases {
            let mut out = String::new();
            push_display(&mut out, format_args!("{first}{second}{}", ""), 4);
            assert_eq!(out, expected);
        }
    }
}
