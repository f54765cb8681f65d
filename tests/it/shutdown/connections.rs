//! Nothing that a client has begun is lost while the process drains, and what is cut off in the end is told.

use super::*;

/// What is answered in full: the status, and whether the connection is announced to end.
async fn asked<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> (u16, bool) {
    wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = wire.answer("GET").await;
    assert_eq!(body, b"done");
    (head.status(), head.one("connection") == Some("close"))
}

/// An HTTP/2 connection that has had an answer: its GOAWAY tells when the process drains.
async fn witness(vestibule: &Vestibule) -> Frames {
    let mut frames = Frames::connect(&vestibule.client()).await;
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_fields("/open"))).await;
    frames.next_of(DATA).await.expect("an answer");
    frames
}

#[tokio::test]
async fn a_request_that_comes_while_it_drains_is_answered_as_the_last() {
    let (_app, _, mut vestibule) = serving("{delay: 0s, grace: 20s}").await;
    let mut witness = witness(&vestibule).await;
    let (mut used, mut fresh) = (vestibule.client().wire().await, vestibule.client().wire().await);
    assert_eq!(asked(&mut used).await, (200, false));
    vestibule.signal(Signal::TERM);
    witness.next_of(GOAWAY).await.expect("GOAWAY");
    assert_eq!(asked(&mut used).await, (200, true), "an idle connection is not closed into a request's face");
    assert_eq!(asked(&mut fresh).await, (200, true), "nor is one that has not been used");
    assert_eq!((used.rest().await, fresh.rest().await), (Vec::new(), Vec::new()));
    witness.drained().await;
    assert_eq!(vestibule.ended().await.code(), Some(0));
}

#[tokio::test]
async fn silent_connections_do_not_use_up_the_grace() {
    let (_app, _, mut vestibule) = serving("{delay: 0s, grace: 60s}").await;
    let mut used = vestibule.client().wire().await;
    assert_eq!(asked(&mut used).await, (200, false));
    let mut fresh = [vestibule.client().wire().await, vestibule.client().http2().wire().await];
    let began = Instant::now();
    vestibule.signal(Signal::TERM);
    assert_eq!(used.rest().await, b"");
    drop(used);
    for wire in &mut fresh {
        wire.rest().await;
    }
    assert_eq!(vestibule.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// More connections than are allowed at once wait in the backlog when the listener is closed.
#[tokio::test]
async fn what_waits_in_the_backlog_is_served() {
    const PLACES: usize = 3;
    const WAITING: usize = 20;
    let (app, _) = app().await;
    let setup = Setup::new().upstream(&app).config(OPEN).config(&format!("limits: {{connections: {PLACES}}}"));
    let mut vestibule = setup.config("shutdown: {delay: 0s, grace: 20s}").start().await;
    let mut witness = witness(&vestibule).await;
    let mut held = Vec::new();
    for _ in 1..PLACES {
        let mut wire = vestibule.client().wire().await;
        assert_eq!(asked(&mut wire).await, (200, false));
        held.push(wire);
    }
    let mut waiting = JoinSet::new();
    let (connected, mut are_connected) = mpsc::unbounded_channel();
    for _ in 0..WAITING {
        let (client, connected) = (vestibule.client(), connected.clone());
        waiting.spawn(async move {
            let stream = client.tcp_stream().await.expect("a place in the backlog");
            connected.send(()).expect("it is read");
            asked(&mut Wire::new(client.tls_over(stream).await.expect("a handshake"))).await
        });
    }
    for _ in 0..WAITING {
        within("a connection", are_connected.recv()).await;
    }
    vestibule.signal(Signal::TERM);
    witness.next_of(GOAWAY).await.expect("GOAWAY");
    drop((held, witness));
    while let Some(answer) = within("an answer", waiting.join_next()).await {
        assert_eq!(answer.expect("nobody panics"), (200, true));
    }
    assert_eq!(vestibule.ended().await.code(), Some(0));
}

/// Streams that are opened before the client can know of the end are served (RFC 9113, section 6.8).
#[tokio::test]
async fn http2_is_told_twice() {
    let (_app, _, mut vestibule) = serving("{delay: 0s, grace: 20s}").await;
    let mut frames = witness(&vestibule).await;
    vestibule.signal(Signal::TERM);
    let first = frames.next_of(GOAWAY).await.expect("GOAWAY");
    assert_eq!(first.payload[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], "every stream so far is good");
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &request_fields("/open"))).await;
    let rest = frames.drained().await;
    let answered = |it: &&Frame| it.stream == 3 && it.kind == HEADERS && it.payload[0] == 0x88;
    assert_eq!(rest.iter().filter(answered).count(), 1, "{rest:?}");
    let last = rest.iter().rfind(|frame| frame.kind == GOAWAY).expect("a second GOAWAY");
    assert_eq!(last.payload[..8], [0, 0, 0, 3, 0, 0, 0, 0], "the last stream that is served");
    assert_eq!(vestibule.ended().await.code(), Some(0));
}

#[tokio::test]
async fn streams_that_do_not_fit_into_the_grace_are_reset() {
    let app = App::handling(Listening::Http, |request| async move {
        if request.uri().path() == "/open/silent" {
            std::future::pending::<()>().await;
        }
        // A body that has begun and never ends.
        let begun = futures_util::stream::once(async { Ok(http_body::Frame::data("begun".into())) });
        let body = StreamBody::new(begun.chain(futures_util::stream::pending()));
        http::Response::new(body.boxed_unsync())
    })
    .await;
    let setup = Setup::new().upstream(&app).config(OPEN);
    let mut vestibule = setup.config("shutdown: {delay: 0s, grace: 1s}").start().await;
    let mut frames = Frames::connect(&vestibule.client()).await;
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_fields("/open/silent"))).await;
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &request_fields("/open/begun"))).await;
    frames.next_of(DATA).await.expect("the beginning");
    let mut plain = vestibule.client().wire().await;
    plain.send("GET /open/begun HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(plain.head().await.expect("an answer").status(), 200);
    vestibule.signal(Signal::TERM);
    let rest = frames.drained().await;
    let mut reset: Vec<u32> = rest.iter().filter(|it| it.kind == RST_STREAM).map(|it| it.stream).collect();
    reset.sort_unstable();
    assert_eq!(reset, [1, 3], "{rest:?}");
    assert!(rest.iter().any(|it| it.kind == GOAWAY), "{rest:?}");
    let begun = plain.rest().await;
    assert!(begun.ends_with(b"begun\r\n"), "no last chunk: it has not come to its end: {begun:?}");
    assert_eq!(vestibule.ended().await.code(), Some(0));
}
