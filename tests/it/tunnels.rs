//! WebSockets and other upgrades: bytes both ways, for as long as the right to them lasts.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::*;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Echoes over WebSocket whatever the path; answers 400 under `/refuse`, and everything else with `plain`.
async fn app() -> App {
    App::handling(Listening::Http, |mut request| async move {
        if request.uri().path() == "/refuse" {
            return http::Response::builder().status(400).body(full("not here")).expect("a response");
        }
        if request.headers().get("upgrade").is_none_or(|upgrade| upgrade != "websocket") {
            return http::Response::new(full("plain"));
        }
        let key = request.headers()["sec-websocket-key"].as_bytes().to_vec();
        let seen = format!(
            "{} {}",
            request.headers().get("x-forwarded-user").map_or("nobody", |user| user.to_str().expect("ASCII")),
            request.headers().contains_key("authorization"),
        );
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(upgrading.await.expect("an upgrade"));
            let role = tungstenite::protocol::Role::Server;
            let mut socket = WebSocketStream::from_raw_socket(io, role, None).await;
            drop(socket.send(Message::text(seen)).await);
            while let Some(Ok(message)) = socket.next().await {
                if !(message.is_text() || message.is_binary()) || socket.send(message).await.is_err() {
                    break;
                }
            }
        });
        http::Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", tungstenite::handshake::derive_accept_key(&key))
            .header("x-app", "yes")
            .body(full(""))
            .expect("a response")
    })
    .await
}

async fn try_open(vestibule: &Vestibule, path: &str, token: &str) -> Result<Socket, tungstenite::Error> {
    let stream = vestibule.client().tls_stream().await.expect("a handshake");
    let request = Request::get(format!("wss://localhost{path}"))
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", tungstenite::handshake::client::generate_key())
        .body(())
        .expect("a request");
    let (socket, response) = within("a tunnel", tokio_tungstenite::client_async(request, stream)).await?;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["x-app"], "yes");
    assert_eq!(response.headers()["upgrade"], "websocket");
    Ok(socket)
}

/// A tunnel whose first message has come.
async fn open(vestibule: &Vestibule, path: &str, token: &str) -> (Socket, String) {
    let mut socket = try_open(vestibule, path, token).await.expect("a tunnel");
    let first = within("the first message", socket.next()).await.expect("a message").expect("a message");
    (socket, first.into_text().expect("text").to_string())
}

async fn echoes(socket: &mut Socket, text: &str) -> bool {
    if socket.send(Message::text(text)).await.is_err() {
        return false;
    }
    match within("an echo", socket.next()).await {
        Some(Ok(message)) => message.into_text().is_ok_and(|echo| echo.as_str() == text),
        _ => false,
    }
}

/// Waits until the other side has ended it; its close frame, if there was one.
async fn ended(socket: &mut Socket) -> Option<CloseFrame> {
    let end = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                return frame;
            }
        }
        None
    };
    within("the tunnel's end", end).await
}

async fn tunnels(vestibule: &Vestibule, count: f64) {
    eventually(&format!("{count} tunnels"), async || {
        (vestibule.metrics().await.value("vestibule_tunnels") == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn messages_pass_both_ways() {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let (mut one, who) = open(&vestibule, "/socket", &token).await;
    assert_eq!(who, "admin false", "the application knows who it is, and not the token");
    let (mut two, _) = open(&vestibule, "/socket?x", &token).await;
    tunnels(&vestibule, 2.0).await;
    assert_eq!(vestibule.metrics().await.value("vestibule_requests_in_flight"), 0.0, "a tunnel is none in flight");
    for round in 0..50 {
        assert!(echoes(&mut one, &format!("one {round}")).await);
        assert!(echoes(&mut two, &"two".repeat(round * 1000)).await);
    }
    one.close(None).await.expect("a close");
    ended(&mut one).await;
    drop(one);
    tunnels(&vestibule, 1.0).await;
    assert!(echoes(&mut two, "still").await);
    drop(two);
    tunnels(&vestibule, 0.0).await;
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"forwarded\",code=\"101\"}"), 2.0);
}

#[tokio::test]
async fn no_token_no_tunnel() {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let reader = vestibule.token("reader").await;
    for (token, status) in [("none", 401), (reader.as_str(), 403)] {
        match try_open(&vestibule, "/socket", token).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), status),
            other => panic!("{:?}", other.map(|_| "a tunnel")),
        }
    }
    assert_eq!(vestibule.metrics().await.value("vestibule_tunnels"), 0.0);
}

#[tokio::test]
async fn what_the_application_says_instead_passes() {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    match try_open(&vestibule, "/refuse", &token).await {
        Err(tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), 400);
            assert_eq!(response.body().as_deref(), Some(&b"not here"[..]));
        }
        other => panic!("{:?}", other.map(|_| "a tunnel")),
    }
    // The connection goes on after an upgrade that did not happen.
    let mut wire = vestibule.client().wire().await;
    let ask = format!(
        "GET /refuse HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"
    );
    for _ in 0..2 {
        wire.send(&ask).await;
        assert_eq!(wire.answer("GET").await.0.status(), 400);
    }
}

