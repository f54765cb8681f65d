//! No connection, or one that leads nowhere.

use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

#[tokio::test]
async fn an_application_that_is_down_at_the_start_and_comes_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    // It is none of readiness's business whether the application is there.
    let vestibule = Setup::new().upstream(format!("http://{address}")).start().await;
    let token = vestibule.token("admin").await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let mut connection = client.connect().await;
        assert_failed(&connection.send(get("/").bearer(&token)).await, 502, "down");
        assert_failed(&connection.send(post("/").bearer(&token).body("some")).await, 502, "down");
    }
    assert_counted(&vestibule, "connect", 4.0).await;
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"upstream_error\",code=\"502\"}"), 4.0);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(address).expect("the port is still free");
    let listener = socket.listen(16).expect("a listener");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut wire = Wire::new(stream);
            while wire.request().await.is_some() {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup").await;
            }
        }
    });
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.text(), "up");
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let vestibule = Setup::new().upstream("http://no-such-host.invalid:80").start().await;
    let token = vestibule.token("admin").await;
    let answer = vestibule.client().send(get("/").bearer(&token)).await;
    assert!([502, 504].contains(&answer.status), "{answer:?}");
    assert_failed(&answer, answer.status, "no such name");
}

#[tokio::test]
async fn a_backlog_that_is_full_is_a_timeout() {
    // Nobody accepts, and what is queued fills the queue: further connections get no answer.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(0).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 64, "a backlog of none takes everything");
    }
    let setup = Setup::new().upstream(format!("http://{address}"));
    let vestibule = setup.config("limits: {upstreamConnect: 1s}").start().await;
    let token = vestibule.token("admin").await;
    let began = Instant::now();
    assert_failed(&vestibule.client().send(get("/").bearer(&token)).await, 504, "no connection");
    assert!(began.elapsed() > Duration::from_millis(900) && began.elapsed() < Duration::from_secs(4));
    assert_counted(&vestibule, "connect_timeout", 1.0).await;
}
