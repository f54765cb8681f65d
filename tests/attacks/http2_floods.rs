//! Floods of HTTP/2 frames (CVE-2023-44487, CVE-2024-27316 and their kin): what ends them, what they cost, who suffers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::alone;
use super::figures::{figure, long};
use super::others::Processes;
use crate::support::{
    App, CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Listening, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame, full, integer, request_fields,
};

const CONFIG: &str = "{access: {rules: [{prefix: /open, allow: anyone}]}, limits: {idleTimeout: 3s}}";
const ENHANCE_YOUR_CALM: u32 = 11;
const MIB: f64 = 1_048_576.0;

/// An application, and the requests that have come to it beside the others'.
async fn app() -> (App, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let app = App::handling(Listening::Http, move |request| {
        let path = request.uri().path().to_owned();
        if path != "/open/other" {
            count.fetch_add(1, Relaxed);
        }
        async move {
            match path.as_str() {
                "/open/other" => return Response::new(full("hello")),
                "/open/large" => {
                    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
                    let pieces = (0..1600).map(move |_| Ok(Frame::data(piece.clone())));
                    return Response::new(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync());
                }
                _ => {}
            }
            drop(request.into_body().collect().await);
            // Long enough to be reset meanwhile.
            sleep(Duration::from_millis(100)).await;
            Response::new(full("hello"))
        }
    });
    (app.await, reached)
}

/// A connection that sends without looking; what comes is read beside it, or not at all.
struct Flood {
    write: WriteHalf<TlsStream<TcpStream>>,
    reading: Option<tokio::task::JoinHandle<Seen>>,
    unread: Option<ReadHalf<TlsStream<TcpStream>>>,
    closed: Arc<AtomicBool>,
    next: u32,
}

/// What the other side said until it closed.
#[derive(Debug, Default)]
struct Seen {
    /// The code, and what it is explained with.
    goaway: Option<(u32, String)>,
    resets: usize,
    frames: usize,
}

impl Flood {
    async fn connect(client: &Client, settings: &[u8]) -> Self {
        let stream = client.http2().tls_stream().await.expect("a handshake");
        let (read, write) = split(stream);
        let mut flood = Self { write, reading: None, unread: Some(read), closed: Arc::default(), next: 1 };
        flood.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await;
        flood
    }

    async fn reading(client: &Client) -> Self {
        let mut flood = Self::connect(client, &[]).await;
        let read = flood.unread.take().expect("nobody reads yet");
        let closed = Arc::clone(&flood.closed);
        flood.reading = Some(tokio::spawn(async move {
            let seen = Seen::read(read).await;
            closed.store(true, Relaxed);
            seen
        }));
        flood
    }

    /// `false`: the other side has closed, or takes nothing any more.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        if self.closed.load(Relaxed) {
            return false;
        }
        let write = async {
            self.write.write_all(bytes).await?;
            self.write.flush().await
        };
        matches!(timeout(Duration::from_secs(2), write).await, Ok(Ok(())))
    }

    fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// In words: what ended it.
    async fn end(self) -> String {
        let Some(mut reading) = self.reading else { return "its answers were not read".to_owned() };
        let Ok(seen) = timeout(Duration::from_secs(2), &mut reading).await else {
            reading.abort();
            return "nothing".to_owned();
        };
        match seen.expect("no panic") {
            Seen { goaway: Some((ENHANCE_YOUR_CALM, why)), .. } => format!("GOAWAY ENHANCE_YOUR_CALM ({why})"),
            Seen { goaway: Some((code, why)), .. } => format!("GOAWAY {code} ({why})"),
            Seen { resets, .. } => format!("closed, {resets} streams reset"),
        }
    }
}

impl Seen {
    async fn read(mut stream: ReadHalf<TlsStream<TcpStream>>) -> Self {
        let (mut seen, mut buffer) = (Self::default(), BytesMut::new());
        loop {
            while buffer.len() >= 9 {
                let length = u32::from_be_bytes([0, buffer[0], buffer[1], buffer[2]]) as usize;
                if buffer.len() < 9 + length {
                    break;
                }
                let mut whole = buffer.split_to(9 + length);
                seen.frames += 1;
                match whole[3] {
                    GOAWAY => {
                        whole.advance(13);
                        let code = whole.get_u32();
                        seen.goaway = Some((code, String::from_utf8_lossy(&whole).into_owned()));
                    }
                    RST_STREAM => seen.resets += 1,
                    _ => {}
                }
            }
            if !stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                return seen;
            }
        }
    }
}

