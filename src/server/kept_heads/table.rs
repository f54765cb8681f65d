//! The table of a client's heads as the HTTP library has it: entries with their sizes, and the buffers that they keep.

use std::collections::VecDeque;

/// Bytes of entries, where we announce nothing else (RFC 9113, section 6.5.2).
const MOST: usize = 4096;
/// What an entry counts beside its name and its value (RFC 7541, section 4.1).
const OVERHEAD: usize = 32;
/// The library reads into buffers of this size; larger ones it makes for larger frames.
const BUFFER: usize = 8 * 1024;
/// Fields that are kept in the buffer that they came in; of others there is a copy.
const KEEPING: [usize; 5] = [1, 4, 5, 6, 7];
/// Bytes of the names from 1 on (RFC 7541, appendix A).
const NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4,
    4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];

#[derive(Debug)]
pub(super) struct Table {
    /// The youngest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
    kept: usize,
    /// Bytes since the last entry that keeps a buffer: of heads, and of all else.
    heads: usize,
    others: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) len: usize,
    /// Whether a value of this name keeps its buffer.
    pub(super) keeps: bool,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    size: usize,
    kept: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, most: MOST, kept: 0, heads: 0, others: 0 }
    }
}

impl Table {
    /// Bytes of the buffers that entries keep.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    pub(super) fn head_bytes(&mut self, bytes: usize) {
        self.heads += bytes;
    }

    /// What is not kept itself shares a buffer with what is.
    pub(super) fn other_bytes(&mut self, bytes: usize) {
        self.others = BUFFER.min(self.others + bytes);
    }

    /// The name of an entry (RFC 7541, section 2.3.3); `None`: there is none.
    pub(super) fn name(&self, index: usize) -> Option<Name> {
        match NAMES.get(index.checked_sub(1)?) {
            Some(len) => Some(Name { len: usize::from(*len), keeps: KEEPING.contains(&index) }),
            None => Some(self.entries.get(index - 1 - NAMES.len())?.name),
        }
    }

    /// Puts in what has just been read (RFC 7541, section 4.4).
    pub(super) fn insert(&mut self, name: Name, value: usize) {
        let size = OVERHEAD + name.len + value;
        self.evict(size);
        if size > self.most {
            return;
        }
        let mut kept = 0;
        if name.keeps {
            kept = std::mem::take(&mut self.heads) + std::mem::take(&mut self.others);
        }
        (self.size, self.kept) = (self.size + size, self.kept + kept);
        self.entries.push_front(Entry { name, size, kept });
    }

    /// The client's bound for itself (RFC 7541, section 4.3).
    pub(super) fn resize(&mut self, most: usize) {
        self.most = MOST.min(most);
        self.evict(0);
    }

    /// Makes place for so many bytes.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.most
            && let Some(oldest) = self.entries.pop_back()
        {
            (self.size, self.kept) = (self.size - oldest.size, self.kept - oldest.kept);
        }
    }
}
