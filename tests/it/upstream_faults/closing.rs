//! Connections that are kept, and those that close just as a request is on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Counts connections and requests; after each answer the closure may close or wait.
async fn counting(closes: bool) -> (App, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, taken) = (Arc::clone(&connections), Arc::clone(&requests));
    let app = App::raw(move |mut wire, _| {
        opened.fetch_add(1, Relaxed);
        let taken = Arc::clone(&taken);
        async move {
            while wire.request().await.is_some() {
                taken.fetch_add(1, Relaxed);
                wire.send(OK).await;
                if closes {
                    return;
                }
            }
        }
    })
    .await;
    (app, connections, requests)
}

#[tokio::test]
async fn connections_to_the_application_are_reused() {
    let (app, connections, requests) = counting(false).await;
    let vestibule = Setup::new().upstream(&app).config("workers: 1").start().await;
    let token = vestibule.token("admin").await;
    // Also between clients.
    for client in [vestibule.client(), vestibule.client().http2(), vestibule.client()] {
        let mut connection = client.connect().await;
        for _ in 0..10 {
            assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200);
            assert_eq!(connection.send(post("/").bearer(&token).body("some")).await.status, 200);
        }
    }
    assert_eq!((connections.load(Relaxed), requests.load(Relaxed)), (1, 60));
}

#[tokio::test]
async fn an_answer_that_says_close_ends_its_connection_and_no_more() {
    let connections = Arc::new(AtomicUsize::new(0));
    let opened = Arc::clone(&connections);
    let app = App::raw(move |mut wire, _| {
        opened.fetch_add(1, Relaxed);
        async move {
            wire.request().await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
            // It does not close by itself: the proxy must not use it again all the same.
            std::future::pending::<()>().await;
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config("workers: 1").start().await;
    let token = vestibule.token("admin").await;
    let mut connection = vestibule.client().connect().await;
    for round in 1..6 {
        assert_eq!(connection.send(get("/").bearer(&token)).await.text(), "ok");
        assert_eq!(connections.load(Relaxed), round);
    }
}

/// The application closes each connection after its answer without having said so: no GET is lost, no POST doubled.
#[tokio::test]
async fn no_get_is_lost_and_no_post_is_doubled() {
    const ROUNDS: usize = 300;
    let (app, _, requests) = counting(true).await;
    let vestibule = Setup::new().upstream(&app).config("workers: 1").start().await;
    let token = vestibule.token("admin").await;
    let mut connection = vestibule.client().connect().await;
    for round in 0..ROUNDS {
        // The moment between answer and request is never the same.
        tokio::time::sleep(Duration::from_micros((round * 37 % 50) as u64 * 20)).await;
        let answer = connection.send(get("/").bearer(&token)).await;
        assert_eq!(answer.status, 200, "round {round}");
    }
    assert_eq!(requests.load(Relaxed), ROUNDS, "each was taken once");
    requests.store(0, Relaxed);
    let mut answered = 0;
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_micros((round * 37 % 50) as u64 * 20)).await;
        let before = requests.load(Relaxed);
        let answer = connection.send(post("/").bearer(&token).body("some")).await;
        let taken = requests.load(Relaxed) - before;
        match answer.status {
            200 => assert_eq!(taken, 1, "round {round}"),
            502 => assert!(taken <= 1, "round {round}"),
            status => panic!("round {round}: {status}"),
        }
        answered += usize::from(answer.status == 200);
    }
    assert!(answered > ROUNDS / 2, "{answered} of {ROUNDS} were answered");
}

/// The application takes a request on a connection that was used before, and closes without an answer.
#[tokio::test]
async fn what_may_have_been_taken_is_sent_again_only_where_that_is_harmless() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let app = App::raw(move |mut wire, _| {
        let record = Arc::clone(&record);
        async move {
            // The first request of a connection is answered, the second one is not.
            for answers in [true, false] {
                let Some((head, _)) = wire.request().await else { return };
                record.lock().expect("nobody panics under this lock").push(head.method().to_owned());
                if answers {
                    wire.send(OK).await;
                }
            }
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config("workers: 1").start().await;
    let token = vestibule.token("admin").await;
    let mut connection = vestibule.client().connect().await;
    let taken = |method: &str| {
        let seen = seen.lock().expect("nobody panics under this lock");
        seen.iter().filter(|seen| *seen == method).count()
    };
    for (method, body, repeated) in [
        ("GET", "", true),
        ("PUT", "", true),
        ("DELETE", "", true),
        ("POST", "", false),
        ("PATCH", "", false),
        ("POST", "some", false),
        ("PUT", "some", false),
    ] {
        seen.lock().expect("nobody panics under this lock").clear();
        // A fresh connection that has served one request.
        assert_eq!(connection.send(Call::new("OPTIONS", "/").bearer(&token)).await.status, 200);
        let answer = connection.send(Call::new(method, "/").bearer(&token).body(body)).await;
        if repeated {
            assert_eq!((answer.status, taken(method)), (200, 2), "{method} {body}");
            // Uses up the connection that the second try has opened.
            connection.send(Call::new("OPTIONS", "/").bearer(&token)).await;
        } else {
            assert_eq!((answer.status, taken(method)), (502, 1), "{method} {body}");
        }
        // Whatever is left idle is old by now, or gone.
        tokio::time::sleep(Duration::from_millis(20)).await;
        while connection.send(Call::new("TRACE", "/").bearer(&token)).await.status != 200 {}
        connection.send(Call::new("TRACE", "/").bearer(&token)).await;
    }
}

#[tokio::test]
async fn an_application_that_restarts_between_requests() {
    let generation = Arc::new(tokio::sync::Notify::new());
    let restart = Arc::clone(&generation);
    let app = App::raw(move |mut wire, _| {
        let restart = Arc::clone(&restart);
        async move {
            tokio::select! {
                () = async { while wire.request().await.is_some() { wire.send(OK).await; } } => {}
                () = restart.notified() => {}
            }
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(vestibule.client().connect().await);
    }
    for round in 0..10 {
        for connection in &mut connections {
            assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200, "round {round}");
        }
        // All its connections end at once.
        generation.notify_waiters();
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}