/// Floods from a thread of its own while the others are measured; tells what it came to.
async fn endure<F, R>(what: &str, most_mib: f64, attack: F) -> (String, usize)
where
    F: FnOnce(Client, String) -> R + Send + 'static,
    R: Future<Output = String>,
{
    let (app, reached) = app().await;
    let mut processes = Processes::start(&app, CONFIG, "/open/other").await;
    let (client, token) = (processes.attacked.client(), processes.token.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(attack(client, token))
    });
    processes.rounds_until(|| thread.is_finished()).await;
    let ended = thread.join().expect("no panic");
    processes.tell(what);
    let peak = processes.peak_growth() as f64 / MIB;
    let reached = reached.load(Relaxed);
    figure(
        &format!("{what}: ended by"),
        format!(
            "{ended}; {reached} requests reached the application, {peak:.1} MiB more at most, {} ms of processor",
            processes.cpu().as_millis()
        ),
    );
    assert!(peak < most_mib, "{what}: {peak} MiB");
    processes.nothing_is_left(Duration::ZERO).await;
    (ended, reached)
}

fn request(path: &str, token: &str) -> Vec<u8> {
    let mut block = request_fields(path);
    if !token.is_empty() {
        block.extend(fields(&[("authorization", &format!("Bearer {token}"))]));
    }
    block
}

#[tokio::test]
async fn rapid_resets() {
    let _alone = alone().await;
    for authenticated in [false, true] {
        let what = if authenticated { "50,000 streams reset, with a token" } else { "50,000 streams reset, open" };
        let (ended, reached) = endure(what, 32.0, move |client, token| async move {
            let block = if authenticated { request("/closed", &token) } else { request("/open", "") };
            let mut flood = Flood::reading(&client).await;
            for _ in 0..500 {
                let mut burst = Vec::new();
                for _ in 0..100 {
                    let stream = flood.stream();
                    burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
                    burst.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
                }
                if !flood.send(&burst).await {
                    break;
                }
            }
            flood.end().await
        })
        .await;
        assert!(ended != "nothing", "{ended}");
        assert!(reached < 1000, "{reached} requests reached the application");
    }
}

/// Each request is taken up before it is reset: the library has no bound for that.
#[tokio::test]
async fn patient_resets() {
    let _alone = alone().await;
    let (ended, reached) = endure("streams reset once they are served", 32.0, |client, _| async move {
        let mut flood = Flood::reading(&client).await;
        for _ in 0..if long() { 1000 } else { 150 } {
            // So few that the library's own bound, on what comes in one read, is not reached.
            let streams: Vec<_> = (0..10).map(|_| flood.stream()).collect();
            let block = request("/open", "");
            let open = streams.iter().flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, *stream, &block));
            if !flood.send(&open.collect::<Vec<_>>()).await {
                break;
            }
            sleep(Duration::from_millis(40)).await;
            let reset = streams.iter().flat_map(|stream| frame(RST_STREAM, 0, *stream, &[0, 0, 0, 8]));
            if !flood.send(&reset.collect::<Vec<_>>()).await {
                break;
            }
        }
        flood.end().await
    })
    .await;
    assert!(ended != "nothing", "{ended}");
    assert!(reached < 1200, "{reached} requests reached the application");
}

/// Sends the same again and again, up to so many bytes.
async fn repeat(mut flood: Flood, opening: Vec<u8>, piece: Vec<u8>, most: usize) -> String {
    flood.send(&opening).await;
    let mut sent = 0;
    while sent < most && flood.send(&piece).await {
        sent += piece.len();
    }
    format!("{} after {:.1} MiB", flood.end().await, sent as f64 / MIB)
}

