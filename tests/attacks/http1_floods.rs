//! Floods within HTTP/1.1: thousands of requests in one write, bodies in crumbs, framing without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::time::timeout;

use super::alone;
use super::figures::{figure, long};
use super::others::Processes;
use crate::support::{App, Client, Listening, full};

const CONFIG: &str = "access: {rules: [{prefix: /open, allow: anyone}]}";
const MIB: f64 = 1_048_576.0;
const POST: &str = "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends pieces until there are no more or nobody takes them; the statuses of the answers, and whether all was taken.
async fn flood(client: Client, pieces: impl Iterator<Item = String>) -> (Vec<u16>, bool) {
    let (mut read, mut write) = split(client.tls_stream().await.expect("a handshake"));
    let sending = Arc::new(AtomicBool::new(true));
    let still_sending = Arc::clone(&sending);
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        // Until the other side closes, or has nothing more to say.
        loop {
            // An answer may wait for the last piece.
            let was_sending = still_sending.load(Relaxed);
            let patience = Duration::from_secs(if all.is_empty() { 20 } else { 2 });
            match timeout(patience, read.read_buf(&mut all)).await {
                Ok(Ok(1..)) => {}
                Err(_) if was_sending => {}
                _ => break,
            }
        }
        let text = String::from_utf8_lossy(&all).into_owned();
        text.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer[..3].parse().ok()).collect::<Vec<u16>>()
    });
    let mut taken = true;
    for piece in pieces {
        let written = async {
            write.write_all(piece.as_bytes()).await?;
            write.flush().await
        };
        if !matches!(timeout(Duration::from_secs(5), written).await, Ok(Ok(()))) {
            taken = false;
            break;
        }
    }
    sending.store(false, Relaxed);
    (reading.await.expect("no panic"), taken)
}

async fn endure(what: &str, pieces: impl Iterator<Item = String> + Send + 'static) -> (Vec<u16>, bool) {
    let app = App::handling(Listening::Http, |request| async move {
        // Piece by piece: to put millions of them together takes longer than the flood.
        let (mut body, mut bytes) = (request.into_body(), 0);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes += frame.data_ref().map_or(0, bytes::Bytes::len),
                Err(_) => return Response::new(full("broken")),
            }
        }
        Response::new(full(bytes.to_string()))
    })
    .await;
    let mut processes = Processes::start(&app, CONFIG, "/open").await;
    let client = processes.attacked.client();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(flood(client, pieces))
    });
    processes.rounds_until(|| thread.is_finished()).await;
    let (statuses, taken) = thread.join().expect("no panic");
    processes.tell(what);
    let peak = processes.peak_growth() as f64 / MIB;
    let last = statuses.last().copied();
    figure(
        &format!("{what}: came to"),
        format!(
            "{} answers, the last {last:?}, {}; {peak:.1} MiB more at most, {} ms of processor",
            statuses.len(),
            if taken { "all taken" } else { "cut off" },
            processes.cpu().as_millis()
        ),
    );
    assert!(peak < 16.0, "{what}: {peak} MiB");
    processes.nothing_is_left(Duration::ZERO).await;
    (statuses, taken)
}

#[tokio::test]
async fn requests_in_one_write() {
    let _alone = alone().await;
    let count = if long() { 100_000 } else { 10_000 };
    let request = "GET /open HTTP/1.1\r\nHost: a\r\n\r\n";
    let (statuses, _) = endure("10,000 requests in one write", std::iter::once(request.repeat(count))).await;
    assert_eq!((statuses.len(), statuses.iter().all(|status| *status == 200)), (count, true));
    // Those that are refused wait for nothing that would let others in between.
    let request = "GET /closed HTTP/1.1\r\nHost: a\r\n\r\n";
    let (statuses, _) = endure("10,000 refused requests in one write", std::iter::once(request.repeat(count))).await;
    assert_eq!((statuses.len(), statuses.iter().all(|status| *status == 401)), (count, true));
}

#[tokio::test]
async fn framing_without_end() {
    let _alone = alone().await;
    let most = if long() { 4096 } else { 64 };
    let with = move |piece: String, end: &'static str| {
        let pieces = std::iter::repeat_n(piece, most);
        std::iter::once(POST.to_owned()).chain(pieces).chain(std::iter::once(end.to_owned()))
    };
    let (statuses, taken) = endure("chunks of a byte", with("1\r\nx\r\n".repeat(2000), "0\r\n\r\n")).await;
    assert_eq!((statuses, taken), (vec![200], true), "small is no fault");
    let extension = format!("1;{}\r\nx\r\n", "e".repeat(8000));
    let (statuses, _) = endure("chunk extensions without end", with(extension, "0\r\n\r\n")).await;
    assert!(statuses.iter().all(|status| *status >= 400), "{statuses:?}");
    let trailers = "0\r\n".to_owned() + &"X-Trailer: y\r\n".repeat(500);
    let line =
        std::iter::once(POST.to_owned() + &trailers).chain(std::iter::repeat_n("X-Trailer: y\r\n".repeat(500), most));
    let (statuses, _) = endure("trailers without end", line).await;
    assert!(statuses.iter().all(|status| *status >= 400), "{statuses:?}");
}
