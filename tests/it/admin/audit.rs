//! What is refused for its size or for want of a place is in the audit trail; a client that leaves is nobody's fault.

use super::*;

#[tokio::test]
async fn a_refusal_for_its_size_is_an_audit_event() {
    let app = App::start().await;
    let limits = "limits: {requestBody: 10, headerBytes: 8192}";
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(limits).start().await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let id = |what: &str| format!("{what}-{}", client.is_http2());
        let answer = client.send(post("/open").header("x-request-id", id("body")).body("more than ten bytes")).await;
        assert_eq!(answer.status, 413);
        let line = vestibule.event("refusal", |line| line["request_id"] == id("body").as_str()).await;
        assert_eq!((&line["reason"], &line["outcome"]), (&"body_too_large".into(), &"bad_request".into()));
        assert_eq!((&line["audit"], &line["source"]), (&true.into(), &"127.0.0.1".into()));
    }
    let large = || get("/open").header("x-request-id", "head").header("x-large", "x".repeat(8192));
    assert_eq!(vestibule.client().http2().send(large()).await.status, 431);
    let line = vestibule.event("refusal", |line| line["request_id"] == "head").await;
    assert_eq!((&line["reason"], &line["outcome"]), (&"head_too_large".into(), &"bad_request".into()));
    // Over HTTP/1.1 the head is refused before it is read to its end: there is no id yet.
    assert_eq!(vestibule.client().send(large()).await.status, 431);
    let line = vestibule.event("refusal", |line| line["status"] == 431).await;
    assert_eq!((&line["reason"], &line["outcome"]), (&"head_too_large".into(), &"bad_request".into()));
}

#[tokio::test]
async fn a_refusal_for_want_of_a_place_is_an_audit_event() {
    let app = App::handling(Listening::Http, |_| std::future::pending()).await;
    let limits = "limits: {inFlight: 1, queueLength: 0}";
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(limits).start().await;
    let client = vestibule.client();
    let first = tokio::spawn(async move { client.send(get("/open")).await });
    let in_flight = async || (vestibule.metrics().await.value("vestibule_requests_in_flight") == 1.0).then_some(());
    eventually("a request at the application", in_flight).await;
    assert_eq!(vestibule.client().send(get("/open").header("x-request-id", "second")).await.status, 503);
    let line = vestibule.event("refusal", |line| line["request_id"] == "second").await;
    assert_eq!((&line["reason"], &line["outcome"]), (&"overloaded".into(), &"overloaded".into()));
    first.abort();
}

/// A body that is framed badly is the client's fault; one that is not finished is nobody's to answer.
#[tokio::test]
async fn a_client_that_leaves_in_its_body_is_not_answered() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let head = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: bad\r\n");

    let (answer, _) = vestibule.client().raw(head("/open") + "Transfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    assert_eq!(answer.status(), 400);
    let line = vestibule.event("refusal", |line| line["request_id"] == "bad").await;
    assert_eq!((&line["reason"], &line["outcome"]), (&"malformed_body".into(), &"bad_request".into()));
    let (answer, _) = vestibule.client().raw(head("/authorize") + "Transfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    assert_eq!(answer.status(), 400);

    for (path, outcome) in [("/open", "open"), ("/authorize", "login")] {
        let mut wire = vestibule.client().wire().await;
        wire.send(head(path) + "Content-Length: 100\r\n\r\n{").await;
        drop(wire);
        let series = format!("vestibule_requests_total{{outcome=\"{outcome}\",code=\"499\"}}");
        let counted = async || (vestibule.metrics().await.find(&series) == Some(1.0)).then_some(());
        eventually(&series, counted).await;
    }
    assert_eq!(vestibule.events("refusal").len(), 1);
}
