//! Reads along in HTTP/1.1 request heads, for what the HTTP library takes out of them without a word.

use memchr::memchr;

const LENGTH: &[u8] = b"content-length";

/// So much of a line tells what it is: the name and its colon.
const TELLING: usize = LENGTH.len() + 1;

/// What a head holds that a request does not show any more.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// A `#` in the request target: it is cut off there.
    pub(crate) fragment: bool,
    /// `Content-Length`, which goes where there is a `Transfer-Encoding` (RFC 9112, section 6.3).
    pub(crate) length: bool,
}

/// Follows one head over as many reads as it takes.
#[derive(Debug)]
pub(super) struct HeadScan {
    within: Within,
    found: Hidden,
    /// How a line begins that was not read to its end.
    begun: [u8; TELLING],
    begun_len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    RequestLine,
    Fields,
}

impl HeadScan {
    pub(super) fn new() -> Self {
        Self { within: Within::Nothing, found: Hidden::default(), begun: [0; TELLING], begun_len: 0 }
    }

    /// The next byte is a head's first.
    pub(super) fn begin(&mut self) {
        *self = Self { within: Within::RequestLine, ..Self::new() };
    }

    /// Whether a head has begun that has not ended.
    pub(super) fn is_within(&self) -> bool {
        self.within != Within::Nothing
    }

    /// Reads on. At the head's end: what it held, and how many bytes there are behind it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Option<(Hidden, usize)> {
        if !self.is_within() {
            return None;
        }
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.line(line) {
                self.within = Within::Nothing;
                return Some((self.found, bytes.len()));
            }
        }
        self.keep(bytes);
        None
    }

    /// The rest of a line without its LF; `true`: the head ends with it.
    fn line(&mut self, rest: &[u8]) -> bool {
        let joined;
        let line = if self.begun_len == 0 {
            rest
        } else {
            self.keep(rest);
            joined = self.begun;
            &joined[..std::mem::take(&mut self.begun_len)]
        };
        let is_empty = matches!(line, b"" | b"\r");
        match self.within {
            // Empty lines before a request are passed over (RFC 9112, section 2.2).
            Within::RequestLine if is_empty => {}
            Within::RequestLine => {
                self.found.fragment |= memchr(b'#', rest).is_some();
                self.within = Within::Fields;
            }
            Within::Fields if is_empty => return true,
            Within::Fields => self.found.length |= names(line, LENGTH),
            Within::Nothing => {}
        }
        false
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.within == Within::RequestLine {
            self.found.fragment |= memchr(b'#', bytes).is_some();
        }
        let kept = bytes.len().min(TELLING - self.begun_len);
        self.begun[self.begun_len..self.begun_len + kept].copy_from_slice(&bytes[..kept]);
        self.begun_len += kept;
    }
}

/// Is this the line of the field of this name?
fn names(line: &[u8], name: &[u8]) -> bool {
    line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a head that comes in pieces of this many bytes.
    fn found(head: &str, piece: usize) -> Option<(Hidden, usize)> {
        let mut scan = HeadScan::new();
        scan.begin();
        head.as_bytes().chunks(piece).find_map(|bytes| scan.read(bytes))
    }

    #[test]
    fn the_same_is_found_however_a_head_is_cut_into_pieces() {
        for (head, fragment, length) in [
            ("GET /a HTTP/1.1\r\nx: #\r\n\r\n", false, false),
            ("GET /a#b HTTP/1.1\r\n\r\n", true, false),
            ("\r\n\nGET /a#b HTTP/1.1\r\nx: y\r\n\r\n", true, false),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\nx: y\r\n\r\n", false, true),
            ("POST / HTTP/1.1\nhost: a\nCONTENT-LENGTH:5\n\n", false, true),
            ("POST / HTTP/1.1\r\nx: content-length:\r\nContent-Lengths: 5\r\nContent-Lengt: 5\r\n\r\n", false, false),
        ] {
            for piece in 1..=head.len() {
                let expected = Some((Hidden { fragment, length }, 0));
                assert_eq!(found(head, piece), expected, "{head:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn nothing_but_a_head_is_read() {
        let mut scan = HeadScan::new();
        assert_eq!(scan.read(b"GET /#a HTTP/1.1\r\n\r\n"), None, "none has begun");
        scan.begin();
        let plain = Hidden::default();
        assert_eq!(scan.read(b"GET / HTTP/1.1\r\n\r\nContent-Length: 5\r\n"), Some((plain, 19)));
        assert_eq!(scan.read(b"Content-Length: 5\r\n\r\n"), None, "its body");
        scan.begin();
        assert_eq!(scan.read(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(scan.read(b"\r\n"), Some((plain, 0)));
    }
}
