//! gRPC as it looks on the wire, end to end over HTTP/2 with prior knowledge.

use std::sync::Arc;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Barrier;

use super::*;

fn call(path: &str, token: &str) -> Call {
    let call = post(path).bearer(token).header("te", "trailers").header("content-type", "application/grpc");
    call.header("grpc-timeout", "5S").header("grpc-encoding", "identity")
}

fn status(code: &'static str) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static(code));
    trailers
}

#[tokio::test]
async fn unary_calls_and_refusals_without_a_body() {
    let app = App::answering(Listening::H2c, |seen| {
        let response = Response::builder().header("content-type", "application/grpc");
        match seen.target.as_str() {
            // "Trailers-only": all in the head, the stream ends with it.
            "/s/Missing" => response.header("grpc-status", "12").body(full("")).expect("a response"),
            _ => response.body(body(&["\0\0\0\0\x02ok"], Some(status("0")))).expect("a response"),
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let mut connection = vestibule.client().http2().connect().await;
    let answer = connection.send(call("/s/Get", &token).body(&b"\0\0\0\0\x01x"[..])).await;
    assert_eq!((answer.status, answer.body.as_ref()), (200, &b"\0\0\0\0\x02ok"[..]));
    assert_eq!(answer.trailers, Some(status("0")));
    let seen = app.last();
    assert_eq!((seen.header("te"), seen.header("grpc-timeout")), (Some("trailers"), Some("5S")));
    assert_eq!((seen.header("x-forwarded-user"), seen.header("authorization")), (Some("admin"), None));
    let answer = connection.send(call("/s/Missing", &token).body("x")).await;
    assert_eq!((answer.header("grpc-status"), answer.text()), (Some("12"), ""));
    // Refused here, nothing reaches the application.
    let answer = connection.send(post("/s/Get").header("te", "trailers").body("x")).await;
    assert_eq!(answer.status, 401);
    assert_eq!(app.seen().len(), 2);
}

#[tokio::test]
async fn both_sides_of_a_call_stream() {
    let app = App::handling(Listening::H2c, echo).await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let (messages, body) = channel_body(1);
    let mut connection = vestibule.client().http2().connect().await;
    // The answer's head comes before the first message.
    let mut response = connection.begin(call("/s/Chat", &token).stream(body)).await.expect("an answer");
    for number in 0..20 {
        let message = Bytes::from(format!("message {number}"));
        messages.send(Frame::data(message.clone())).await.expect("a body that is read");
        assert_eq!(next(response.body_mut()).await, Some(message));
    }
    messages.send(Frame::trailers(status("0"))).await.expect("a body that is read");
    let frame = within("the trailers", response.body_mut().frame()).await.expect("a frame").expect("a body");
    assert_eq!(frame.into_trailers().expect("trailers"), status("0"));
}

#[tokio::test]
async fn many_streams_at_once() {
    const STREAMS: usize = 100;
    let all = Arc::new(Barrier::new(STREAMS));
    let app = App::handling(Listening::H2c, move |request| {
        let all = Arc::clone(&all);
        async move {
            // Nobody is answered before all have come.
            all.wait().await;
            Response::new(body(&[request.uri().path()], Some(status("0"))))
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config("workers: 1").start().await;
    let token = vestibule.token("admin").await;
    for _ in 0..2 {
        let stream = vestibule.client().http2().tls_stream().await.expect("a handshake");
        let (sender, connection) =
            http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let calls = (0..STREAMS).map(|number| {
            let mut sender = sender.clone();
            let request = Request::post(format!("https://localhost/{number}"))
                .header("authorization", format!("Bearer {token}"))
                .header("te", "trailers")
                .body(full("x"))
                .expect("a request");
            tokio::spawn(async move {
                let response = sender.send_request(request).await.expect("an answer");
                let collected = response.into_body().collect().await.expect("a body");
                assert_eq!(collected.trailers(), Some(&status("0")));
                assert_eq!(collected.to_bytes(), format!("/{number}"));
            })
        });
        for call in calls.collect::<Vec<_>>() {
            within("each call", call).await.expect("no panic");
        }
    }
}

/// More streams than the application allows at once wait for each other, and all are served.
#[tokio::test]
async fn more_clients_than_the_application_takes_at_once() {
    let app = App::handling(Listening::H2c, |_| async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Response::new(full("ok"))
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config("workers: 1").start().await;
    let token = vestibule.token("admin").await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        let stream = vestibule.client().http2().tls_stream().await.expect("a handshake");
        let (sender, connection) =
            http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        for _ in 0..100 {
            let mut sender = sender.clone();
            let request = Request::get("https://localhost/").header("authorization", format!("Bearer {token}"));
            let request = request.body(full("")).expect("a request");
            calls.push(tokio::spawn(async move { sender.send_request(request).await.map(|it| it.status().as_u16()) }));
        }
    }
    for call in calls {
        let status = within("each call", call).await.expect("no panic").expect("an answer");
        assert_eq!(status, 200);
    }
}

/// Streams that were not even begun are sent again over a fresh connection.
#[tokio::test]
async fn an_application_that_closes_its_connection() {
    let app = App::answering(Listening::H2c, |_| Response::new(full("ok"))).await;
    let far = app.url.strip_prefix("h2c://").expect("h2c").to_owned();
    // A middleman whose connections end when they are told to.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("h2c://{}", listener.local_addr().expect("an address"));
    let end = Arc::new(tokio::sync::Notify::new());
    let ended = Arc::clone(&end);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(&far).await.expect("the application");
            let ended = Arc::clone(&ended);
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = ended.notified() => {}
                }
            });
        }
    });
    let vestibule = Setup::new().upstream(url).config("workers: 1").start().await;
    let token = vestibule.token("admin").await;
    let mut connection = vestibule.client().http2().connect().await;
    for round in 0..10 {
        assert_eq!(connection.send(call("/", &token)).await.status, 200, "round {round}");
        end.notify_waiters();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(app.seen().len(), 10);
}
