//! Applications over TCP, TLS, a Unix socket and HTTP/2.

use std::fs;

use vestibule::pki::LocalCa;

use super::*;

/// An application behind TLS whose certificate names `name`.
async fn tls_app(ca: &LocalCa, name: &str) -> App {
    let issued = ca.issue_server(&[name], 30, now()).expect("a certificate");
    App::answering(Listening::Tls(&issued), |_| Response::new(full("over TLS"))).await
}

#[tokio::test]
async fn an_application_behind_tls_must_prove_its_name() {
    let ca = LocalCa::create(now()).expect("an authority");
    let right = tls_app(&ca, "localhost").await;
    let other_name = tls_app(&ca, "elsewhere.example").await;
    let other_ca = tls_app(&LocalCa::create(now()).expect("an authority"), "localhost").await;
    for (what, app, status) in
        [("right", &right, 200), ("another name", &other_name, 502), ("another authority", &other_ca, 502)]
    {
        let setup = Setup::new().file("upstream-ca.crt", ca.cert_pem());
        let path = setup.path("upstream-ca.crt").display().to_string();
        let setup = setup.config(&format!("upstreamCa: {path}")).upstream(app);
        let vestibule = setup.start().await;
        let token = vestibule.token("admin").await;
        let mut connection = vestibule.client().connect().await;
        for _ in 0..2 {
            let answer = connection.send(get("/").bearer(&token)).await;
            assert_eq!(answer.status, status, "{what}: {answer:?}");
            if status == 200 {
                assert_eq!(answer.text(), "over TLS");
            } else {
                assert_eq!(answer.json()["status"], 502, "{what}");
            }
        }
        let failed = vestibule.metrics().await.counted("vestibule_upstream_errors_total");
        if status == 502 {
            assert_eq!(failed, [("{reason=\"tls\"}".to_owned(), 2.0)], "{what}");
        } else {
            assert_eq!(failed, []);
        }
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_a_configuration_error() {
    let setup = Setup::new().file("upstream-ca.crt", "no certificate");
    let path = setup.path("upstream-ca.crt");
    let failed = setup.config(&format!("upstreamCa: {}", path.display())).upstream("https://localhost:1").fails().await;
    assert_eq!(failed.code, Some(64));
    assert!(failed.stderr.contains("upstreamCa"), "{}", failed.stderr);
}

#[tokio::test]
async fn every_kind_of_application_gets_the_same_request() {
    let setup = Setup::new();
    let socket = setup.path("app.sock");
    let unix = App::answering(Listening::Unix(&socket), |_| Response::new(full("hello"))).await;
    let http = App::start().await;
    let h2c = App::answering(Listening::H2c, |_| Response::new(full("hello"))).await;
    let mut setups = vec![(setup, &unix), (Setup::new(), &http), (Setup::new(), &h2c)];
    for (setup, app) in setups.drain(..) {
        let vestibule = setup.upstream(app).start().await;
        let token = vestibule.token("admin").await;
        for client in [vestibule.client(), vestibule.client().http2()] {
            let call = post("/some/path?a=1&b=%20").bearer(&token).header("x-own", "1").body("the body");
            let answer = client.send(call).await;
            assert_eq!((answer.status, answer.text()), (200, "hello"), "{app}");
            let seen = app.last();
            assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/some/path?a=1&b=%20"), "{app}");
            assert_eq!((seen.header("x-own"), seen.body.as_ref()), (Some("1"), &b"the body"[..]), "{app}");
            assert_eq!(seen.header("x-forwarded-user"), Some("admin"), "{app}");
        }
    }
}

#[tokio::test]
async fn a_socket_that_is_not_there_yet_is_found_when_it_is() {
    let setup = Setup::new();
    let socket = setup.path("app.sock");
    let vestibule = setup.upstream(format!("unix:{}", socket.display())).start().await;
    let token = vestibule.token("admin").await;
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 502);
    fs::write(&socket, "a file, not a socket").expect("a file");
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 502);
    fs::remove_file(&socket).expect("a file");
    let app = App::answering(Listening::Unix(&socket), |_| Response::new(full("hello"))).await;
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200);
    drop(app);
}
