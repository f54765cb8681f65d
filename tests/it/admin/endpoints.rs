//! `/livez`, `/readyz`, `/metrics`, and nothing else.

use tokio::net::TcpStream;

use super::*;

async fn ask(vestibule: &Vestibule, bytes: &str) -> (Head, Vec<u8>) {
    let mut wire = Wire::new(TcpStream::connect(vestibule.admin).await.expect("the admin listener"));
    let method = bytes.split(' ').next().expect("a method").to_owned();
    wire.send(bytes).await;
    wire.answer(&method).await
}

#[tokio::test]
async fn three_paths_and_two_methods() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for (method, path, status) in [
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("HEAD", "/livez", 200),
        ("HEAD", "/readyz", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/livez?verbose", 200),
        ("POST", "/livez", 405),
        ("DELETE", "/metrics", 405),
        ("PUT", "/readyz", 405),
        ("GET", "/", 404),
        ("GET", "/authorize", 404),
        ("GET", "/open", 404),
        ("GET", "/livez/", 404),
        ("GET", "/debug/pprof", 404),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (head, _) = ask(&vestibule, &request).await;
        assert_eq!(head.status(), status, "{method} {path}");
        if status == 405 {
            assert!(head.one("allow").is_some_and(|allow| allow.contains("GET")), "{method} {path}");
        }
    }
    let (head, body) = ask(&vestibule, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(head.one("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{head:?}");
    assert!(String::from_utf8(body).expect("text").contains("# TYPE vestibule_requests_total counter"));
    assert!(app.seen().is_empty());
}

#[tokio::test]
async fn the_admin_paths_are_not_on_the_main_listener() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(vestibule.client().send(get(path)).await.status, 401, "{path}");
        let probe = get(path).header("user-agent", "kube-probe/1.36");
        assert_eq!(vestibule.client().send(probe).await.status, 401, "no header opens anything");
    }
}

#[tokio::test]
async fn slow_and_broken_clients_of_the_admin_listener() {
    let vestibule = Setup::new().start().await;
    let mut held = Vec::new();
    for bytes in ["", "GET /metrics HT", "\0\0\0\r\n\r\n", "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"].repeat(20) {
        let mut wire = Wire::new(TcpStream::connect(vestibule.admin).await.expect("the admin listener"));
        wire.send(bytes).await;
        held.push(wire);
    }
    assert_eq!(vestibule.admin("/livez").await.0, 200);
    let many = format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-Fill: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut wire = Wire::new(TcpStream::connect(vestibule.admin).await.expect("the admin listener"));
    wire.send(many).await;
    assert!(!wire.rest().await.starts_with(b"HTTP/1.1 200"));
    assert_eq!(vestibule.admin("/livez").await.0, 200);
}
