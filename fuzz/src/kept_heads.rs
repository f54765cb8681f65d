//! Heads of HTTP/2: what they make the library keep is what a model says that has each of them whole, however they come.
//!
//! Input: a byte, the size of pieces; then frames: a byte that says which, one for its length in steps of 4, and its content.

use std::collections::HashSet;
use std::sync::LazyLock;

use vestibule::fuzzing::Heads;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

pub(crate) fn run(data: &[u8]) {
    let Some((size, mut rest)) = data.split_first() else { return };
    let (mut whole, mut pieces, mut model) = (Heads::new(), Heads::new(), Model::default());
    whole.read(PREFACE);
    PREFACE.chunks(7).for_each(|piece| pieces.read(piece));
    while let [kind, length, more @ ..] = rest {
        let (content, more) = more.split_at(more.len().min(usize::from(*length) * 4));
        rest = more;
        let sent = match kind & 3 {
            0 => {
                model.others = BUFFER.min(model.others + content.len());
                frame(DATA, 0, content)
            }
            kinds => {
                let is_split = kinds == 1;
                let (begin, end) = content.split_at(if is_split { content.len() / 2 } else { content.len() });
                let padding = usize::from(kind >> 4 & 3) * 60;
                let Some(()) = model.head(begin, end, padding) else { return };
                let mut lead = Vec::new();
                if padding > 0 {
                    lead.push(padding as u8);
                }
                if kind & 4 != 0 {
                    lead.extend([0x80, 0, 0, 7, 16]);
                }
                let flags = if padding > 0 { PADDED } else { 0 } | if kind & 4 != 0 { PRIORITY } else { 0 };
                let first = [&lead, begin, &vec![0; padding]].concat();
                let mut frames = frame(HEADERS, if is_split { flags } else { flags | END_HEADERS }, &first);
                if is_split {
                    frames.extend(frame(CONTINUATION, END_HEADERS, end));
                }
                frames
            }
        };
        whole.read(&sent);
        sent.chunks(usize::from(*size).max(1)).for_each(|piece| pieces.read(piece));
        assert_eq!(whole.kept(), model.kept());
        assert_eq!(pieces.kept(), model.kept(), "in pieces of {size}");
    }
}

fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], content].concat()
}

const BUFFER: usize = 8192;
/// What a field begins with: so many bits before a one (RFC 7541, section 6).
const INDEXED: u32 = 0;
const TO_BE_KEPT: u32 = 1;
const TABLE_SIZE: u32 = 2;
/// In the table from the beginning (RFC 7541, appendix A).
const NAMES: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

struct Model {
    /// The youngest last: length and whether it keeps its buffer; size; what it keeps.
    entries: Vec<(Name, usize, usize)>,
    most: usize,
    heads: usize,
    others: usize,
}

type Name = (usize, bool);

/// What is read of a head, and how much of it counts.
struct Text {
    len: usize,
    is_pseudo: bool,
    counts: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self { entries: Vec::new(), most: 4096, heads: 0, others: PREFACE.len() }
    }
}

impl Model {
    fn kept(&self) -> usize {
        self.entries.iter().map(|entry| entry.2).sum()
    }

    /// None: not well-formed, which ends a connection.
    fn head(&mut self, begin: &[u8], end: &[u8], padding: usize) -> Option<()> {
        // Padding stands between the two, and counts where it stands.
        let mut padding = Some((begin.len(), padding));
        let block = [begin, end].concat();
        let mut at = 0;
        while at < block.len() {
            let start = at;
            let first = block[at];
            let kind = first.leading_zeros().min(3);
            let value = integer(&block, &mut at, 7 - kind)?;
            if kind == INDEXED || kind == TABLE_SIZE {
                if kind == TABLE_SIZE {
                    self.most = value.min(4096);
                    self.evict(0);
                }
                self.heads += at - start;
                self.pad(&mut padding, at);
                continue;
            }
            let mut counts = at - start;
            let name = if value > 0 {
                self.name(value)?
            } else {
                let text = text(&block, &mut at)?;
                counts += text.counts;
                (text.len, text.is_pseudo)
            };
            let value = text(&block, &mut at)?;
            counts += value.counts;
            // Before its last byte, padding counts for it; behind, for the next one.
            self.pad(&mut padding, at - 1);
            if kind == TO_BE_KEPT {
                self.heads += counts - 1;
                self.insert(name, value.len);
                self.heads += 1;
            } else {
                self.heads += counts;
            }
            self.pad(&mut padding, at);
        }
        self.pad(&mut padding, usize::MAX);
        Some(())
    }

    fn pad(&mut self, padding: &mut Option<(usize, usize)>, at: usize) {
        if let Some((_, bytes)) = padding.take_if(|(stands, _)| *stands <= at) {
            self.others = BUFFER.min(self.others + bytes);
        }
    }

    fn name(&self, index: usize) -> Option<Name> {
        if let Some(name) = NAMES.get(index - 1) {
            return Some((name.len(), [":authority", ":path", ":scheme"].contains(name)));
        }
        let behind = index - 1 - NAMES.len();
        Some(self.entries.iter().rev().nth(behind)?.0)
    }

    fn insert(&mut self, name: Name, value: usize) {
        let size = 32 + name.0 + value;
        self.evict(size);
        if size > self.most {
            return;
        }
        let mut kept = 0;
        if name.1 {
            kept = self.heads + self.others;
            (self.heads, self.others) = (0, 0);
        }
        self.entries.push((name, size, kept));
    }

    fn evict(&mut self, size: usize) {
        while !self.entries.is_empty() && self.entries.iter().map(|entry| entry.1).sum::<usize>() + size > self.most {
            self.entries.remove(0);
        }
    }
}

/// RFC 7541, section 5.1; of four bytes more at most.
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

/// RFC 7541, section 5.2.
fn text(block: &[u8], at: &mut usize) -> Option<Text> {
    let start = *at;
    let is_compressed = *block.get(*at)? >= 128;
    let length = integer(block, at, 7)?;
    let overhead = *at - start;
    let bytes = block.get(*at..*at + length)?;
    *at += length;
    Some(if is_compressed {
        let is_pseudo = bytes.first().is_some_and(|first| first & 0xfe == 0xb8);
        Text { len: characters(bytes), is_pseudo, counts: overhead + 2 * length }
    } else {
        Text { len: length, is_pseudo: bytes.first() == Some(&b':'), counts: overhead + length }
    })
}

/// How many of each length there are (RFC 7541, appendix B).
const CODES: [(u32, usize); 19] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
];

/// By length and bits.
static SYMBOLS: LazyLock<HashSet<(u32, u32)>> = LazyLock::new(|| {
    let mut symbols = HashSet::new();
    let (mut code, mut length) = (0, 0);
    for (bits, count) in CODES.into_iter().chain([(28, 29), (30, 4)]) {
        code <<= bits - length;
        length = bits;
        for _ in 0..count {
            symbols.insert((bits, code));
            code += 1;
        }
    }
    assert_eq!((symbols.len(), code), (257, 1 << 30), "a code that is complete");
    symbols
});

fn characters(bytes: &[u8]) -> usize {
    let (mut length, mut code, mut ended) = (0, 0, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |n| u32::from(byte >> (7 - n) & 1))) {
        (length, code) = (length + 1, code << 1 | bit);
        if SYMBOLS.contains(&(length, code)) {
            (length, code, ended) = (0, 0, ended + 1);
        }
    }
    ended
}
