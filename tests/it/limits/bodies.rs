//! How much a request may bring.

use super::*;

fn chunked(bytes: usize) -> String {
    format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", bytes, "x".repeat(bytes))
}

#[tokio::test]
async fn a_body_that_is_too_large() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config("limits: {requestBody: 1000}").start().await;
    let head = "POST /open HTTP/1.1\r\nHost: a\r\n";
    let whole = |bytes: usize| format!("{head}Content-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
    for (what, request, status) in [
        ("as large as may be", whole(1000), 200),
        ("a byte more", whole(1001), 413),
        ("much more", whole(100_000), 413),
        ("said only", format!("{head}Content-Length: 99999999999\r\n\r\n"), 413),
        ("chunks", format!("{head}{}", chunked(1000)), 200),
        ("chunks, a byte more", format!("{head}{}", chunked(1001)), 413),
        ("many chunks", format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(2000)), 413),
    ] {
        let before = app.seen().len();
        let (head, body) = vestibule.client().raw(request).await;
        assert_eq!(head.status(), status, "{what}");
        if status == 413 {
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["status"], 413, "{what}");
            assert!(body["message"].is_string(), "{what}");
            assert_eq!(app.seen().len(), before, "{what}: it never arrives whole");
        }
    }
    let mut connection = vestibule.client().http2().connect().await;
    for (bytes, status) in [(1000, 200), (1001, 413), (500_000, 413)] {
        let body = "x".repeat(bytes);
        let pieces = || {
            let pieces = body.as_bytes().chunks(100).map(|piece| std::str::from_utf8(piece).expect("ASCII"));
            crate::support::body(&pieces.collect::<Vec<_>>(), None)
        };
        for call in [post("/open").body(body.clone()), post("/open").stream(pieces())] {
            let answer = connection.send(call).await;
            assert_eq!(answer.status, status, "{bytes}");
            if status == 413 {
                assert_eq!(answer.json()["status"], 413);
            }
        }
    }
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"bad_request\",code=\"413\"}"), 9.0);
    assert_eq!(metrics.counted("vestibule_upstream_errors_total"), []);
    // No connection to the application is left in the middle of a request.
    for _ in 0..5 {
        assert_eq!(connection.send(post("/open").body("fine")).await.text(), "hello");
    }
}

#[tokio::test]
async fn header_fields_that_are_too_large_over_http2() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut connection = vestibule.client().http2().connect().await;
    let with = |bytes: usize| {
        let mut call = get("/open");
        for number in 0..bytes / 1000 {
            call = call.header(&format!("x-{number:02}"), "v".repeat(1000 - 8));
        }
        call
    };
    assert_eq!(connection.send(with(30_000)).await.status, 200);
    let answer = connection.send(with(40_000)).await;
    assert_eq!((answer.status, answer.json()["status"].as_u64()), (431, Some(431)));
    // Far beyond, the library refuses, in any case before the application sees anything.
    let mut other = vestibule.client().http2().connect().await;
    match other.try_send(with(200_000)).await {
        Ok(answer) => assert_eq!(answer.status, 431),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
    assert_eq!(connection.send(get("/open")).await.status, 200);
    assert_eq!(app.seen().len(), 2);
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    for _ in 0..5 {
        let mut wire = vestibule.client().wire().await;
        wire.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n").await;
        for _ in 0..64 {
            wire.send(vec![b'x'; 64 * 1024]).await;
        }
        assert_eq!(wire.answer("POST").await.0.status(), 401);
    }
    assert_eq!(app.seen().len(), 0);
}
