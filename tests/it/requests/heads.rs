//! Request lines and header fields.

use super::*;

#[tokio::test]
async fn heads_that_are_refused() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for (what, head) in [
        ("another host than the target's", "GET http://a/open HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("a target with user information", "GET http://u@a/open HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an absolute target and no host", "GET http://a/open HTTP/1.1\r\n\r\n"),
        ("no host", "GET /open HTTP/1.1\r\n\r\n"),
        ("an empty host", "GET /open HTTP/1.1\r\nHost:\r\n\r\n"),
        ("two hosts", "GET /open HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("two different hosts", "GET /open HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("a host that is none", "GET /open HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("a host list", "GET /open HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        ("a space before the colon", "GET /open HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n"),
        ("a fold", "GET /open HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
        ("a fold at the first field", "GET /open HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n"),
        ("NUL in a value", "GET /open HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
        ("NUL in a name", "GET /open HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n"),
        ("NUL in the target", "GET /open\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a bare CR in a value", "GET /open HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n"),
        ("a bare CR after a value", "GET /open HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n"),
        ("no name", "GET /open HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        ("no colon", "GET /open HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
        ("a space in the target", "GET /open /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a tab in the request line", "GET\t/open HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no version", "GET /open\r\nHost: a\r\n\r\n"),
        ("HTTP/0.9", "GET /open HTTP/0.9\r\nHost: a\r\n\r\n"),
        ("HTTP/1.2", "GET /open HTTP/1.2\r\nHost: a\r\n\r\n"),
        ("HTTP/2.0", "GET /open HTTP/2.0\r\nHost: a\r\n\r\n"),
        ("another protocol", "GET /open ICAP/1.0\r\nHost: a\r\n\r\n"),
        ("a method that is none", "G(T /open HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a relative target", "GET open HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a fragment", "GET /open#x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a fragment alone", "GET /open# HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a fragment in the query", "GET /open?a#x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a tunnel", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
        ("an absolute fragment", "GET http://a/open#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let answers = exchange(&vestibule, head, 1).await;
        assert_eq!(answers.len(), 1, "{what}");
        assert_refused(&answers[0], 400, what);
        assert_eq!(witness.seen(), Vec::<String>::new(), "{what}");
    }
    // What begins HTTP/2 where HTTP/1.1 was agreed on gets no answer at all.
    let answers = exchange(&vestibule, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1).await;
    assert!(answers.iter().all(|(head, _)| head.status() == 400), "{answers:?}");
    assert_eq!(witness.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn heads_that_pass() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for (what, head, seen) in [
        ("an absolute target", "GET http://a.example/open?q HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET /open?q"),
        ("another case", "GET https://A.example/open HTTP/1.1\r\nHost: a.EXAMPLE\r\n\r\n", "GET /open"),
        ("empty lines before it", "\r\n\r\nGET /open HTTP/1.1\r\nHost: a\r\n\r\n", "GET /open"),
        ("an empty value", "GET /open HTTP/1.1\r\nHost: a\r\nX-A:\r\n\r\n", "GET /open"),
        ("bytes above ASCII in a value", "GET /open HTTP/1.1\r\nHost: a\r\nX-A: \u{e9}\r\n\r\n", "GET /open"),
        ("HTTP/1.0", "GET /open HTTP/1.0\r\n\r\n", "GET /open"),
        ("a method of one's own", "PURGE /open HTTP/1.1\r\nHost: a\r\n\r\n", "PURGE /open"),
        ("a # in a value", "GET /open HTTP/1.1\r\nHost: a\r\nX-A: #\r\n\r\n", "GET /open"),
        ("a port", "GET /open HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", "GET /open"),
    ] {
        witness.forget();
        let answers = exchange(&vestibule, head, 1).await;
        assert_eq!(answers[0].0.status(), 200, "{what}");
        assert_eq!(witness.seen(), [seen], "{what}");
    }
}

/// A fragment is cut off by the HTTP library: each request of a connection has its own look.
#[tokio::test]
async fn a_fragment_is_seen_in_every_request_of_a_connection() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut wire = vestibule.client().wire().await;
    let good = "GET /open HTTP/1.1\r\nHost: a\r\n\r\n";
    let bad = "GET /open/x#y HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, status) in [(good, 200), (bad, 400), (good, 200), (bad, 400)] {
        wire.send(request).await;
        assert_eq!(wire.answer("GET").await.0.status(), status, "{request}");
    }
    // Byte by byte.
    for byte in bad.bytes() {
        wire.send([byte]).await;
    }
    assert_eq!(wire.answer("GET").await.0.status(), 400);
    // After a body, in which a # says nothing.
    wire.send("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n#b#").await;
    assert_eq!(wire.answer("POST").await.0.status(), 200);
    wire.send(good).await;
    assert_eq!(wire.answer("GET").await.0.status(), 200);
    assert!(witness.seen().iter().all(|seen| !seen.contains("/x")), "{:?}", witness.seen());
}

#[tokio::test]
async fn a_fragment_is_seen_in_pipelined_requests() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let good = "GET /open HTTP/1.1\r\nHost: a\r\n\r\n";
    let bad = "GET /open/x#y HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n#b#";
    for (requests, expected) in [
        ([good, bad, good], [200, 400, 200]),
        ([bad, good, bad], [400, 200, 400]),
        ([post, bad, good], [200, 400, 200]),
        ([post, good, good], [200, 200, 200]),
    ] {
        let answers = exchange(&vestibule, requests.concat(), 3).await;
        let statuses: Vec<_> = answers.iter().map(|(head, _)| head.status()).collect();
        assert_eq!(statuses, expected, "{requests:?}");
        assert!(witness.seen().iter().all(|seen| !seen.contains("/x")), "{:?}", witness.seen());
    }
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let filled = |length: usize| {
        let start = "GET /open HTTP/1.1\r\nHost: a\r\nX-Fill: ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };
    let answers = exchange(&vestibule, filled(32_000), 1).await;
    assert_eq!(answers[0].0.status(), 200, "below the limit");
    witness.forget();
    for (what, head) in [
        ("a byte too many", filled(32_768 + 1)),
        ("many times the limit", filled(500_000)),
        ("200 fields", format!("GET /open HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: b\r\n".repeat(200))),
        (
            "fields without end",
            format!("GET /open HTTP/1.1\r\nHost: a\r\n{}", "X-Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: b\r\n".repeat(2000)),
        ),
    ] {
        let answers = exchange(&vestibule, head, 2).await;
        assert_eq!(answers.len(), 1, "{what}");
        assert_refused(&answers[0], 431, what);
    }
    let long = format!("GET /open?{} HTTP/1.1\r\nHost: a\r\n\r\n", "q".repeat(70_000));
    let answers = exchange(&vestibule, long, 2).await;
    assert_eq!(answers.len(), 1);
    assert!([414, 431].contains(&answers[0].0.status()), "{:?}", answers[0]);
    assert_refused(&answers[0], answers[0].0.status(), "a long target");
    assert_eq!(witness.seen(), Vec::<String>::new());
    // It is counted like any other refusal.
    let metrics = vestibule.metrics().await;
    assert!(metrics.value("vestibule_requests_total{outcome=\"bad_request\",code=\"431\"}") >= 4.0);
}

#[tokio::test]
async fn what_is_no_http_or_no_tls_hurts_nobody() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    // Plain HTTP, TLS records that are none, and nothing but noise on the TLS port.
    for bytes in [
        &b"GET /open HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        &b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"[..],
        &[0xff; 4096],
        &[0; 64],
        &b"\x16\x03\x01\xff\xff"[..],
    ] {
        let mut wire = Wire::new(vestibule.client().tcp_stream().await.expect("a connection"));
        wire.send(bytes).await;
        drop(tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await);
        let answer = wire.rest().await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");
    }
    // Noise inside TLS.
    for bytes in [&b"\0\0\0\0\0\0\0\0\r\n\r\n"[..], b"garbage\r\n\r\n", b"\x16\x03\x01\r\n\r\n", &[0xff; 100_000]] {
        let answers = exchange(&vestibule, bytes, 2).await;
        assert!(answers.len() <= 1, "{answers:?}");
        if let Some(answer) = answers.first() {
            assert_refused(answer, answer.0.status(), "noise");
            assert!([400, 431, 414].contains(&answer.0.status()));
        }
    }
    assert_eq!(witness.seen(), Vec::<String>::new());
    let answers = exchange(&vestibule, "GET /open HTTP/1.1\r\nHost: a\r\n\r\n", 1).await;
    assert_eq!(answers[0].0.status(), 200);
    let metrics = vestibule.metrics().await;
    let failed =
        metrics.sum("vestibule_tls_handshakes_total") - metrics.value("vestibule_tls_handshakes_total{result=\"ok\"}");
    assert_eq!(failed, 5.0);
}
