//! Where a request ends: lengths, chunks, and what pretends to be the next request.

use super::*;

const SMUGGLED: &str = "GET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Framing that is broken or that two readers could read differently (RFC 9112, section 6.3).
#[tokio::test]
async fn framing_that_is_refused() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let length = SMUGGLED.len();
    for (what, fields, body) in [
        ("two different lengths", "Content-Length: 0\r\nContent-Length: 5\r\n".to_owned(), "hello"),
        ("a list of different lengths", "Content-Length: 0, 5\r\n".to_owned(), "hello"),
        ("a negative length", "Content-Length: -1\r\n".to_owned(), ""),
        ("a length with a sign", "Content-Length: +5\r\n".to_owned(), "hello"),
        ("a length in hexadecimal", "Content-Length: 0x5\r\n".to_owned(), "hello"),
        ("a length that is none", "Content-Length: five\r\n".to_owned(), "hello"),
        ("an empty length", "Content-Length:\r\n".to_owned(), "hello"),
        ("a length past 64 bits", "Content-Length: 99999999999999999999999\r\n".to_owned(), "hello"),
        ("a coding that is none", "Transfer-Encoding: xchunked\r\n".to_owned(), "0\r\n\r\n"),
        ("chunked and another coding after", "Transfer-Encoding: chunked, gzip\r\n".to_owned(), "0\r\n\r\n"),
        ("identity", "Transfer-Encoding: identity\r\n".to_owned(), "0\r\n\r\n"),
        ("a vertical tab", "Transfer-Encoding: \x0bchunked\r\n".to_owned(), "0\r\n\r\n"),
        ("a space before the colon", format!("Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n"), SMUGGLED),
        ("a bare CR", format!("X: y\rTransfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), SMUGGLED),
    ] {
        let request = format!("POST /open HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        let answers = exchange(&vestibule, request, 3).await;
        assert_eq!(answers.len(), 1, "{what}: {answers:?}");
        assert_refused(&answers[0], 400, what);
        assert_eq!(witness.seen(), Vec::<String>::new(), "{what}");
    }
}

/// Nothing that two readers could end at different places is forwarded (RFC 9112, sections 6.1 and 6.3).
#[tokio::test]
async fn a_length_beside_chunks_and_other_codings_are_refused() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let length = 5 + SMUGGLED.len();
    for fields in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "content-length:5\nTransfer-Encoding: chunked\n".to_owned(),
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: {length}\r\n"),
        format!("Transfer-Encoding: gzip, chunked\r\nContent-Length: {length}\r\n"),
        format!("transfer-encoding: CHUNKED\r\ncontent-length: {length}\r\n"),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked, chunked\r\n".to_owned(),
        "Transfer-Encoding: , chunked\r\n".to_owned(),
    ] {
        let request = format!("POST /open HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n{SMUGGLED}");
        let answers = exchange(&vestibule, request.clone(), 3).await;
        assert_eq!(answers.len(), 1, "{fields}: {answers:?}");
        assert_refused(&answers[0], 400, &fields);
        assert_eq!(witness.seen(), Vec::<String>::new(), "{fields}");
        // The same in small pieces.
        let mut wire = vestibule.client().wire().await;
        for piece in request.as_bytes().chunks(7) {
            wire.send(piece).await;
        }
        assert_eq!(wire.answer("POST").await.0.status(), 400, "{fields}");
        assert_eq!(wire.rest().await, b"", "{fields}");
    }
    assert_eq!(witness.seen(), Vec::<String>::new());
    let line = vestibule.event("refusal", |line| line["reason"] == "ambiguous_framing").await;
    assert_eq!(line["outcome"], "bad_request");
}

