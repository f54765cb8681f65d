//! Clients that neither go on nor go away, in the middle of a request: `limits.idleTimeout` is for them as well.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::sleep;

use super::*;

const LIMITS: &str = "limits: {idleTimeout: 1s}";
const PIECE: usize = 64 * 1024;
/// More than the system's buffers hold on a way of one machine.
const PIECES: usize = 1600;

/// `/large` is 100 MiB; `/body` answers with the bytes that the request had; anything else is `hello`.
async fn app(listening: Listening<'_>) -> App {
    App::handling(listening, |request| async move {
        match request.uri().path() {
            "/open/large" => {
                let piece = Bytes::from(vec![b'x'; PIECE]);
                let pieces = (0..PIECES).map(move |_| Ok(Frame::data(piece.clone())));
                Response::new(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync())
            }
            "/open/body" => match request.into_body().collect().await {
                Ok(body) => Response::new(full(body.to_bytes().len().to_string())),
                Err(_) => Response::new(full("broken")),
            },
            _ => Response::new(full("hello")),
        }
    })
    .await
}

async fn nothing_is_left(vestibule: &Vestibule, connections: f64) {
    eventually("nothing is left at the application", async || {
        let metrics = vestibule.metrics().await;
        let (in_flight, open) = (metrics.value("vestibule_requests_in_flight"), metrics.value("vestibule_connections"));
        (in_flight == 0.0 && open == connections).then_some(())
    })
    .await;
}

async fn in_flight(vestibule: &Vestibule) {
    eventually("a request at the application", async || {
        (vestibule.metrics().await.value("vestibule_requests_in_flight") == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let app = app(Listening::Http).await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(LIMITS).start().await;
    let mut wire = vestibule.client().wire().await;
    wire.send("GET /open/large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    in_flight(&vestibule).await;
    nothing_is_left(&vestibule, 0.0).await;
    let mut frames = Frames::connect(&vestibule.client()).await;
    let mut opening = frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    opening.extend(frame(SETTINGS, 0, 0, &[0, 4, 0x70, 0, 0, 0]));
    opening.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_fields("/open/large")));
    frames.send(&opening).await;
    in_flight(&vestibule).await;
    nothing_is_left(&vestibule, 0.0).await;
}

/// What waits in the system for a client is charged to the pod: without a bound 4 MB for each.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_holds_little_for_a_client_that_reads_nothing() {
    let app = app(Listening::Http).await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut wire = vestibule.client().wire().await;
    let port = vestibule.listen.port();
    wire.send("GET /open/large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut before, mut times) = (0, 0);
    let held = eventually("no more is sent", async || {
        let now = unsent(port);
        times = if now > 0 && now == before { times + 1 } else { 0 };
        before = now;
        sleep(Duration::from_millis(50)).await;
        (times == 20).then_some(now)
    })
    .await;
    assert!(held < 2 << 20, "{held} bytes");
}

/// Bytes that the system holds to be sent from a port (proc(5), `tx_queue`).
#[cfg(target_os = "linux")]
fn unsent(port: u16) -> u64 {
    let text = std::fs::read_to_string("/proc/self/net/tcp").expect("a table of connections");
    let queued = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok()?;
        let queue = u64::from_str_radix(fields.nth(2)?.split_once(':')?.0, 16).ok()?;
        (local == port).then_some(queue)
    };
    text.lines().filter_map(queued).sum()
}

/// The stream is ended and the connection goes on.
#[tokio::test]
async fn a_window_that_is_never_opened_ends_its_stream() {
    let app = app(Listening::Http).await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(LIMITS).start().await;
    let mut frames = Frames::connect(&vestibule.client()).await;
    let mut opening = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    opening.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_fields("/open/large")));
    frames.send(&opening).await;
    in_flight(&vestibule).await;
    // Others keep the connection from being idle.
    let mut other = 3;
    let reset = loop {
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, other, &request_fields("/open"))).await;
        frames.send(&frame(WINDOW_UPDATE, 0, other, &1000_u32.to_be_bytes())).await;
        let next = loop {
            let next = frames.next().await.expect("the connection goes on");
            if next.kind == RST_STREAM || (next.stream == other && next.flags & END_STREAM != 0) {
                break next;
            }
        };
        if next.kind == RST_STREAM {
            break next;
        }
        assert!(other < 1000, "it is never ended");
        other += 2;
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(reset.stream, 1);
    nothing_is_left(&vestibule, 1.0).await;
}

