//! The fields of compressed heads (RFC 7541, section 6): which ones are put into the table, and how long they are.

use super::table::{Name, Table};

/// What is decoded takes up to 8/5 of what is compressed, in a buffer of its own.
const DECODING: usize = 2;

/// Codes of each length in bits, from one on; within a length they follow each other (RFC 7541, appendix B).
const CODES: [u32; 30] =
    [0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];

/// The code of a colon, of seven bits.
const COLON: u8 = 0x5c;

/// Where in a field the next byte is, and what is known of the field.
#[derive(Debug, Default)]
pub(super) struct Fields {
    at: At,
    is_kept: bool,
    name: Option<Name>,
    /// Of the text that is being read, uncompressed; and whether it begins with a colon.
    len: usize,
    is_pseudo: bool,
    code: Code,
}

#[derive(Debug, Default, Clone, Copy)]
enum At {
    #[default]
    Begin,
    /// In an integer, with what is known of it.
    Integer {
        what: Integer,
        value: usize,
        shift: u32,
    },
    Length,
    Text {
        left: usize,
        is_compressed: bool,
        is_first: bool,
    },
    /// In what ends the connection.
    Fault,
}

#[derive(Debug, Clone, Copy)]
enum Integer {
    Field,
    Name,
    TableSize,
    Length { is_compressed: bool },
}

impl Fields {
    pub(super) fn read(&mut self, mut bytes: &[u8], table: &mut Table) {
        while let Some(first) = bytes.first() {
            let mut taken = 1;
            self.at = match self.at {
                At::Begin => self.begin(*first, table),
                At::Integer { what, value, shift } => {
                    let value = value + (usize::from(first & 0x7f) << shift);
                    match (first & 0x80, shift) {
                        (0, _) => self.integer(what, value, table),
                        (_, ..21) => At::Integer { what, value, shift: shift + 7 },
                        _ => At::Fault,
                    }
                }
                At::Length => {
                    let what = Integer::Length { is_compressed: first & 0x80 != 0 };
                    self.prefixed(what, *first, 7, table)
                }
                At::Text { left, is_compressed, is_first } => {
                    taken = left.min(bytes.len());
                    self.text(&bytes[..taken], is_compressed, is_first);
                    let bytes = if is_compressed { DECODING * taken } else { taken };
                    // One is counted below.
                    table.head_bytes(bytes - 1);
                    match left - taken {
                        0 => self.end_of_text(table),
                        left => At::Text { left, is_compressed, is_first: false },
                    }
                }
                At::Fault => return,
            };
            table.head_bytes(1);
            bytes = &bytes[taken..];
        }
    }

    fn begin(&mut self, first: u8, table: &mut Table) -> At {
        self.is_kept = first & 0xc0 == 0x40;
        match first.leading_zeros() {
            0 => self.prefixed(Integer::Field, first, 7, table),
            1 => self.prefixed(Integer::Name, first, 6, table),
            2 => self.prefixed(Integer::TableSize, first, 5, table),
            _ => self.prefixed(Integer::Name, first, 4, table),
        }
    }

    /// An integer in the last bits of a byte, or behind them (RFC 7541, section 5.1).
    fn prefixed(&mut self, what: Integer, first: u8, bits: u32, table: &mut Table) -> At {
        let most = (1 << bits) - 1;
        match usize::from(first) & most {
            value if value < most => self.integer(what, value, table),
            value => At::Integer { what, value, shift: 0 },
        }
    }

    fn integer(&mut self, what: Integer, value: usize, table: &mut Table) -> At {
        match what {
            Integer::Field => At::Begin,
            Integer::TableSize => {
                table.resize(value);
                At::Begin
            }
            Integer::Name => {
                self.name = table.name(value);
                if value > 0 && self.name.is_none() { At::Fault } else { At::Length }
            }
            Integer::Length { is_compressed } => {
                (self.len, self.is_pseudo, self.code) = (0, false, Code::default());
                match value {
                    0 => self.end_of_text(table),
                    left => At::Text { left, is_compressed, is_first: true },
                }
            }
        }
    }

    fn text(&mut self, bytes: &[u8], is_compressed: bool, is_first: bool) {
        if !self.is_kept {
            return;
        }
        if is_first {
            self.is_pseudo = if is_compressed { bytes[0] >> 1 == COLON } else { bytes[0] == b':' };
        }
        self.len += if is_compressed { self.code.read(bytes) } else { bytes.len() };
    }

    fn end_of_text(&mut self, table: &mut Table) -> At {
        match self.name {
            None => {
                self.name = Some(Name { len: self.len, keeps: self.is_pseudo });
                At::Length
            }
            Some(name) => {
                if self.is_kept {
                    table.insert(name, self.len);
                }
                At::Begin
            }
        }
    }
}

/// Within a code of a compressed text.
#[derive(Debug, Default)]
struct Code {
    bits: usize,
    code: u32,
    /// The first code of this length.
    first: u32,
}

impl Code {
    /// How many characters end in these bytes.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut ended = 0;
        for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1))) {
            self.code = self.code << 1 | bit;
            self.first <<= 1;
            let codes = CODES.get(self.bits).copied().unwrap_or(0);
            self.bits += 1;
            if self.code < self.first + codes {
                (self.bits, self.code, self.first) = (0, 0, 0);
                ended += 1;
            } else {
                self.first += codes;
            }
        }
        ended
    }
}
