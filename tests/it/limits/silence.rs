//! Connections that say nothing for a while: what they give up does not show, and what they keep is little.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::*;

/// Longer than it takes until a silent connection rests.
const A_WHILE: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn a_connection_goes_on_where_it_was_silent() {
    let app = App::answering(Listening::Http, |seen| http::Response::new(full(seen.body.clone()))).await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let ask =
        |path: &str, more: &str| format!("{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
    let mut wire = vestibule.client().wire().await;
    tokio::time::sleep(A_WHILE).await;
    for _ in 0..2 {
        wire.send(ask("GET /", "")).await;
        assert_eq!(wire.answer("GET").await.0.status(), 200);
        tokio::time::sleep(A_WHILE).await;
        wire.send(ask("POST /", "Content-Length: 4\r\n") + "body").await;
        assert_eq!(wire.answer("POST").await.1, b"body");
        // A part of a head is no silence, and is not lost by one.
        wire.send("GET /split HT").await;
        tokio::time::sleep(A_WHILE).await;
        wire.send(&ask("GET /split", "")["GET /split HT".len()..]).await;
        assert_eq!(wire.answer("GET").await.0.status(), 200);
        tokio::time::sleep(A_WHILE).await;
    }
    // Nor is a part that came with the request before it.
    wire.send(ask("GET /", "") + "GET /behind HT").await;
    assert_eq!(wire.answer("GET").await.0.status(), 200);
    tokio::time::sleep(A_WHILE).await;
    wire.send(&ask("GET /behind", "")["GET /behind HT".len()..]).await;
    assert_eq!(wire.answer("GET").await.0.status(), 200);
    let targets: Vec<_> = app.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(targets, ["/", "/", "/split", "/", "/", "/split", "/", "/behind"]);
}

/// HTTP/2 remembers fields of answers as long as a connection lives (RFC 7541, section 2.3.2); a buffer for each of them
/// would be a hundred times as much.
#[tokio::test]
async fn what_http2_remembers_of_answers_is_little() {
    const CONNECTIONS: usize = 60;
    const REQUESTS: usize = 50;
    for listening in [Listening::Http, Listening::H2c] {
        let app = App::answering(listening, |seen| {
            let answer = http::Response::builder().header("x-echo", seen.target.as_str());
            answer.body(full(vec![b'a'; 1024])).expect("a response")
        })
        .await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        let client = vestibule.client().http2();
        let mut connections: Vec<_> = stream::iter(0..CONNECTIONS).then(|_| client.connect()).collect().await;
        for connection in &mut connections {
            assert_eq!(connection.send(get("/first").bearer(&token)).await.status, 200);
        }
        let before = vestibule.resident();
        for number in 0..REQUESTS {
            for connection in &mut connections {
                let path = format!("/{number}");
                assert_eq!(connection.send(get(&path).bearer(&token)).await.header("x-echo"), Some(path.as_str()));
            }
        }
        let grown = vestibule.resident().saturating_sub(before);
        assert!(grown < 6 << 20, "{app}: {} KiB more for each connection", grown / 1024 / CONNECTIONS as u64);
    }
}