/// However slowly, a client that goes on is served to the end.
#[tokio::test]
async fn a_slow_client_is_no_stalled_one() {
    let app = app(Listening::Http).await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(LIMITS).start().await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let mut connection = client.connect().await;
        let slow = futures_util::stream::unfold(0, |sent| async move {
            sleep(Duration::from_millis(400)).await;
            (sent < 6).then(|| (Ok(Frame::data(Bytes::from_static(b"x"))), sent + 1))
        });
        let answer = connection.send(post("/open/body").stream(StreamBody::new(slow).boxed_unsync())).await;
        assert_eq!((answer.status, answer.text()), (200, "6"));
        let mut answer = connection.begin(get("/open/large")).await.expect("an answer");
        let mut read = 0;
        while let Some(frame) = within("a piece", answer.body_mut().frame()).await {
            let data = frame.expect("the whole answer").into_data().expect("no trailers");
            // Pauses that are shorter than the time allowed, and longer altogether.
            if read < 40 << 20 && (read + data.len()) >> 23 > read >> 23 {
                sleep(Duration::from_millis(500)).await;
            }
            read += data.len();
        }
        assert_eq!(read, PIECE * PIECES);
    }
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_answered_with_408() {
    for listening in [Listening::Http, Listening::H2c] {
        let app = app(listening).await;
        let vestibule = Setup::new().upstream(&app).config(OPEN).config(LIMITS).start().await;
        let mut wire = vestibule.client().wire().await;
        wire.send("POST /open/body HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhalf").await;
        let (head, body) = wire.answer("POST").await;
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((head.status(), body["status"].as_u64()), (408, Some(408)), "{app}");
        assert_eq!(wire.rest().await, b"", "{app}: what comes later is no request");
        let mut connection = vestibule.client().http2().connect().await;
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, _>>();
        let answer = connection.send(post("/open/body").stream(StreamBody::new(never).boxed_unsync())).await;
        assert_eq!((answer.status, answer.json()["status"].as_u64()), (408, Some(408)), "{app}");
        assert_eq!(connection.send(get("/open")).await.text(), "hello", "{app}: the connection goes on");
        drop((wire, connection));
        nothing_is_left(&vestibule, 0.0).await;
        let metrics = vestibule.metrics().await;
        assert_eq!(metrics.value("vestibule_requests_total{outcome=\"bad_request\",code=\"408\"}"), 2.0, "{app}");
        assert_eq!(metrics.counted("vestibule_upstream_errors_total"), [], "{app}");
    }
}

/// Streams of gRPC are silent for as long as they like; so is a client while the application says something.
#[tokio::test]
async fn a_silent_stream_may_be_a_call_that_goes_on() {
    let app = app(Listening::H2c).await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(LIMITS).start().await;
    let (sender, pieces) = open_body();
    let mut connection = vestibule.client().http2().connect().await;
    let call = post("/open/body").header("content-type", "application/grpc+proto").stream(pieces);
    let call = tokio::spawn(async move { connection.send(call).await });
    sleep(Duration::from_millis(2500)).await;
    assert!(!call.is_finished());
    drop(sender);
    assert_eq!(call.await.expect("no panic").text(), "0");

    let talking = App::handling(Listening::Http, |request| async move {
        let pieces = futures_util::stream::unfold(0, |sent| async move {
            sleep(Duration::from_millis(400)).await;
            (sent < 6).then(|| (Ok(Frame::data(Bytes::from_static(b"x"))), sent + 1))
        });
        tokio::spawn(request.into_body().collect());
        Response::new(StreamBody::new(pieces).boxed_unsync())
    });
    let talking = talking.await;
    let vestibule = Setup::new().upstream(&talking).config(OPEN).config(LIMITS).start().await;
    let (_sender, pieces) = open_body();
    let answer = vestibule.client().send(post("/open/body").stream(pieces)).await;
    assert_eq!(answer.text(), "xxxxxx");
}

/// A body that ends when the sender is dropped.
fn open_body() -> (tokio::sync::oneshot::Sender<()>, UnsyncBody) {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let end = futures_util::stream::once(async {
        drop(receiver.await);
        Ok(Frame::data(Bytes::new()))
    });
    (sender, StreamBody::new(end).boxed_unsync())
}

type UnsyncBody = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;
