use super::*;

/// The preface, and settings.
fn begun() -> KeptHeads {
    let mut heads = KeptHeads::new();
    heads.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert_eq!(heads.bytes(), 0);
    heads
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// `:path: /`, kept.
const PATH: &[u8] = &[0x44, 1, b'/'];

/// A field of 1,000 bytes that is not kept.
fn filler() -> Vec<u8> {
    [&[0, 1, b'x', 0x7f, 0xe5, 0x06][..], &[b'y'; 996]].concat()
}

#[test]
fn an_entry_counts_what_came_since_the_last_one() {
    let mut heads = begun();
    heads.read(&frame(HEADERS, 4, &[PATH, &filler()].concat()));
    let first = heads.bytes();
    assert!(first < 64, "{first}: what stands behind it is the next one's");
    heads.read(&frame(HEADERS, 4, PATH));
    let second = heads.bytes();
    assert!((1_000..1_100).contains(&second), "{second}");
    // Of what is no head, no more than a buffer holds.
    heads.read(&frame(0, 0, &[b'z'; 16_000]));
    heads.read(&frame(0, 0, &[b'z'; 16_000]));
    assert_eq!(heads.bytes(), second);
    heads.read(&frame(HEADERS, 4, PATH));
    assert!((8_192..8_300).contains(&(heads.bytes() - second)), "{}", heads.bytes());
}

#[test]
fn what_has_no_entry_or_is_copied_keeps_nothing() {
    for block in [
        &[0x04, 1, b'/'][..],
        &[0x14, 1, b'/'],
        &[0x84],
        // `:method`, `accept`, and names that are written out.
        &[0x42, 1, b'M'],
        &[0x53, 1, b'a'],
        &[0x40, 1, b'x', 1, b'y'],
        &[0x40, 0x82, 0xf2, 0xb2, 1, b'y'],
    ] {
        let mut heads = begun();
        heads.read(&frame(HEADERS, 4, &[block, &filler(), block].concat()));
        assert_eq!(heads.bytes(), 0, "{block:?}");
    }
}

#[test]
fn every_way_to_write_what_is_kept() {
    for block in [
        &[0x41, 1, b'a'][..],
        &[0x44, 0],
        &[0x45, 0x81, 0x63],
        &[0x46, 1, b'x'],
        &[0x40, 5, b':', b'p', b'a', b't', b'h', 1, b'/'],
        // The same name, compressed.
        &[0x40, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 1, b'/'],
        // A name from the table itself.
        &[0x44, 1, b'/', 0x7e, 1, b'/'],
        &[0x20, 0x3f, 0xe1, 0x1f, 0x44, 1, b'/'],
    ] {
        let mut heads = begun();
        heads.read(&frame(HEADERS, 4, &[&filler(), block].concat()));
        assert!(heads.bytes() >= 1_000, "{block:?}");
    }
}

#[test]
fn what_is_pushed_out_is_kept_no_more() {
    let mut heads = begun();
    heads.read(&frame(HEADERS, 4, &[&filler(), PATH].concat()));
    // 38 bytes an entry: 107 of them are all.
    for _ in 0..106 {
        heads.read(&frame(HEADERS, 4, PATH));
        assert!(heads.bytes() >= 1_000);
    }
    heads.read(&frame(HEADERS, 4, PATH));
    assert!(heads.bytes() < 1_000);
    heads.read(&frame(HEADERS, 4, &[0x20]));
    assert_eq!(heads.bytes(), 0, "a table of no size");
    heads.read(&frame(HEADERS, 4, PATH));
    assert_eq!(heads.bytes(), 0);
    // 34 bytes an entry, and a compressed value of 15 characters (RFC 7541, appendix C.4.1): 57 with its name.
    let host = [0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    heads.read(&frame(HEADERS, 4, &[&[0x3f, 0x1a], &host[..]].concat()));
    assert!(heads.bytes() > 0, "57 bytes are enough");
    heads.read(&frame(HEADERS, 4, &[&[0x3f, 0x19], &host[..]].concat()));
    assert_eq!(heads.bytes(), 0, "56 are not");
}

#[test]
fn frames_in_pieces_padded_and_continued_are_the_same() {
    let block = [&filler(), PATH, &filler(), &[0x7e, 0x81, 0x63][..], &[0xbf]].concat();
    let (begin, end) = block.split_at(700);
    let lead = [&[4, 0x80, 0, 0, 0, 16][..], begin, &[0; 4]].concat();
    let whole = [frame(HEADERS, PADDED | PRIORITY, &lead), frame(CONTINUATION, 4, end)].concat();
    let mut at_once = begun();
    at_once.read(&whole);
    assert!(at_once.bytes() >= 2_000);
    for piece in [1, 2, 7, 100, 1_000] {
        let mut heads = begun();
        whole.chunks(piece).for_each(|piece| heads.read(piece));
        assert_eq!(heads.bytes(), at_once.bytes(), "in pieces of {piece}");
    }
    let mut plain = begun();
    plain.read(&frame(HEADERS, 4, &block));
    assert!(at_once.bytes() - plain.bytes() < 32, "padding is little");
}

/// The library resets such a stream and leaves its fields alone: nothing is pushed out by them.
#[test]
fn a_stream_that_depends_on_itself_is_passed_over() {
    let mut heads = begun();
    heads.read(&frame(HEADERS, 4, &[&filler(), PATH].concat()));
    let before = heads.bytes();
    heads.read(&frame(HEADERS, 4 | PRIORITY, &[0x80, 0, 0, 1, 16, 0x20]));
    assert_eq!(heads.bytes(), before);
    heads.read(&frame(HEADERS, 4 | PRIORITY, &[0x80, 0, 0, 3, 16, 0x20]));
    assert_eq!(heads.bytes(), 0);
}

#[test]
fn nothing_that_comes_is_too_much() {
    for block in
        [&[0xff; 40][..], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff], &[0x7f, 0], &[0x40, 0xff, 0xff], &[0x3f, 0xff]]
    {
        let mut heads = begun();
        heads.read(&frame(HEADERS, PADDED | PRIORITY, &[255]));
        heads.read(&frame(HEADERS, PADDED, &[]));
        heads.read(&frame(HEADERS, 4, block));
        heads.read(&[0xff; 100]);
    }
}