/// Behind another request the length is not seen: `chunked` counts, the length goes no further, and the connection ends.
#[tokio::test]
async fn a_length_beside_chunks_in_a_pipelined_request_smuggles_nothing() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let first = "GET /open/first HTTP/1.1\r\nHost: a\r\n\r\n";
    let framing = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", 5 + SMUGGLED.len());
    let request = format!("{first}POST /open HTTP/1.1\r\nHost: a\r\n{framing}\r\n0\r\n\r\n{SMUGGLED}");
    let answers = exchange(&vestibule, request, 4).await;
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers[1].0.one("connection").is_some_and(|value| value == "close"), "{answers:?}");
    assert_eq!(witness.seen().len(), 2, "{:?}", witness.seen());
    assert!(!witness.seen().concat().contains("smuggled"), "{:?}", witness.seen());
    assert!(!witness.seen()[1].to_ascii_lowercase().contains("content-length"), "{:?}", witness.seen());
}

/// The same length twice is one length, or none (RFC 9112, section 6.3); a body is never a request.
#[tokio::test]
async fn the_same_length_twice() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let length = SMUGGLED.len();
    for fields in [
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}, {length}\r\n"),
    ] {
        witness.forget();
        let request = format!("POST /open HTTP/1.1\r\nHost: a\r\n{fields}\r\n{SMUGGLED}");
        let answers = exchange(&vestibule, request, 1).await;
        if answers[0].0.status() == 200 {
            assert_eq!(witness.seen().len(), 1, "{fields}");
        } else {
            assert_refused(&answers[0], 400, &fields);
            assert_eq!(witness.seen(), Vec::<String>::new(), "{fields}");
        }
    }
}

#[tokio::test]
async fn chunks_that_are_broken_never_reach_the_application_whole() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for (what, body) in [
        ("no hexadecimal", "g\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a negative size", "-1\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("0x", "0x5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("an empty size", "\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a size past 64 bits", "11111111111111111\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("no line break after the data", "5\r\nhello0\r\n\r\n".to_owned()),
        ("more data than said", "2\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("an extension without end", format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000))),
        ("trailers without end", format!("5\r\nhello\r\n0\r\n{}", "X-Trailer: y\r\n".repeat(20_000))),
    ] {
        witness.forget();
        let request = format!("POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}");
        let answers = exchange(&vestibule, request, 3).await;
        assert!(answers.len() <= 1, "{what}: {answers:?}");
        if let Some(answer) = answers.first() {
            assert!((400..500).contains(&answer.0.status()), "{what}: {answer:?}");
            assert_refused(answer, answer.0.status(), what);
        }
        assert_eq!(witness.seen(), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_no_request() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for request in [
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello",
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut wire = vestibule.client().wire().await;
        wire.send(request).await;
        drop(tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await);
        wire.rest().await;
        assert_eq!(witness.seen(), Vec::<String>::new());
    }
    eventually("both are over", async || {
        (vestibule.metrics().await.value("vestibule_requests_in_flight") == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let app = App::handling(Listening::Http, |request| async move {
        // The first ones take longest.
        let number: u64 = request.uri().path()[6..].parse().expect("a number");
        tokio::time::sleep(std::time::Duration::from_millis(40 - 4 * number)).await;
        http::Response::new(full(number.to_string()))
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let requests: String = (0..10).map(|number| format!("GET /open/{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let answers = exchange(&vestibule, requests, 10).await;
    let bodies: Vec<_> = answers.into_iter().map(|(_, body)| String::from_utf8(body).expect("text")).collect();
    assert_eq!(bodies, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// A refusal may leave a body unread: what follows is not a request, unless the body was read to its end.
#[tokio::test]
async fn the_body_of_a_refused_request_is_no_request() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let inner = format!("GET /smuggled HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    for framing in [
        format!("Content-Length: {}\r\n\r\n{inner}", inner.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
    ] {
        let answers =
            exchange(&vestibule, format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}"), 3).await;
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].0.status(), 401);
        let answers = exchange(&vestibule, format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"), 1).await;
        assert_eq!(answers[0].0.status(), 401);
        assert_eq!(witness.seen(), Vec::<String>::new());
    }
}
