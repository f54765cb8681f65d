//! What a client can make a connection keep through the table of compressed heads (RFC 7541, section 2.3.2): entries of
//! a few bytes, each of which may hold the buffer that it came in.

use std::ops::Range;

use super::alone;
use super::figures::{figure, long};
use crate::support::{CONTINUATION, Client, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Setup, frame, integer};

/// Bytes of the largest frame that must be taken (RFC 9113, section 4.2).
const FRAME: usize = 16_384;
/// `:path: /` takes 38 of the table's 4,096 bytes (RFC 7541, section 4.1).
const ENTRIES: u32 = 4096 / 38;
/// A type that nobody knows: such frames are ignored (RFC 9113, section 5.5).
const UNKNOWN: u8 = 0xfa;

/// `:method: GET`, `:scheme: https` and `:authority: a`, of which nothing is kept, and `:path: /`, which is.
fn kept_path() -> Vec<u8> {
    vec![0x82, 0x87, 0x01, 1, b'a', 0x44, 1, b'/']
}

/// A field that is not kept, and fills the block up to so many bytes.
fn filled(mut block: Vec<u8>, bytes: usize) -> Vec<u8> {
    block.extend([0, 1, b'x']);
    let value = bytes - block.len() - 3;
    block.extend(integer(value, 7));
    block.resize(bytes, b'y');
    block
}

/// One request's frames.
type Request = fn(stream: u32) -> Vec<u8>;

fn small(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &kept_path())
}

fn large(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &filled(kept_path(), FRAME))
}

fn behind_large_frames(stream: u32) -> Vec<u8> {
    [frame(UNKNOWN, 0, 0, &[b'y'; FRAME]), small(stream)].concat()
}

/// As above, and then as much as makes the library begin another buffer, of which little is used.
fn behind_odd_frames(stream: u32) -> Vec<u8> {
    [frame(UNKNOWN, 0, 0, &[b'y'; FRAME]), frame(UNKNOWN, 0, 0, &[b'y'; FRAME / 2 + 8]), small(stream)].concat()
}

/// A method of many frames, and only then what is kept.
fn continued(stream: u32) -> Vec<u8> {
    let value = 6 * FRAME;
    let block = [vec![0x02], integer(value, 7), vec![b'A'; value], vec![0x87, 0x01, 1, b'a', 0x44, 1, b'/']].concat();
    let pieces: Vec<_> = block.chunks(FRAME).collect();
    let last = pieces.len() - 1;
    let frames = pieces.iter().enumerate().flat_map(|(number, piece)| {
        let (kind, first) = if number == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        frame(kind, if number == last { first | END_HEADERS } else { first }, stream, piece)
    });
    frames.collect()
}

/// Makes requests without a token, each of which is answered, and none of which answers a ping: what is asked to end so
/// does not. How many were answered before it was closed.
async fn ask(frames: &mut Frames, request: Request, numbers: Range<u32>) -> u32 {
    for number in numbers.clone() {
        let stream = 2 * number + 1;
        if !frames.send(&request(stream)).await {
            return number - numbers.start;
        }
        loop {
            let Some(next) = frames.take().await else { return number - numbers.start };
            if next.stream == stream && next.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    numbers.end - numbers.start
}

/// Connects so many times, and makes so many requests on each.
async fn crowd(client: &Client, count: u32, request: Request, requests: u32) -> Vec<Frames> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut frames = Frames::connect(client).await;
        assert_eq!(ask(&mut frames, request, 0..requests).await, requests);
        all.push(frames);
    }
    all
}

/// An entry in each of many large heads: what they keep is bounded, with clients that do not go when they are told to.
#[tokio::test]
async fn small_entries_of_large_heads() {
    let _alone = alone().await;
    let count = if long() { 200 } else { 20 };
    for (what, request, requests) in [
        ("heads of 16 KiB", large as Request, 46),
        ("small heads behind 16 KiB of what is ignored", behind_large_frames, 93),
        ("small heads behind 24 KiB of what is ignored", behind_odd_frames, 93),
        ("heads of 96 KiB", continued, 7),
    ] {
        let vestibule = Setup::new().config("workers: 2").start().await;
        let client = vestibule.client();
        // What the first connections need for good is not the others'.
        let mut all = crowd(&client, 10, small, 2).await;
        let begin = vestibule.resident();
        all.extend(crowd(&client, count, small, 2).await);
        let plain = vestibule.resident();
        let mut attackers = crowd(&client, count, request, requests).await;
        let attacked = vestibule.resident();
        let each = |from: u64, to: u64| to.saturating_sub(from) as f64 / f64::from(count) / 1024.0;
        let mut closed_after = 0;
        for frames in &mut attackers {
            let more = ask(frames, request, requests..ENTRIES).await;
            assert!(more < ENTRIES - requests, "{what}: it goes on");
            closed_after = closed_after.max(requests + more);
        }
        figure(
            &format!("{count} clients that fill the table with {what}: memory of each"),
            format!(
                "{:.0} KiB, an ordinary one {:.0} KiB; cut off after {closed_after} requests of {ENTRIES}",
                each(plain, attacked),
                each(begin, plain)
            ),
        );
        // 768 KiB are counted; up to half of each buffer is not, and the allocator adds a fifth.
        assert!(each(plain, attacked) < 2048.0, "{what}: {} KiB each", each(plain, attacked));
    }
}

/// A proper client is told to go, and nothing of what it asked for is lost.
#[tokio::test]
async fn who_fills_the_table_is_told_to_connect_anew() {
    let _alone = alone().await;
    let vestibule = Setup::new().config("workers: 2").start().await;
    let mut frames = Frames::connect(&vestibule.client()).await;
    let mut answered = 0;
    while frames.send(&large(2 * answered + 1)).await {
        let mut next = frames.next().await;
        while next.as_ref().is_some_and(|next| next.stream == 0 || next.flags & END_STREAM == 0) {
            if next.is_some_and(|next| next.kind == GOAWAY && next.payload[4..8] != [0; 4]) {
                panic!("it is told of a fault");
            }
            next = frames.next().await;
        }
        if next.is_none() {
            break;
        }
        answered += 1;
    }
    assert!((33..=34).contains(&answered), "512 KiB are {answered} heads of 16 KiB");
}
