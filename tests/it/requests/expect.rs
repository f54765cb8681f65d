//! `Expect: 100-continue`: the body waits until somebody wants it (RFC 9110, section 10.1.1).

use std::time::{Duration, Instant};

use super::*;

const ASK: &str = "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn the_applications_word_reaches_the_client() {
    let app = App::raw(|mut wire, _| async move {
        while let Some(head) = wire.head().await {
            if head.one("expect").is_some() {
                wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            let body = wire.exactly(5).await;
            assert_eq!(body, b"hello");
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut wire = vestibule.client().wire().await;
    for _ in 0..3 {
        let began = Instant::now();
        wire.send(ASK).await;
        assert_eq!(wire.head().await.expect("an interim answer").status(), 100);
        assert!(began.elapsed() < Duration::from_millis(900), "it was asked for at once: {:?}", began.elapsed());
        wire.send("hello").await;
        assert_eq!(wire.answer("POST").await.0.status(), 200);
    }
}

#[tokio::test]
async fn an_application_that_refuses_at_once_never_gets_the_body() {
    let app = App::raw(|mut wire, _| async move {
        while let Some(head) = wire.head().await {
            assert_eq!(head.method(), "POST");
            wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
            assert!(wire.some(1).await.is_empty(), "nothing follows");
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for _ in 0..3 {
        let mut wire = vestibule.client().wire().await;
        let began = Instant::now();
        wire.send(ASK).await;
        let head = wire.head().await.expect("an answer");
        assert_eq!(head.status(), 413, "no interim answer came first");
        assert_eq!(wire.exactly(3).await, b"big");
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_application_that_says_nothing_gets_the_body_after_a_second() {
    let app = App::start().await;
    let silent = App::raw(|mut wire, _| async move {
        while let Some((_, body)) = wire.request().await {
            assert_eq!(body, b"hello");
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    drop(app);
    let vestibule = Setup::new().upstream(&silent).config(OPEN).start().await;
    let mut wire = vestibule.client().wire().await;
    let began = Instant::now();
    wire.send(ASK).await;
    assert_eq!(wire.head().await.expect("an interim answer").status(), 100);
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(500) && waited < Duration::from_secs(5), "{waited:?}");
    wire.send("hello").await;
    assert_eq!(wire.answer("POST").await.0.status(), 200);
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_served_as_well() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut wire = vestibule.client().wire().await;
    for _ in 0..2 {
        wire.send(format!("{ASK}hello")).await;
        assert_eq!(wire.answer("POST").await.0.status(), 200);
        assert_eq!(app.last().body.as_ref(), b"hello");
    }
}

#[tokio::test]
async fn a_refusal_comes_before_the_body_is_asked_for() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let mut wire = vestibule.client().wire().await;
    wire.send(ASK).await;
    let head = wire.head().await.expect("an answer");
    assert_eq!(head.status(), 401, "no interim answer");
    assert_eq!(witness.seen(), Vec::<String>::new());
}
