//! Frames of WebSocket that pass by: where one ends, so that a close frame can be said in between (RFC 6455).

/// The longest head: two bytes, a length of eight, a mask (section 5.2).
const LONGEST_HEAD: usize = 14;
const CLOSE: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Why a close frame is sent (section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseCode {
    GoingAway = 1001,
    PolicyViolation = 1008,
}

/// Follows one direction by its frames' heads; payloads are passed over unseen.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; LONGEST_HEAD],
    /// Bytes of the head that have come.
    have: usize,
    /// Bytes of the payload that have not.
    left: u64,
    closed: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((first, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.head[self.have] = *first;
            self.have += 1;
            if self.have >= 2 && self.have == head_length(self.head[1]) {
                self.left = payload_length(&self.head);
                self.closed |= self.head[0] & 0x0f == CLOSE;
                self.have = 0;
            }
        }
    }

    /// Between two frames, and none has been a close frame, after which nothing more may be sent (section 5.5.1).
    pub(super) fn takes_close(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.closed
    }
}

/// A close frame, masked as a client's must be, or not, as a server's.
pub(super) fn close_frame(code: CloseCode, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = Vec::from((code as u16).to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).expect("reasons are a few words");
    let mut frame = vec![FINAL | CLOSE, length];
    if let Some(mask) = mask {
        frame[1] |= MASKED;
        frame.extend_from_slice(&mask);
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    }
    frame.append(&mut payload);
    frame
}

fn head_length(second: u8) -> usize {
    let length = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    2 + length + mask
}

fn payload_length(head: &[u8; LONGEST_HEAD]) -> u64 {
    match head[1] & !MASKED {
        126 => u16::from_be_bytes([head[2], head[3]]).into(),
        127 => head[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        short => short.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, length: usize, mask: bool) -> Vec<u8> {
        let masked = if mask { MASKED } else { 0 };
        let mut frame = vec![FINAL | opcode];
        match length {
            0..126 => frame.push(masked | length as u8),
            126..65_536 => {
                frame.push(masked | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(masked | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0xff; if mask { 4 } else { 0 } + length]);
        frame
    }

    #[test]
    fn the_end_of_a_frame_is_found_however_the_bytes_come() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            for mask in [false, true] {
                let bytes = [frame(1, length, mask), frame(0x9, 0, mask), frame(2, 3, mask)].concat();
                let first = frame(1, length, mask).len();
                for step in [1, 2, 7, 8 * 1024, usize::MAX] {
                    let mut frames = Frames::default();
                    for chunk in bytes.chunks(step.min(bytes.len())) {
                        frames.pass(chunk);
                    }
                    assert!(frames.takes_close(), "{length} {mask} {step}");
                }
                for cut in [1, first - 1, first + 1, bytes.len() - 1] {
                    let mut frames = Frames::default();
                    frames.pass(&bytes[..cut]);
                    assert!(!frames.takes_close(), "{length} {mask}: {cut} bytes are not whole frames");
                }
            }
        }
    }

    #[test]
    fn after_a_close_frame_there_is_no_other() {
        let mut frames = Frames::default();
        frames.pass(&frame(CLOSE, 2, true));
        assert!(!frames.takes_close());
    }

    #[test]
    fn lengths_that_nobody_sends_are_no_fault() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3]);
        assert!(!frames.takes_close());
    }

    #[test]
    fn close_frames_are_those_of_the_standard() {
        let plain = close_frame(CloseCode::GoingAway, "bye", None);
        assert_eq!(plain, [0x88, 5, 0x03, 0xe9, b'b', b'y', b'e']);
        let masked = close_frame(CloseCode::PolicyViolation, "", Some([1, 2, 3, 4]));
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xf0 ^ 2]);
    }
}