#[tokio::test]
async fn other_protocols_pass_and_http_in_another_dress_does_not() {
    let app = App::raw(|mut wire, _| async move {
        while let Some((head, _)) = wire.request().await {
            let upgrade = head.one("upgrade").map(str::to_owned);
            match upgrade {
                Some(protocol) => {
                    wire.send(format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\nfirst"
                    ))
                    .await;
                    loop {
                        let bytes = wire.some(1).await;
                        if bytes.is_empty() {
                            return;
                        }
                        wire.send(bytes).await;
                    }
                }
                None => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain").await,
            }
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let ask = |connection: &str, upgrade: &str, version: &str| {
        format!(
            "GET / HTTP/{version}\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{connection}{upgrade}\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
    };
    let mut wire = vestibule.client().wire().await;
    // Bytes may follow the request at once, and the answer's head as well.
    wire.send(format!("{}early", ask("Connection: upgrade\r\n", "Upgrade: own/1.0\r\n", "1.1"))).await;
    let head = wire.head().await.expect("an answer");
    assert_eq!((head.status(), head.one("upgrade")), (101, Some("own/1.0")));
    let mut bytes = wire.exactly(10).await;
    assert_eq!(bytes, b"firstearly");
    wire.send([0, 255, 13, 10]).await;
    bytes = wire.exactly(4).await;
    assert_eq!(bytes, [0, 255, 13, 10]);
    for (connection, upgrade, version) in [
        ("Connection: Upgrade, HTTP2-Settings\r\n", "Upgrade: h2c\r\n", "1.1"),
        ("Connection: Upgrade\r\n", "Upgrade: H2C\r\n", "1.1"),
        ("Connection: Upgrade\r\n", "Upgrade: own, h2c\r\n", "1.1"),
        ("Connection: Upgrade\r\n", "Upgrade: HTTP/2.0\r\n", "1.1"),
        ("", "Upgrade: own/1.0\r\n", "1.1"),
        ("Connection: upgrade\r\n", "Upgrade: own/1.0\r\n", "1.0"),
    ] {
        let (head, body) = vestibule.client().raw(ask(connection, upgrade, version)).await;
        assert_eq!((head.status(), body.as_slice()), (200, &b"plain"[..]), "{connection}{upgrade}{version}");
    }
    // Of two fields one counts, and the other never arrives.
    for upgrades in ["Upgrade: own\r\nUpgrade: h2c\r\n", "Upgrade: h2c\r\nUpgrade: own\r\n"] {
        let mut wire = vestibule.client().wire().await;
        wire.send(ask("Connection: Upgrade\r\n", upgrades, "1.1")).await;
        let head = wire.head().await.expect("an answer");
        assert!(head.status() == 200 || head.one("upgrade") == Some("own"), "{upgrades}: {head:?}");
    }
}

/// An application that has said everything still gets what the client says.
#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let (seen, mut was_seen) = mpsc::unbounded_channel();
    let app = App::raw(move |mut wire, _| {
        let seen = seen.clone();
        async move {
            if wire.request().await.is_some() {
                wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\nall").await;
                drop(wire.stream.shutdown().await);
                seen.send(wire.rest().await).expect("it is read");
            }
        }
    })
    .await;
    let open = "access: {rules: [{prefix: /open, allow: anyone}]}";
    let vestibule = Setup::new().upstream(&app).config(open).start().await;
    let mut wire = vestibule.client().wire().await;
    wire.send("GET /open HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n").await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    assert_eq!(wire.rest().await, b"all");
    for word in ["one ", "two ", "three"] {
        wire.send(word).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    within("the end", wire.stream.shutdown()).await.expect("an end");
    assert_eq!(within("the end", was_seen.recv()).await.expect("a connection"), b"one two three");
}

/// Two tunnels of `admin` and `two`: after the change `admin`'s ends and `two`'s goes on.
async fn ends_alone(change: impl AsyncFnOnce(&Vestibule, Value)) {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let (mut revoked, _) = open(&vestibule, "/", &vestibule.token("admin").await).await;
    let (mut stays, _) = open(&vestibule, "/", &vestibule.token("two").await).await;
    // A change of somebody else ends nothing.
    let mut users = default_users();
    users["users"]["reader"]["disabled"] = json!(true);
    vestibule.users(&users).await;
    assert!(echoes(&mut revoked, "a").await && echoes(&mut stays, "b").await);
    let began = Instant::now();
    change(&vestibule, users).await;
    let close = ended(&mut revoked).await.expect("a close frame");
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "access revoked"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(echoes(&mut stays, "c").await);
    tunnels(&vestibule, 1.0).await;
    let event = vestibule.event("tunnel_ended", |_| true).await;
    assert_eq!((&event["reason"], &event["user"]), (&json!("revoked"), &json!("admin")));
}

#[tokio::test]
async fn a_disabled_users_tunnel_ends() {
    ends_alone(async |vestibule, mut users| {
        users["users"]["admin"]["disabled"] = json!(true);
        vestibule.users(&users).await;
    })
    .await;
}

#[tokio::test]
async fn a_removed_users_tunnel_ends() {
    ends_alone(async |vestibule, mut users| {
        users["users"].as_object_mut().expect("users").remove("admin");
        vestibule.users(&users).await;
    })
    .await;
}

#[tokio::test]
async fn a_changed_passwords_tunnel_ends() {
    ends_alone(async |vestibule, mut users| {
        users["users"]["admin"]["passwords"] = json!([{"hash": argon2("another")}]);
        vestibule.users(&users).await;
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_ends_when_its_user_leaves_the_group() {
    ends_alone(async |vestibule, mut users| {
        users["users"]["admin"]["groups"] = json!(["Readers"]);
        vestibule.users(&users).await;
    })
    .await;
}

#[tokio::test]
async fn a_logged_out_users_tunnel_ends() {
    ends_alone(async |vestibule, mut users| {
        users["users"]["admin"]["tokensNotBefore"] = json!("2100-01-01T00:00:00Z");
        vestibule.users(&users).await;
    })
    .await;
}

#[tokio::test]
async fn a_revoked_keys_tunnels_end_and_others_stay() {
    let app = app().await;
    let (old, new) = (Jwk::fresh("HS512", "old"), Jwk::fresh("ES256", "new"));
    let keys = [old.clone(), new.clone()];
    let vestibule = Setup::new().upstream(&app).keys(&keys).start().await;
    let (mut gone, _) = open(&vestibule, "/", &old.token(&claims("admin"))).await;
    let (mut stays, _) = open(&vestibule, "/", &new.token(&claims("admin"))).await;
    vestibule.keys(&keys[1..]).await;
    ended(&mut gone).await;
    assert!(echoes(&mut stays, "x").await);
    tunnels(&vestibule, 1.0).await;
}

#[tokio::test]
async fn a_tunnel_outlives_its_token_but_not_its_session() {
    let app = app().await;
    let key = Jwk::fresh("HS512", "k");
    let setup = Setup::new().upstream(&app).keys(std::slice::from_ref(&key));
    let vestibule = setup.config("tokens: {maxSession: 6s, ttl: 2s, maxTtl: 5s}").start().await;
    let mut payload = claims("admin");
    payload["exp"] = json!(now() + 2);
    let began = Instant::now();
    let (mut socket, _) = open(&vestibule, "/", &key.token(&payload)).await;
    tokio::time::sleep(Duration::from_millis(3200)).await;
    assert!(echoes(&mut socket, "past exp").await);
    ended(&mut socket).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(4900) && took < Duration::from_secs(9), "{took:?}");
    let event = vestibule.event("tunnel_ended", |_| true).await;
    assert_eq!((&event["reason"], &event["user"]), (&json!("session_over"), &json!("admin")));
}

#[tokio::test]
async fn a_tunnel_may_end_with_its_token() {
    let app = app().await;
    let key = Jwk::fresh("HS512", "k");
    let setup = Setup::new().upstream(&app).keys(std::slice::from_ref(&key));
    let vestibule = setup.config("access: {tunnels: token}").start().await;
    let mut payload = claims("admin");
    payload["exp"] = json!(now() + 3);
    let (mut short, _) = open(&vestibule, "/", &key.token(&payload)).await;
    let (mut long, _) = open(&vestibule, "/", &key.token(&claims("admin"))).await;
    ended(&mut short).await;
    assert!(now() >= payload["exp"].as_u64().expect("a time"));
    assert!(now() <= payload["exp"].as_u64().expect("a time") + 4);
    assert!(echoes(&mut long, "x").await);
}

#[tokio::test]
async fn a_tunnel_on_an_open_path_is_nobodys() {
    let app = app().await;
    let rules = "access: {rules: [{path: /open, allow: anyone}]}";
    let vestibule = Setup::new().upstream(&app).config(rules).start().await;
    let (mut socket, who) = open(&vestibule, "/open", "none").await;
    assert_eq!(who, "nobody false");
    let mut users = default_users();
    users["users"]["admin"]["disabled"] = json!(true);
    vestibule.users(&users).await;
    assert!(echoes(&mut socket, "x").await);
}

#[tokio::test]
async fn a_tunnel_ends_when_either_side_goes() {
    let app = App::raw(|mut wire, _| async move {
        if wire.request().await.is_some() {
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\nbye").await;
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let mut wire = vestibule.client().wire().await;
    wire.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    assert_eq!(wire.exactly(3).await, b"bye");
    assert_eq!(wire.rest().await, b"");
    drop(wire);
    tunnels(&vestibule, 0.0).await;
    eventually("the connection is gone", async || {
        (vestibule.metrics().await.value("vestibule_connections") == 0.0).then_some(())
    })
    .await;
}
