//! The tools of the tests themselves: each is used once, on something that must simply work.

use http::{HeaderMap, HeaderValue, Response};

use crate::support::*;

#[tokio::test]
async fn a_login_a_request_and_the_end() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let mut connection = client.connect().await;
        for _ in 0..2 {
            let answer = connection.send(get("/things?a=b").bearer(&token)).await;
            assert_eq!((answer.status, answer.text()), (200, "hello"));
        }
        assert!(!connection.is_closed());
    }
    let seen = app.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/things?a=b"));
    assert_eq!(seen.header("x-forwarded-user"), Some("admin"));
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"forwarded\",code=\"200\"}"), 4.0);
    assert_eq!(metrics.sum("vestibule_requests_total"), 5.0);
    let login = vestibule.event("login", |login| login["outcome"] == "granted").await;
    assert_eq!(login["user"], "admin");
    assert_eq!(vestibule.stop().await, Some(0));
}

#[tokio::test]
async fn trailers_both_ways_over_h2c() {
    let app = App::answering(Listening::H2c, |seen| {
        let trailers = seen.trailers.clone();
        Response::new(body(&["one", "two"], trailers))
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let call = post("/call").bearer(&token).header("te", "trailers").stream(body(&["a", "b"], Some(trailers.clone())));
    let answer = vestibule.client().http2().send(call).await;
    assert_eq!((answer.status, answer.text()), (200, "onetwo"));
    assert_eq!(answer.trailers, Some(trailers.clone()));
    assert_eq!((app.last().body.as_ref(), app.last().trailers), (&b"ab"[..], Some(trailers)));
}

#[tokio::test]
async fn a_unix_socket_and_bytes_on_the_wire() {
    let setup = Setup::new();
    let socket = setup.path("app.sock");
    let app = App::answering(Listening::Unix(&socket), |_| Response::new(full("unix"))).await;
    let vestibule = setup.upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let mut wire = vestibule.client().wire().await;
    for _ in 0..2 {
        wire.send(format!("GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")).await;
        let (head, body) = wire.answer("GET").await;
        assert_eq!((head.status(), body.as_slice()), (200, &b"unix"[..]));
    }
}

#[tokio::test]
async fn a_raw_application() {
    let app = App::raw(|mut wire, _| async move {
        while let Some((head, body)) = wire.request().await {
            let text = format!("{} {} {}", head.method(), head.target(), body.len());
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            wire.send(answer).await;
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let answer = vestibule.client().send(post("/x?y").bearer(&token).body("four")).await;
    assert_eq!(answer.text(), "POST /x?y 4");
}

#[tokio::test]
async fn a_token_of_ones_own_and_a_ring_of_ones_own() {
    let app = App::start().await;
    for algorithm in ["HS512", "ES256", "EdDSA"] {
        let key = Jwk::fresh(algorithm, "k1");
        let vestibule = Setup::new().upstream(&app).keys(std::slice::from_ref(&key)).start().await;
        assert_eq!(vestibule.ring(), std::slice::from_ref(&key), "{algorithm}");
        let answer = vestibule.client().send(get("/").bearer(&key.token(&claims("admin")))).await;
        assert_eq!(answer.status, 200, "{algorithm}");
        assert_eq!(decode(&vestibule.token("admin").await).0, key.header(), "{algorithm}");
    }
}
