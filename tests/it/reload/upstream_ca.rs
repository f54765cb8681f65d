//! Whom an application behind TLS is trusted by: new connections count, open ones live on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vestibule::pki::LocalCa;

use super::*;

/// An application behind TLS, whose certificate can be changed. It closes the connection after `/last`.
struct TlsApp {
    port: u16,
    accepted: Arc<AtomicUsize>,
    serving: Arc<Mutex<Arc<ServerConfig>>>,
}

impl TlsApp {
    async fn start(ca: &LocalCa) -> Self {
        let serving = Arc::new(Mutex::new(certified(ca)));
        let accepted = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let app = Self {
            port: listener.local_addr().expect("an address").port(),
            accepted: Arc::clone(&accepted),
            serving: Arc::clone(&serving),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                let acceptor = TlsAcceptor::from(Arc::clone(&serving.lock().expect("nobody panics under this lock")));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                        let mut response = Response::new(full("over TLS"));
                        if request.uri().path() == "/last" {
                            response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
                        }
                        Ok::<_, std::convert::Infallible>(response)
                    });
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        app
    }

    fn change_to(&self, ca: &LocalCa) {
        *self.serving.lock().expect("nobody panics under this lock") = certified(ca);
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn certified(ca: &LocalCa) -> Arc<ServerConfig> {
    server_config(&ca.issue_server(&["localhost"], 30, now()).expect("a certificate"))
}

#[tokio::test]
async fn new_connections_are_verified_against_the_new_roots() {
    let (one, two) = (LocalCa::create(now()).expect("an authority"), LocalCa::create(now()).expect("an authority"));
    let app = TlsApp::start(&one).await;
    let setup = Setup::new();
    let volume = setup.path("mounted");
    publish(&volume, "1", &[("ca.crt", one.cert_pem())]);
    let config = format!("{{workers: 1, upstreamCa: {}}}", volume.join("ca.crt").display());
    let vestibule = setup.config(&config).upstream(format!("https://localhost:{}", app.port)).start().await;
    let token = vestibule.token("admin").await;
    let ask = async |path: &str| vestibule.client().send(get(path).bearer(&token)).await.status;
    assert_eq!(ask("/").await, 200);

    reloaded(&vestibule, "certificate", "ok", || publish(&volume, "2", &[("ca.crt", two.cert_pem())])).await;
    assert_eq!((ask("/").await, app.accepted()), (200, 1), "the connection that is open lives on");
    assert_eq!((ask("/last").await, app.accepted()), (200, 1));
    assert_eq!(ask("/").await, 502, "the old authority counts no more, nor does a session of its time");
    app.change_to(&two);
    assert_eq!(ask("/last").await, 200);

    // Bad ones change nothing.
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (version, text) in [("3", ""), ("4", garbage), ("5", two.cert_pem().split_at(100).0)] {
        let bad = || publish(&volume, version, &[("ca.crt", text)]);
        reloaded(&vestibule, "certificate", "error", bad).await;
        assert_eq!(ask("/last").await, 200, "version {version}");
    }
    let event = vestibule.event("reload", |event| event["outcome"] == "error").await;
    assert!(event["error"].as_str().expect("text").starts_with("upstreamCa: "), "{event}");

    let both = format!("{}{}", one.cert_pem(), two.cert_pem());
    reloaded(&vestibule, "certificate", "ok", || publish(&volume, "6", &[("ca.crt", &both)])).await;
    for ca in [&one, &two] {
        app.change_to(ca);
        assert_eq!(ask("/last").await, 200, "both count");
    }
    // The same roots again are no reload.
    publish(&volume, "7", &[("ca.crt", &both)]);
    reloaded(&vestibule, "certificate", "ok", || publish(&volume, "8", &[("ca.crt", one.cert_pem())])).await;
    assert_eq!(count(&vestibule, "certificate", "ok").await, 3.0);
    assert_eq!(count(&vestibule, "certificate", "error").await, 3.0);
}
