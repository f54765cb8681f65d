//! Reads along in HTTP/2 request heads, for how much memory the HTTP library keeps because of them.
//!
//! Its table of heads (RFC 7541, section 2.3.2) is bounded in what its entries say, not in memory: a path, an authority or
//! a scheme stays in the buffer that it came in, so that an entry of 38 bytes may keep 100 KiB.

mod fields;
mod table;

use fields::Fields;
use table::Table;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// The client's preface (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// Follows one connection over as many reads as it takes. What the library ends the connection for is not looked at.
#[derive(Debug)]
pub(crate) struct KeptHeads {
    within: Within,
    fields: Fields,
    table: Table,
}

#[derive(Debug, Clone, Copy)]
enum Within {
    /// The nine bytes before a frame, of which so many have come (RFC 9113, section 4.1).
    Head {
        bytes: [u8; 9],
        come: usize,
    },
    /// What stands before the fields, as `flags` say, in a frame of which so much is left (RFC 9113, section 6.2).
    Lead {
        left: usize,
        flags: u8,
        padding: usize,
        stream: u32,
        dependency: u32,
        come: usize,
    },
    Fields {
        left: usize,
        padding: usize,
    },
    Other {
        left: usize,
    },
}

impl KeptHeads {
    pub(crate) fn new() -> Self {
        Self { within: Within::Other { left: PREFACE }, fields: Fields::default(), table: Table::default() }
    }

    /// The most bytes of buffers that what is in the table may keep.
    pub(crate) fn bytes(&self) -> usize {
        self.table.kept()
    }

    /// Takes what the library takes.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            let taken = self.within.take(bytes.len());
            match &mut self.within {
                Within::Head { bytes: head, come } => head[*come - taken..*come].copy_from_slice(&bytes[..taken]),
                Within::Lead { flags, padding, .. } if *flags & PADDED != 0 => {
                    *padding = usize::from(*first);
                    *flags &= !PADDED;
                }
                Within::Lead { flags, dependency, come, .. } => {
                    *come += 1;
                    match come {
                        1..=4 => *dependency = *dependency << 8 | u32::from(*first),
                        // The weight.
                        _ => *flags &= !PRIORITY,
                    }
                }
                Within::Fields { .. } => self.fields.read(&bytes[..taken], &mut self.table),
                Within::Other { .. } => self.table.other_bytes(taken),
            }
            self.within = self.within.next();
            bytes = &bytes[taken..];
        }
    }
}

impl Within {
    /// Counts what is read now of so many bytes.
    fn take(&mut self, bytes: usize) -> usize {
        let (left, most) = match self {
            Self::Head { bytes: head, come } => {
                let taken = bytes.min(head.len() - *come);
                *come += taken;
                return taken;
            }
            Self::Lead { left, .. } => (left, 1),
            Self::Fields { left, .. } | Self::Other { left } => (left, bytes),
        };
        let taken = most.min(*left);
        *left -= taken;
        taken
    }

    /// Where the next byte is: never in something that has none left.
    fn next(self) -> Self {
        match self {
            Self::Head { bytes, come: 9 } => Self::frame(bytes).next(),
            Self::Lead { left, flags, padding, stream, dependency, come } if flags & (PADDED | PRIORITY) == 0 => {
                // Such a frame is refused before its fields are read.
                let is_refused = come > 0 && dependency & 0x7fff_ffff == stream;
                let left = left.saturating_sub(padding);
                if is_refused { Self::Other { left: left + padding } } else { Self::Fields { left, padding } }.next()
            }
            Self::Fields { left: 0, padding } => Self::Other { left: padding }.next(),
            Self::Lead { left: 0, .. } | Self::Other { left: 0 } => Self::Head { bytes: [0; 9], come: 0 },
            within => within,
        }
    }

    fn frame(head: [u8; 9]) -> Self {
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let left = u32::from_be_bytes([0, high, middle, low]) as usize;
        match kind {
            HEADERS => {
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                Self::Lead { left, flags, padding: 0, stream, dependency: 0, come: 0 }
            }
            CONTINUATION => Self::Fields { left, padding: 0 },
            _ => Self::Other { left },
        }
    }
}

#[cfg(test)]
mod tests;
