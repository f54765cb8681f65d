//! Rights that are withdrawn under traffic end at the next request on every open connection, and end tunnels.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::figures::figure;
use super::{
    App, Connection, Jwk, Kept, Listening, Setup, Traffic, Wire, argon2, claims, credential, default_users, full, get,
    spread, within,
};

const CLIENTS: usize = 6;

#[derive(Debug, Clone, Copy)]
enum Withdrawal {
    Disabled,
    Removed,
    Group,
    Password,
    Key,
}

/// Starts a process whose store holds the default users and these keys, and withdraws rights one after another: what a
/// user has, and the second key. Within a `LocalSet`.
pub(crate) async fn withdrawn(setup: Setup, keys: [Jwk; 2], kept: &impl Kept, rounds: usize) {
    let app = app().await;
    let [stays, revoked] = &keys;
    let vestibule = setup.upstream(&app).config("{workers: 4, log: {access: false}}").start().await;
    let mut others = Traffic::default();
    let token = stays.token(&claims("two"));
    for client in [vestibule.client(), vestibule.client().http2()] {
        let token = token.clone();
        others.client(client.connect().await, async move |connection: &mut Connection| {
            assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200, "nothing was withdrawn here");
        });
    }
    let mut ends = Vec::new();
    let mut after = 0;
    for round in 0..rounds {
        let kinds =
            [Withdrawal::Disabled, Withdrawal::Removed, Withdrawal::Group, Withdrawal::Password, Withdrawal::Key];
        let kind = kinds[round % kinds.len()];
        let password = credential(default_users()["users"]["admin"]["passwords"][0]["hash"].as_str().expect("text"));
        let mut claims = claims("admin");
        claims["cred"] = json!(password);
        let token = if matches!(kind, Withdrawal::Key) { revoked.token(&claims) } else { stays.token(&claims) };

        let mut tunnel = vestibule.client().wire().await;
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n");
        tunnel.send(format!("{head}Connection: upgrade\r\nUpgrade: own\r\n\r\n")).await;
        assert_eq!(tunnel.head().await.expect("an answer").status(), 101);
        let tunnel = tokio::task::spawn_local(async move {
            drop(tunnel.rest().await);
            Instant::now()
        });

        let withdrawn = Arc::new(AtomicBool::new(false));
        let begun = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for number in 0..2 * CLIENTS {
            let client = vestibule.client();
            let mut connection = if number < CLIENTS { client } else { client.http2() }.connect().await;
            let (withdrawn, begun, token) = (Arc::clone(&withdrawn), Arc::clone(&begun), token.clone());
            clients.push(tokio::task::spawn_local(async move {
                let mut refused_before = false;
                for _ in 0.. {
                    let is_withdrawn = withdrawn.load(Ordering::SeqCst);
                    let status = connection.send(get("/").bearer(&token)).await.status;
                    let refusal = if matches!(kind, Withdrawal::Group) { 403 } else { 401 };
                    if status == refusal && begun.load(Ordering::SeqCst) {
                        refused_before = true;
                    } else {
                        assert_eq!(status, 200, "round {round}, {kind:?}");
                        assert!(!refused_before, "round {round}, {kind:?}: refused, and then served");
                    }
                    if is_withdrawn {
                        assert_eq!(status, refusal, "round {round}, {kind:?}: the next request on connection {number}");
                        break;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                assert!(!connection.is_closed(), "the connection itself lives on");
            }));
        }
        sleep(Duration::from_millis(30)).await;

        begun.store(true, Ordering::SeqCst);
        let (users, one_key) = (without(kind).to_string(), Jwk::ring(&keys[..1]));
        match kind {
            Withdrawal::Key => vestibule.reloaded("keys", "ok", kept.write_keys(&one_key)).await,
            _ => vestibule.reloaded("users", "ok", kept.write_users(&users)).await,
        };
        let in_force = Instant::now();
        withdrawn.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.expect("every connection is refused");
            after += 1;
        }
        let end = within("the tunnel's end", tunnel).await.expect("no panic");
        ends.push(end.saturating_duration_since(in_force));
        let (users, both_keys) = (default_users().to_string(), Jwk::ring(&keys));
        match kind {
            Withdrawal::Key => vestibule.reloaded("keys", "ok", kept.write_keys(&both_keys)).await,
            _ => vestibule.reloaded("users", "ok", kept.write_users(&users)).await,
        };
    }
    let (served, longest) = others.stop().await;
    figure("withdrawn rights: first requests after the change, all refused", format!("{after} in {rounds} rounds"));
    figure("withdrawn rights: from in force until the tunnel has ended", spread(&mut ends));
    figure("requests of others meanwhile, none failed", format!("{served}, the longest {} ms", longest.as_millis()));
    // It is milliseconds; a second is promised, and machines are busy.
    assert!(ends[ends.len() / 2] < Duration::from_secs(1), "{ends:?}");
}

/// Answers `hello`, or keeps an upgraded connection for as long as the other side does.
async fn app() -> App {
    App::handling(Listening::Http, |mut request: Request<hyper::body::Incoming>| async move {
        if !request.headers().contains_key("upgrade") {
            return Response::new(full("hello"));
        }
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(io) = upgrading.await else { return Ok::<_, Infallible>(()) };
            let mut wire = Wire::new(hyper_util::rt::TokioIo::new(io));
            drop(wire.rest().await);
            Ok(())
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "own");
        response.body(full("")).expect("a response")
    })
    .await
}

/// The default users; for a key that is withdrawn, as they are.
fn without(withdrawal: Withdrawal) -> Value {
    let mut users = default_users();
    let admin = &mut users["users"]["admin"];
    match withdrawal {
        Withdrawal::Disabled => admin["disabled"] = json!(true),
        Withdrawal::Group => admin["groups"] = json!(["Readers"]),
        Withdrawal::Password => admin["passwords"] = json!([{"hash": argon2("another")}]),
        Withdrawal::Removed => drop(users["users"].as_object_mut().expect("users").remove("admin")),
        Withdrawal::Key => {}
    }
    users
}
