//! What holds where nothing is configured: the defaults are in force, and not only in the documents.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::*;

/// The least and the most, in seconds: the machine may be busy, and the next longer default is far.
async fn lasts(least: f64, most: f64, what: &str, wait: impl Future<Output = ()>) {
    let began = Instant::now();
    if tokio::time::timeout(Duration::from_secs(60), wait).await.is_err() {
        panic!("{what}: not within a minute");
    }
    let took = began.elapsed().as_secs_f64();
    assert!((least..most).contains(&took), "{what}: {took} s");
}

/// `headerTimeout` and `handshakeTimeout`: 10 s.
#[tokio::test]
async fn heads_handshakes_and_logins_have_ten_seconds() {
    let vestibule = Setup::new().start().await;
    let head = async {
        let mut wire = vestibule.client().wire().await;
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
        wire.rest().await;
    };
    let handshake = async {
        let mut wire = Wire::new(vestibule.client().tcp_stream().await.expect("a connection"));
        wire.rest().await;
    };
    let login = async {
        let mut wire = vestibule.client().wire().await;
        wire.send("POST /authorize HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{").await;
        assert_eq!(wire.answer("POST").await.0.status(), 408);
    };
    tokio::join!(
        lasts(9.5, 19.0, "a head", head),
        lasts(9.5, 19.0, "a handshake", handshake),
        lasts(9.5, 19.0, "a login's body", login),
    );
}

/// `queueLength` 128 and `queueTimeout` 5 s.
#[tokio::test]
async fn the_queue_has_128_places_and_5_seconds() {
    let app = App::handling(Listening::Http, |_| async {
        std::future::pending::<()>().await;
        http::Response::new(full(""))
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config("limits: {inFlight: 1}").start().await;
    let vestibule = Arc::new(vestibule);
    let (begun, all) = (Arc::new(Semaphore::new(0)), 140);
    let mut waits = Vec::new();
    for number in 0..all {
        let (vestibule, begun) = (Arc::clone(&vestibule), Arc::clone(&begun));
        waits.push(tokio::spawn(async move {
            let mut connection = vestibule.client().connect().await;
            // All connections are there first.
            begun.add_permits(1);
            while begun.available_permits() < all {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let began = Instant::now();
            if number == 0 {
                let begun = connection.begin(get("/open"));
                drop(tokio::time::timeout(Duration::from_secs(15), begun).await);
                return None;
            }
            // One is at the application before the others.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let answer = connection.send(get("/open")).await;
            assert_eq!(answer.status, 503);
            Some(began.elapsed().as_secs_f64() - 0.5)
        }));
    }
    let (mut at_once, mut later) = (0, 0);
    for wait in waits {
        match wait.await.expect("no panic") {
            None => {}
            Some(took) if took < 4.0 => at_once += 1,
            Some(took) => {
                assert!((4.9..12.0).contains(&took), "{took} s");
                later += 1;
            }
        }
    }
    assert_eq!((at_once, later), (all - 1 - 128, 128));
}
