//! Answers that are none, that break off, come early, or never come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;

use super::*;

/// An application that takes each request and then sends these bytes and closes.
async fn saying(bytes: &'static [u8]) -> App {
    App::raw(move |mut wire, _| async move {
        if wire.request().await.is_some() {
            wire.send(bytes).await;
            drop(tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await);
        }
    })
    .await
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_a_whole_one() {
    for (what, bytes) in [
        ("a length", &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"[..]),
        ("chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"),
        ("a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly this"),
        ("chunks that are none", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nxyz\r\n"),
    ] {
        let app = saying(bytes).await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        for client in [vestibule.client(), vestibule.client().http2()] {
            let mut connection = client.connect().await;
            let mut response = connection.begin(get("/").bearer(&token)).await.expect("an answer's head");
            assert_eq!(response.status(), 200, "{what}");
            let collected = within("the body", response.body_mut().collect()).await;
            assert!(collected.is_err(), "{what}: a broken answer looks whole: {collected:?}");
        }
        assert_counted(&vestibule, "body", 2.0).await;
        let metrics = vestibule.metrics().await;
        assert_eq!(metrics.sum("vestibule_requests_total"), 3.0, "{what}");
        assert_eq!(metrics.value("vestibule_requests_total{outcome=\"upstream_error\",code=\"200\"}"), 2.0, "{what}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http() {
    for (what, bytes) in [
        ("noise", &b"\x00\x01\x02garbage that is no answer\r\n\r\n"[..]),
        ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("no status", b"HTTP/1.1 OK\r\n\r\n"),
        ("a field without a colon", b"HTTP/1.1 200 OK\r\nX-Broken\r\n\r\n"),
        ("two different lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ] {
        let app = saying(bytes).await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        for client in [vestibule.client(), vestibule.client().http2()] {
            assert_failed(&client.send(get("/").bearer(&token)).await, 502, what);
        }
        assert_counted(&vestibule, "protocol", 2.0).await;
    }
}

#[tokio::test]
async fn an_answer_with_a_head_without_end() {
    let app = App::raw(|mut wire, _| async move {
        if wire.request().await.is_some() {
            wire.send("HTTP/1.1 200 OK\r\n").await;
            let field = "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(100);
            while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, field.as_bytes()).await.is_ok() {}
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    assert_failed(&vestibule.client().send(get("/").bearer(&token)).await, 502, "a head without end");
    assert_counted(&vestibule, "protocol", 1.0).await;
}

#[tokio::test]
async fn a_connection_that_closes_without_an_answer() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let app = App::raw(move |mut wire, _| {
        let taken = Arc::clone(&counted);
        async move {
            if wire.request().await.is_some() {
                taken.fetch_add(1, Relaxed);
            }
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    assert_failed(&vestibule.client().send(post("/").bearer(&token).body("x")).await, 502, "no answer");
    assert_eq!(taken.load(Relaxed), 1, "a POST that was sent is not sent again");
    assert_counted(&vestibule, "closed", 1.0).await;
    // Nor is a GET on a fresh connection tried without end.
    assert_failed(&vestibule.client().send(get("/").bearer(&token)).await, 502, "no answer");
    assert!(taken.load(Relaxed) <= 4, "{}", taken.load(Relaxed));
}

/// An application may answer before it has read the body, and close (RFC 9112, section 9.5).
#[tokio::test]
async fn an_early_answer_reaches_the_client() {
    let app = App::raw(|mut wire, _| async move {
        if wire.head().await.is_some() {
            wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await;
            drop(tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await);
            // Reads on for a while, as RFC 9112 asks of it.
            drop(tokio::time::timeout(Duration::from_millis(500), wire.rest()).await);
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    for round in 0..5 {
        for client in [vestibule.client(), vestibule.client().http2()] {
            let call = post("/").bearer(&token).body(vec![b'x'; 1 << 20]);
            let answer = client.send(call).await;
            assert_eq!((answer.status, answer.text()), (413, "big"), "round {round}");
        }
    }
    // The next request is not harmed.
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 413);
}

async fn silent() -> (App, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let app = App::raw(move |mut wire, _| {
        let ended = Arc::clone(&counted);
        async move {
            if wire.request().await.is_some() {
                let mut end = [0];
                drop(tokio::io::AsyncReadExt::read(&mut wire.stream, &mut end).await);
                ended.fetch_add(1, Relaxed);
            }
        }
    })
    .await;
    (app, ended)
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time() {
    let (app, ended) = silent().await;
    let vestibule = Setup::new().upstream(&app).config("limits: {upstreamHeaders: 500ms}").start().await;
    let token = vestibule.token("admin").await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let began = Instant::now();
        assert_failed(&client.send(get("/").bearer(&token)).await, 504, "too slow");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(4), "{took:?}");
    }
    assert_counted(&vestibule, "headers_timeout", 2.0).await;
    eventually("the application is told", async || (ended.load(Relaxed) == 2).then_some(())).await;
    assert_eq!(
        vestibule.metrics().await.value("vestibule_requests_total{outcome=\"upstream_error\",code=\"504\"}"),
        2.0
    );
}

/// The time is for the answer's head: a slow body may take as long as it likes.
#[tokio::test]
async fn the_time_for_the_head_is_not_the_bodys() {
    let app = App::raw(|mut wire, _| async move {
        while wire.request().await.is_some() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await;
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                wire.send("x").await;
            }
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config("limits: {upstreamHeaders: 400ms}").start().await;
    let token = vestibule.token("admin").await;
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.text(), "xxxx");
}

/// Nor is it the request body's: an upload that takes longer is no fault of the application's.
#[tokio::test]
async fn the_time_for_the_head_begins_when_the_request_has_been_sent() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config("limits: {upstreamHeaders: 400ms}").start().await;
    let token = vestibule.token("admin").await;
    let mut wire = vestibule.client().wire().await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 6\r\n\r\n"))
        .await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        wire.send("x").await;
    }
    let (head, _) = wire.answer("POST").await;
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn without_a_limit_the_clients_leaving_ends_it() {
    let (app, ended) = silent().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let mut connection = vestibule.client().connect().await;
    let begun = connection.begin(get("/").bearer(&token));
    assert!(tokio::time::timeout(Duration::from_secs(1), begun).await.is_err(), "it waits");
    assert_eq!(ended.load(Relaxed), 0);
    drop(connection);
    eventually("the application is told", async || (ended.load(Relaxed) == 1).then_some(())).await;
    assert_eq!(vestibule.metrics().await.counted("vestibule_upstream_errors_total"), []);
}
