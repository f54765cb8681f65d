//! Bodies as streams: large ones, slow ones, unread ones, and clients that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::time::timeout;

use super::*;

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 1024;
const MIB: f64 = 1_048_576.0;

/// Reads a body to its end and answers how many bytes it had, or sends a long one.
async fn long_app(listening: Listening<'_>) -> App {
    App::handling(listening, |request| async move {
        if request.uri().path() == "/down" {
            return Response::new(long_body(CHUNKS, CHUNK));
        }
        let mut body = request.into_body();
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        Response::new(full(bytes.to_string()))
    })
    .await
}

#[tokio::test]
async fn large_bodies_pass_in_little_memory() {
    for listening in [Listening::Http, Listening::H2c] {
        let app = long_app(listening).await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        let resident = async || vestibule.metrics().await.value("process_resident_memory_bytes") / MIB;
        for client in [vestibule.client(), vestibule.client().http2()] {
            let mut connection = client.connect().await;
            let mut response = connection.begin(get("/down").bearer(&token)).await.expect("an answer");
            let mut bytes = 0;
            let mut most: f64 = 0.0;
            while let Some(data) = next(response.body_mut()).await {
                bytes += data.len();
                if bytes % (8 * CHUNK) < data.len() && bytes % (128 * CHUNK) < 8 * CHUNK {
                    most = most.max(resident().await);
                }
            }
            assert_eq!(bytes, CHUNK * CHUNKS);
            let answer = connection.send(post("/up").bearer(&token).stream(long_body(CHUNKS, CHUNK))).await;
            assert_eq!(answer.text(), (CHUNK * CHUNKS).to_string());
            most = most.max(resident().await);
            assert!(most < 60.0, "{app}: {most} MiB for 64 MiB that only pass");
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_holds_the_application_back() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let app = App::raw(move |mut wire, _| {
        let sent = Arc::clone(&counted);
        async move {
            if wire.request().await.is_none() {
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
            let chunk = vec![b'x'; CHUNK];
            while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, &chunk).await.is_ok() {
                sent.fetch_add(CHUNK as u64, Relaxed);
            }
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        sent.store(0, Relaxed);
        let mut connection = client.connect().await;
        let response = connection.begin(get("/").bearer(&token)).await.expect("an answer");
        // It stops when nothing more is taken.
        let mut last = u64::MAX;
        eventually("the application is held back", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = sent.load(Relaxed);
            let stopped = now == last;
            last = now;
            (stopped && now > 0).then_some(())
        })
        .await;
        assert!(last < 64 << 20, "{last} bytes were taken for nobody");
        let memory = vestibule.metrics().await.value("process_resident_memory_bytes") / MIB;
        assert!(memory < 60.0, "{memory} MiB");
        drop(response);
        drop(connection);
        eventually("the request is over", async || {
            (vestibule.metrics().await.value("vestibule_requests_in_flight") == 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_body_that_the_application_does_not_read_holds_the_client_back() {
    let app = App::raw(|mut wire, _| async move {
        wire.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let chunk = Bytes::from(vec![b'x'; CHUNK]);
        let frames = futures_util::stream::iter((0..100_000).map(move |_| {
            counted.fetch_add(CHUNK, Relaxed);
            Ok::<_, Infallible>(Frame::data(chunk.clone()))
        }));
        let mut connection = client.connect().await;
        let call = post("/").bearer(&token).stream(StreamBody::new(frames).boxed_unsync());
        assert!(timeout(Duration::from_secs(2), connection.begin(call)).await.is_err(), "nobody answers");
        let taken = taken.load(Relaxed);
        assert!(taken < 64 << 20, "{taken} bytes were taken for nobody");
        let memory = vestibule.metrics().await.value("process_resident_memory_bytes") / MIB;
        assert!(memory < 60.0, "{memory} MiB");
    }
}

#[tokio::test]
async fn events_are_not_delayed() {
    for listening in [Listening::Http, Listening::H2c] {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let app = App::handling(listening, move |_| {
            let receiver = Arc::clone(&receiver);
            async move {
                let (events, body) = channel_body(1);
                tokio::spawn(async move {
                    let mut receiver = receiver.lock().await;
                    while let Some(event) = receiver.recv().await.filter(|event| *event != "end") {
                        if events.send(Frame::data(Bytes::from_static(event.as_bytes()))).await.is_err() {
                            return;
                        }
                    }
                });
                Response::builder().header("content-type", "text/event-stream").body(body).expect("a response")
            }
        })
        .await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        for client in [vestibule.client(), vestibule.client().http2()] {
            let mut connection = client.connect().await;
            // The head comes before any event.
            let mut response = connection.begin(get("/events").bearer(&token)).await.expect("an answer");
            assert_eq!(response.headers()["content-type"], "text/event-stream");
            for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
                let began = Instant::now();
                sender.send(event).expect("the application listens");
                assert_eq!(next(response.body_mut()).await.as_deref(), Some(event.as_bytes()));
                assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            }
            sender.send("end").expect("the application listens");
            assert_eq!(next(response.body_mut()).await, None);
        }
    }
}

#[tokio::test]
async fn a_request_body_passes_piece_by_piece() {
    for listening in [Listening::Http, Listening::H2c] {
        let app = App::handling(listening, echo).await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        // Both directions at once; an HTTP/1.1 client's library takes the answer while it sends, too.
        for client in [vestibule.client(), vestibule.client().http2()] {
            let (pieces, body) = channel_body(1);
            let mut connection = client.connect().await;
            pieces.send(Frame::data(Bytes::from_static(b"first"))).await.expect("a body that is read");
            let call = post("/").bearer(&token).stream(body);
            let mut response = connection.begin(call).await.expect("an answer");
            assert_eq!(next(response.body_mut()).await.as_deref(), Some(&b"first"[..]));
            for piece in [&b"second"[..], b"third"] {
                pieces.send(Frame::data(Bytes::from_static(piece))).await.expect("a body that is read");
                assert_eq!(next(response.body_mut()).await.as_deref(), Some(piece));
            }
            drop(pieces);
            assert_eq!(next(response.body_mut()).await, None);
        }
    }
}

#[tokio::test]
async fn trailers_of_an_answer_reach_the_client() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().expect("a value"));
    for listening in [Listening::Http, Listening::H2c] {
        let own = trailers.clone();
        let app = App::answering(listening, move |_| {
            let response = Response::builder().header("trailer", "x-sum");
            response.body(body(&["one", "two"], Some(own.clone()))).expect("a response")
        })
        .await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        for client in [vestibule.client(), vestibule.client().http2()] {
            let answer = client.send(get("/").bearer(&token).header("te", "trailers")).await;
            assert_eq!((answer.text(), answer.trailers.as_ref()), ("onetwo", Some(&trailers)), "{app}");
        }
        // Over HTTP/1.1 a client that did not ask for trailers may get none; the body is whole in any case.
        assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.text(), "onetwo");
    }
}

/// Tells, when it is dropped, that the application noticed.
struct Noticed(Arc<AtomicUsize>);

impl Drop for Noticed {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    for listening in [Listening::Http, Listening::H2c] {
        let begun = Arc::new(AtomicUsize::new(0));
        let noticed = Arc::new(AtomicUsize::new(0));
        let (counts, drops) = (Arc::clone(&begun), Arc::clone(&noticed));
        let app = App::handling(listening, move |_| {
            let noticed = Noticed(Arc::clone(&drops));
            counts.fetch_add(1, Relaxed);
            async move {
                let _noticed = noticed;
                std::future::pending().await
            }
        })
        .await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        // A connection that closes, over HTTP/1.1 and over HTTP/2; and a stream that is reset.
        let mut kept = vestibule.client().http2().connect().await;
        let mut expected = 0;
        for what in ["close", "close2", "reset", "body"] {
            let wait = Duration::from_millis(400);
            match what {
                "close" => {
                    let mut connection = vestibule.client().connect().await;
                    assert!(timeout(wait, connection.begin(get("/").bearer(&token))).await.is_err());
                }
                "close2" => {
                    let mut connection = vestibule.client().http2().connect().await;
                    assert!(timeout(wait, connection.begin(get("/").bearer(&token))).await.is_err());
                }
                "reset" => assert!(timeout(wait, kept.begin(get("/").bearer(&token))).await.is_err()),
                _ => {
                    let mut wire = vestibule.client().wire().await;
                    wire.send(format!(
                        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nAuthorization: Bearer {token}\r\n\r\nsome"
                    ))
                    .await;
                    tokio::time::sleep(wait).await;
                }
            }
            expected += 1;
            assert_eq!(begun.load(Relaxed), expected, "{app}: {what}");
            // This application looks for an end only where it waits for nothing more of the body.
            if what != "body" {
                eventually(&format!("{app}: the application notices: {what}"), async || {
                    (noticed.load(Relaxed) == expected).then_some(())
                })
                .await;
            }
            eventually("nothing is in flight", async || {
                (vestibule.metrics().await.value("vestibule_requests_in_flight") == 0.0).then_some(())
            })
            .await;
        }
        assert!(!kept.is_closed(), "a stream's end is not its connection's");
    }
}
