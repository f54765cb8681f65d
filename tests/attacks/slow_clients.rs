//! Crowds that take their time: heads and bodies a byte a second, handshakes that never end, answers that nobody reads.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::alone;
use super::figures::{figure, long};
use super::others::{Processes, least_rounds};
use crate::support::{App, Client, Listening, Wire, eventually, full};

const PIECE: usize = 64 * 1024;
const PIECES: usize = 1600;

fn crowd(full: usize) -> usize {
    if long() { full } else { 300.min(full) }
}

/// Time for a head, a handshake, a login's body, and between bytes.
fn allowed() -> Duration {
    Duration::from_secs(if long() { 20 } else { 4 })
}

fn config() -> String {
    let seconds = allowed().as_secs();
    format!(
        "{{access: {{rules: [{{prefix: /open, allow: anyone}}]}}, limits: {{connections: 9000, headerTimeout: {seconds}s, \
         idleTimeout: {seconds}s, handshakeTimeout: {seconds}s}}}}"
    )
}

/// `/open/large` is 100 MiB; anything else is read whole and answered with `hello`.
async fn app() -> App {
    App::handling(Listening::Http, |request| async move {
        if request.uri().path() == "/open/large" {
            let piece = Bytes::from(vec![b'x'; PIECE]);
            let pieces = (0..PIECES).map(move |_| Ok(Frame::data(piece.clone())));
            return Response::new(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync());
        }
        drop(request.into_body().collect().await);
        Response::new(full("hello"))
    })
    .await
}

/// One client of a crowd; counts itself once it is there.
async fn trickle(client: Client, first: String, byte: u8, bytes: usize, there: Arc<AtomicUsize>) {
    let mut wire = client.wire().await;
    wire.send(first).await;
    there.fetch_add(1, Relaxed);
    // Not all at the same moment.
    sleep(Duration::from_millis((there.load(Relaxed) * 37 % 1000) as u64)).await;
    for _ in 0..bytes {
        sleep(Duration::from_secs(1)).await;
        wire.send([byte]).await;
    }
    // Until the other side has had enough.
    while tokio::io::AsyncReadExt::read_u8(&mut wire.stream).await.is_ok() {}
}

