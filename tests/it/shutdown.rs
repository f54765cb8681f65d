//! The end in order: not ready, accept on, drain, close; and at once when asked twice.

mod connections;
mod tunnels;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::support::*;

const OPEN: &str = "access: {rules: [{prefix: /open, allow: anyone}]}";

/// An application that answers `/open/slow` when it is told to, and everything else at once.
async fn app() -> (App, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let app = App::handling(Listening::Http, move |request| {
        let told = Arc::clone(&told);
        async move {
            if request.uri().path() == "/open/slow" {
                told.notified().await;
            }
            http::Response::new(full("done"))
        }
    });
    (app.await, go)
}

/// The application, what lets it answer slow requests, and the process before it, with this configuration of `shutdown`.
async fn serving(shutdown: &str) -> (App, Arc<Notify>, Vestibule) {
    let (app, go) = app().await;
    let setup = Setup::new().upstream(&app).config(OPEN).config(&format!("shutdown: {shutdown}"));
    let vestibule = setup.start().await;
    (app, go, vestibule)
}

async fn in_flight(vestibule: &Vestibule, count: f64) {
    eventually("requests at the application", async || {
        (vestibule.metrics().await.value("vestibule_requests_in_flight") == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn not_ready_at_once_but_served_for_the_delay() {
    let (_app, _, mut vestibule) = serving("{delay: 1500ms, grace: 5s}").await;
    let mut kept = vestibule.client().connect().await;
    assert_eq!(kept.send(get("/open")).await.status, 200);
    let began = Instant::now();
    vestibule.signal(Signal::TERM);
    eventually("it is not ready", async || (vestibule.admin("/readyz").await.0 == 503).then_some(())).await;
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    assert_eq!(vestibule.admin("/livez").await.0, 200);
    while began.elapsed() < Duration::from_millis(1000) {
        assert_eq!(vestibule.client().send(get("/open")).await.status, 200, "new connections are accepted");
        assert_eq!(kept.send(get("/open")).await.status, 200, "and open ones are served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = vestibule.ended().await;
    let took = began.elapsed();
    assert_eq!(status.code(), Some(0));
    // Nothing was left to wait for: idle connections do not use up the grace.
    assert!(took >= Duration::from_millis(1400) && took < Duration::from_millis(4500), "{took:?}");
    assert!(vestibule.client().tcp_stream().await.is_err());
}

#[tokio::test]
async fn what_has_begun_is_finished() {
    let (_app, go, mut vestibule) = serving("{delay: 0s, grace: 20s}").await;
    let mut wire = vestibule.client().wire().await;
    wire.send("GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut frames = Frames::connect(&vestibule.client()).await;
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_fields("/open/slow"))).await;
    let mut idle = vestibule.client().wire().await;
    in_flight(&vestibule, 2.0).await;
    let began = Instant::now();
    vestibule.signal(Signal::TERM);
    // HTTP/2 is told to go away, an idle connection is closed, new ones are not accepted.
    let goaway = frames.next_of(GOAWAY).await.expect("GOAWAY");
    assert_eq!(goaway.payload[4..8], [0; 4], "no error");
    assert_eq!(idle.rest().await, b"");
    eventually("nothing is accepted", async || vestibule.client().tcp_stream().await.is_err().then_some(())).await;
    assert_eq!(vestibule.admin("/readyz").await.0, 503);
    in_flight(&vestibule, 2.0).await;
    go.notify_waiters();
    let (head, body) = wire.answer("GET").await;
    assert_eq!((head.status(), body.as_slice()), (200, &b"done"[..]));
    assert_eq!(head.one("connection"), Some("close"));
    assert_eq!(wire.rest().await, b"");
    let rest = frames.drained().await;
    assert!(rest.iter().any(|frame| frame.kind == HEADERS && frame.payload[0] == 0x88), "{rest:?}");
    let data: Vec<u8> = rest.iter().filter(|frame| frame.kind == DATA).flat_map(|it| it.payload.clone()).collect();
    assert_eq!(data, b"done");
    assert_eq!(vestibule.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "the grace is not used up: {:?}", began.elapsed());
    vestibule.event("stopped", |_| true).await;
}

#[tokio::test]
async fn the_grace_has_an_end() {
    let (_app, _go, mut vestibule) = serving("{delay: 0s, grace: 1s}").await;
    let mut wire = vestibule.client().wire().await;
    wire.send("GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    in_flight(&vestibule, 1.0).await;
    let began = Instant::now();
    vestibule.signal(Signal::TERM);
    assert_eq!(vestibule.ended().await.code(), Some(0));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    assert!(!wire.rest().await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let (_app, _go, mut vestibule) = serving("{delay: 30s, grace: 30s}").await;
        let mut wire = vestibule.client().wire().await;
        wire.send("GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        in_flight(&vestibule, 1.0).await;
        vestibule.signal(first);
        eventually("it is not ready", async || (vestibule.admin("/readyz").await.0 == 503).then_some(())).await;
        let began = Instant::now();
        vestibule.signal(second);
        vestibule.ended().await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_second_signal_while_draining_ends_it_at_once() {
    let (_app, _go, mut vestibule) = serving("{delay: 0s, grace: 30s}").await;
    let mut wire = vestibule.client().wire().await;
    wire.send("GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    in_flight(&vestibule, 1.0).await;
    vestibule.signal(Signal::TERM);
    eventually("nothing is accepted", async || vestibule.client().tcp_stream().await.is_err().then_some(())).await;
    let began = Instant::now();
    vestibule.signal(Signal::TERM);
    vestibule.ended().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// A keep-alive connection that asks for one thing after another is told to close with its next answer.
#[tokio::test]
async fn a_busy_keep_alive_connection_is_closed_between_requests() {
    let (_app, _, mut vestibule) = serving("{delay: 0s, grace: 10s}").await;
    let mut wire = vestibule.client().wire().await;
    let asking = tokio::spawn(async move {
        for asked in 0.. {
            wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let Some(head) = wire.head().await else { return (asked, "between answers") };
            assert_eq!(head.status(), 200);
            assert_eq!(wire.exactly(4).await, b"done", "no answer is cut off");
            if head.one("connection") == Some("close") {
                return (asked, "as announced");
            }
        }
        unreachable!("it is closed at some time")
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    vestibule.signal(Signal::TERM);
    let (asked, _how) = within("the connection's end", asking).await.expect("no panic");
    assert!(asked > 0);
    assert_eq!(vestibule.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// A tunnel may end by itself while the process drains, and is closed when the grace is over.
#[tokio::test]
async fn tunnels_are_closed_when_the_grace_is_over() {
    let app = App::raw(|mut wire, _| async move {
        if wire.request().await.is_some() {
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n").await;
            while !wire.some(1).await.is_empty() {}
        }
    })
    .await;
    let setup = Setup::new().upstream(&app).config(OPEN);
    let mut vestibule = setup.config("shutdown: {delay: 0s, grace: 1s}").start().await;
    let mut wire = vestibule.client().wire().await;
    wire.send("GET /open HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n").await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    let began = Instant::now();
    vestibule.signal(Signal::TERM);
    assert_eq!(wire.rest().await, b"");
    assert_eq!(vestibule.ended().await.code(), Some(0));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_signal_before_it_is_ready_ends_it_as_well() {
    let setup = Setup::new().file("users/users.yaml", "users: [").without_readiness();
    let vestibule = setup.start().await;
    assert_eq!(vestibule.stop().await, Some(0));
}
