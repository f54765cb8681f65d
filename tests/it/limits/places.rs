//! How many at once: connections, and requests at the application.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::*;

#[tokio::test]
async fn a_connection_too_many_waits_for_one_to_close() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config("limits: {connections: 2}").start().await;
    let mut one = vestibule.client().connect().await;
    let mut two = vestibule.client().http2().connect().await;
    assert_eq!(one.send(get("/open")).await.status, 200);
    assert_eq!(two.send(get("/open")).await.status, 200);
    let client = vestibule.client();
    let mut third = tokio::spawn(async move { client.send(get("/open")).await.status });
    assert!(tokio::time::timeout(Duration::from_millis(700), &mut third).await.is_err(), "it waits");
    assert_eq!(vestibule.metrics().await.value("vestibule_connections"), 2.0);
    // Those that are there are served all the while, and the admin listener as well.
    assert_eq!(two.send(get("/open")).await.status, 200);
    assert_eq!(vestibule.admin("/readyz").await.0, 200);
    drop(one);
    assert_eq!(within("the third", third).await.expect("no panic"), 200);
}

/// An application whose answers wait for permits.
async fn gated() -> (App, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let app = App::handling(Listening::Http, move |_| {
        let gate = Arc::clone(&held);
        async move {
            gate.acquire().await.expect("an open gate").forget();
            http::Response::new(full("done"))
        }
    });
    (app.await, gate)
}

#[tokio::test]
async fn requests_too_many_wait_and_then_are_refused() {
    let (app, gate) = gated().await;
    let limits = "limits: {inFlight: 1, queueLength: 1, queueTimeout: 1s}";
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(limits).start().await;
    let ask = || {
        let client = vestibule.client().http2();
        tokio::spawn(async move { client.send(get("/open")).await })
    };
    let in_flight = async |count: f64| {
        eventually("requests at the application", async || {
            (vestibule.metrics().await.value("vestibule_requests_in_flight") == count).then_some(())
        })
        .await;
    };
    let first = ask();
    in_flight(1.0).await;
    let began = Instant::now();
    let second = ask();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The queue is full: refused at once.
    let third = ask().await.expect("no panic");
    assert!(began.elapsed() < Duration::from_millis(950), "{:?}", began.elapsed());
    let second = second.await.expect("no panic");
    assert!(began.elapsed() >= Duration::from_millis(950), "{:?}", began.elapsed());
    for refused in [&second, &third] {
        assert_eq!((refused.status, refused.json()["status"].as_u64()), (503, Some(503)));
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(vestibule.metrics().await.value("vestibule_requests_in_flight"), 1.0);
    // One that waits is served when a place comes free.
    let fourth = ask();
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.add_permits(2);
    assert_eq!(first.await.expect("no panic").text(), "done");
    assert_eq!(fourth.await.expect("no panic").text(), "done");
    in_flight(0.0).await;
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"overloaded\",code=\"503\"}"), 2.0);
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"open\",code=\"200\"}"), 2.0);
    // Logins need no place.
    gate.add_permits(10);
    vestibule.token("admin").await;
}

/// Whoever has waited longest is next.
#[tokio::test]
async fn requests_that_wait_are_served_in_their_order() {
    let gate = Arc::new(Semaphore::new(0));
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let app = {
        let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
        App::handling(Listening::Http, move |request| {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            async move {
                order.lock().expect("no panic").push(request.uri().path().to_owned());
                gate.acquire().await.expect("an open gate").forget();
                http::Response::new(full("done"))
            }
        })
        .await
    };
    let limits = "limits: {inFlight: 1, queueLength: 20, queueTimeout: 1m}";
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(limits).start().await;
    let mut asked = Vec::new();
    for number in 0..10 {
        let client = if number % 2 == 0 { vestibule.client() } else { vestibule.client().http2() };
        let mut connection = client.connect().await;
        // Both workers have them, and one queue is for both.
        asked.push(tokio::spawn(async move { connection.send(get(&format!("/open/{number}"))).await.status }));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    gate.add_permits(10);
    for asked in asked {
        assert_eq!(asked.await.expect("no panic"), 200);
    }
    let expected: Vec<_> = (0..10).map(|number| format!("/open/{number}")).collect();
    assert_eq!(*order.lock().expect("no panic"), expected);
}

/// Clients that leave while they wait, or while they are served, take no place with them.
#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let (app, gate) = gated().await;
    let limits = "limits: {inFlight: 1, queueLength: 1, queueTimeout: 5s}";
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(limits).start().await;
    for _ in 0..3 {
        for wait in [false, true] {
            let mut connections = Vec::new();
            for _ in 0..=usize::from(wait) {
                let mut connection = vestibule.client().connect().await;
                let begun = connection.begin(get("/open"));
                assert!(tokio::time::timeout(Duration::from_millis(200), begun).await.is_err());
                connections.push(connection);
            }
        }
    }
    gate.add_permits(100);
    assert_eq!(vestibule.client().send(get("/open")).await.text(), "done");
    eventually("nothing is in flight", async || {
        (vestibule.metrics().await.value("vestibule_requests_in_flight") == 0.0).then_some(())
    })
    .await;
}