/// Lets a crowd in, measures what the others see of it, and waits until it has been thrown out.
async fn endure(
    what: &str,
    count: usize,
    most_each: u64,
    client: impl Fn(&Processes, Arc<AtomicUsize>) -> JoinHandle<()>,
) {
    let app = app().await;
    let mut processes = Processes::start(&app, &config(), "/open").await;
    let there = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut crowd = Vec::new();
    for number in 0..count {
        crowd.push(client(&processes, Arc::clone(&there)));
        // No more handshakes at once than the system queues.
        while number + 1 > there.load(Relaxed) + 50 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    eventually("all are there", async || (there.load(Relaxed) == count).then_some(())).await;
    let arrived = began.elapsed();
    let each = processes.growth() / count as u64;
    let most = processes.connections().await;
    for _ in 0..least_rounds().max(5) {
        processes.round().await;
    }
    let each = each.max(processes.growth() / count as u64);
    processes.tell(&format!("{count} clients {what}"));
    figure(
        &format!("{count} clients {what}: memory of each"),
        format!(
            "{:.1} KiB ({most} connected at once, {:.1} s until all were there)",
            each as f64 / 1024.0,
            arrived.as_secs_f64()
        ),
    );
    assert!(most >= count * 9 / 10 || arrived > allowed() / 2, "{most} of {count} are there at once");
    assert!(each <= most_each, "{each} bytes for each");
    // A body has as long again when its last byte has come.
    processes.nothing_is_left(2 * allowed()).await;
    figure(
        &format!("{count} clients {what}: all gone"),
        format!("{:.1} s after the first came", began.elapsed().as_secs_f64()),
    );
    for client in crowd {
        client.abort();
    }
}

#[tokio::test]
async fn heads_a_byte_a_second() {
    let _alone = alone().await;
    endure("with a head a byte a second", crowd(2000), 64 << 10, |processes, there| {
        let first = "GET /open HTTP/1.1\r\nHost: a\r\nX-Slow: ".to_owned();
        tokio::spawn(trickle(processes.attacked.client(), first, b'x', 60, there))
    })
    .await;
}

/// A request goes on as long as its bytes come; then it has its time.
#[tokio::test]
async fn bodies_a_byte_a_second() {
    let _alone = alone().await;
    endure("with an authenticated body a byte a second", crowd(2000), 64 << 10, |processes, there| {
        let token = &processes.token;
        let first =
            format!("POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 999\r\n\r\n");
        tokio::spawn(trickle(processes.attacked.client(), first, b'x', allowed().as_secs() as usize, there))
    })
    .await;
}

#[tokio::test]
async fn logins_a_byte_a_second() {
    let _alone = alone().await;
    endure("with a login a byte a second", crowd(2000), 64 << 10, |processes, there| {
        let first = "POST /authorize HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n{".to_owned();
        tokio::spawn(trickle(processes.attacked.client(), first, b' ', 60, there))
    })
    .await;
}

#[tokio::test]
async fn handshakes_that_never_end() {
    let _alone = alone().await;
    endure("with half a handshake", crowd(2000), 64 << 10, |processes, there| {
        let client = processes.attacked.client();
        tokio::spawn(async move {
            let mut wire = Wire::new(client.tcp_stream().await.expect("a connection"));
            wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").await;
            there.fetch_add(1, Relaxed);
            while tokio::io::AsyncReadExt::read_u8(&mut wire.stream).await.is_ok() {}
        })
    })
    .await;
}

/// Pages that the system's TCP buffers take, of the whole machine (proc(5), `net/sockstat`).
fn kernel_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let pages =
        text.lines().find_map(|line| line.strip_prefix("TCP:")?.rsplit_once("mem ")?.1.trim().parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// The most bytes that the system holds for the peer of any connection to this port: sent, and not yet taken (proc(5),
/// `net/tcp`).
fn most_held(port: u16) -> u64 {
    let text = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = format!(":{port:04X}");
    let held = text.lines().filter_map(|line| {
        let columns: Vec<_> = line.split_ascii_whitespace().collect();
        let (local, queues) = (columns.get(1)?, columns.get(4)?);
        let (unsent, _) = queues.split_once(':')?;
        local.ends_with(&port).then(|| u64::from_str_radix(unsent, 16).ok())?
    });
    held.max().unwrap_or(0)
}

#[tokio::test]
async fn answers_that_nobody_reads() {
    let _alone = alone().await;
    let before = kernel_bytes();
    let worst = Arc::new(AtomicU64::new(0));
    let held = Arc::new(AtomicU64::new(0));
    let count = crowd(500);
    endure("that do not read their 100 MiB", count, 512 << 10, |processes, there| {
        let client = processes.attacked.client();
        let (worst, held) = (Arc::clone(&worst), Arc::clone(&held));
        let listening = processes.attacked.events("listening");
        let address: SocketAddr = listening[0]["listen"].as_str().expect("an address").parse().expect("an address");
        tokio::spawn(async move {
            let mut wire = client.wire().await;
            wire.send("GET /open/large HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let is_first = there.fetch_add(1, Relaxed) == 0;
            for _ in 0..allowed().as_secs() + 2 {
                sleep(Duration::from_secs(1)).await;
                if is_first {
                    worst.fetch_max(kernel_bytes(), Relaxed);
                    held.fetch_max(most_held(address.port()), Relaxed);
                }
            }
        })
    })
    .await;
    let each = worst.load(Relaxed).saturating_sub(before) / count as u64;
    figure(
        &format!("{count} clients that do not read: the system's buffers for each, both connections, both ends"),
        format!("{} KiB", each / 1024),
    );
    let held = held.load(Relaxed);
    let what = format!("{count} clients that do not read: the most that the system holds for one of them");
    figure(&what, format!("{} KiB", held / 1024));
    // Without a bound it would be what the system allows, 4 MiB by default.
    assert!((1 << 16..=2 << 20).contains(&held), "{held} bytes");
}