#[tokio::test]
async fn floods_of_small_frames() {
    let _alone = alone().await;
    let most = if long() { 64 << 20 } else { 4 << 20 };
    let post = fields(&[(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/open")]);
    let open = move |flags| frame(HEADERS, flags, 1, &post);
    let small = fields(&[("x-flood", &"y".repeat(200))]).repeat(60);
    for (what, reads, opening, piece, must_end) in [
        ("CONTINUATION without end", true, open(0), frame(CONTINUATION, 0, 1, &small), true),
        ("empty CONTINUATION without end", true, open(0), frame(CONTINUATION, 0, 1, &[]), true),
        ("empty DATA without end", true, open(END_HEADERS), frame(DATA, 0, 1, &[]), true),
        ("SETTINGS, answers unread", false, vec![], frame(SETTINGS, 0, 0, &[]), false),
        ("PING, answers unread", false, vec![], frame(PING, 0, 0, &[7; 8]), false),
        ("SETTINGS, answers read", true, vec![], frame(SETTINGS, 0, 0, &[]), false),
        ("PING, answers read", true, vec![], frame(PING, 0, 0, &[7; 8]), false),
        ("PRIORITY", true, vec![], frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]), false),
        ("WINDOW_UPDATE", true, open(END_HEADERS), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), false),
    ] {
        // What is not read fills the system's buffers first.
        let most = if reads { most } else { 256 << 20 };
        let piece = piece.repeat((16 * 1024 / piece.len()).max(1));
        let (ended, _) = endure(what, 16.0, move |client, _| async move {
            let flood = if reads { Flood::reading(&client).await } else { Flood::connect(&client, &[]).await };
            repeat(flood, opening, piece, most).await
        })
        .await;
        assert!(reads || !ended.contains(" 256.0 MiB"), "{what}: {ended}");
        assert!(!must_end || !ended.starts_with("nothing"), "{what}: {ended}");
    }
}

/// An entry of the compression's dynamic table, small to name and large to unpack (CVE-2016-6581).
#[tokio::test]
async fn bombs_of_compressed_heads() {
    let _alone = alone().await;
    let (ended, reached) = endure("100 heads of 60 MiB in 16 KiB each", 32.0, |client, _| async move {
        let mut ended = String::new();
        for _ in 0..100 {
            let mut flood = Flood::reading(&client).await;
            let value = "v".repeat(3900);
            let mut block = request("/open", "");
            // A literal with incremental indexing, then its index (62) many times.
            block.extend([&[0x40, 1][..], b"x", &integer(value.len(), 7), value.as_bytes()].concat());
            block.extend(vec![0x80 | 62; 16_000 - block.len()]);
            flood.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
            ended = flood.end().await;
        }
        ended
    })
    .await;
    assert!(ended != "nothing", "{ended}");
    assert_eq!(reached, 0);
}

/// Many answers, no window, or one that holds a byte: bounded for each connection, and ended after `idleTimeout`.
#[tokio::test]
async fn windows_that_never_open() {
    let _alone = alone().await;
    for window in if long() { vec![0_u8, 1] } else { vec![1] } {
        let what = format!("4 connections with 128 answers of 100 MiB each, into windows of {window}");
        let (ended, _) = endure(&what, 4.0 * 32.0, move |client, _| async move {
            let mut floods = Vec::new();
            for _ in 0..4 {
                let mut flood = Flood::connect(&client, &[0, 4, 0, 0, 0, window]).await;
                let block = request("/open/large", "");
                for _ in 0..128 {
                    let stream = flood.stream();
                    flood.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await;
                }
                floods.push(flood);
            }
            let mut resets = 0;
            for mut flood in floods {
                let read = flood.unread.take().expect("nobody reads yet");
                let seen = timeout(Duration::from_secs(15), Seen::read(read)).await.expect("the end of the connection");
                resets += seen.resets;
            }
            format!("{resets} resets")
        })
        .await;
        assert_eq!(ended, "512 resets");
    }
}

#[tokio::test]
async fn what_is_announced_holds() {
    let _alone = alone().await;
    let (app, _) = app().await;
    let processes = Processes::start(&app, CONFIG, "/open/other").await;
    let mut frames = crate::support::Frames::connect(&processes.attacked.client()).await;
    let settings = frames.next_of(SETTINGS).await.expect("settings");
    let setting = |id: u16| {
        let all = settings.payload.chunks(6).map(|pair| ((&pair[..2]).get_u16(), (&pair[2..]).get_u32()));
        all.clone().find(|(known, _)| *known == id).map(|(_, value)| value)
    };
    let (streams, list) = (setting(3), setting(6));
    figure("announced: concurrent streams, bytes of a head", format!("{streams:?}, {list:?}"));
    assert_eq!((streams, list), (Some(128), Some(65536)));
    let block = request("/open", "");
    let burst: Vec<_> = (0..150).flat_map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block)).collect();
    frames.send(&burst).await;
    let (mut refused, mut served) = (0, 0);
    while refused + served < 150 {
        let next = frames.next().await.expect("the connection goes on");
        match next.kind {
            // REFUSED_STREAM: it may be sent again.
            RST_STREAM => {
                assert_eq!(next.payload, [0, 0, 0, 7]);
                refused += 1;
            }
            _ if next.stream > 0 && next.flags & END_STREAM != 0 => served += 1,
            _ => {}
        }
    }
    assert_eq!((served, refused), (128, 22));
}
