//! A service that panics at times, behind the real accept loop, TLS and both protocols.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::{ClientAuth, MinVersion};
use crate::metrics::Metrics;
use crate::pki::LocalCa;
use crate::shutdown::Shutdown;
use crate::store::tls_material::Pair;
use crate::telemetry::Logger;

/// Panics where the path says so, before its answer or in a task of its own.
struct Clumsy;

struct ClumsyPeer {
    activity: Activity,
    _held: Held,
}

struct Plain;

impl HeadRefused for Plain {
    fn refused(&self, _: u16) -> Bytes {
        Bytes::new()
    }
}

impl Service for Clumsy {
    type Peer = ClumsyPeer;
    type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>;

    fn connected(self: Rc<Self>, _: SocketAddr, activity: Activity, held: Held) -> ClumsyPeer {
        ClumsyPeer { activity, _held: held }
    }

    fn head_refused(_: &ClumsyPeer) -> Box<dyn HeadRefused> {
        Box::new(Plain)
    }

    async fn serve(peer: Rc<ClumsyPeer>, request: Request<Incoming>) -> Result<Response<Self::Body>, Infallible> {
        let _serving = peer.activity.serve(Some(0));
        let mut body = Bytes::from_static(b"fine");
        match request.uri().path() {
            "/panic" => panic!("a request's own affair"),
            "/late" => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                panic!("a request's own affair");
            }
            "/task" => drop(tokio::task::spawn_local(async { panic!("a task's own affair") }).await),
            "/long" => body = vec![b'a'; LONG].into(),
            "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
            _ => {}
        }
        Ok(Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync()))
    }
}

struct Served {
    address: SocketAddr,
    tls: TlsConnector,
    metrics: Arc<Metrics>,
    permits: Arc<Semaphore>,
    /// All that its clients have read, below TLS.
    heard: Rc<RefCell<Vec<u8>>>,
}

/// Notes what it reads.
struct Heard {
    tcp: TcpStream,
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.bytes.borrow_mut().extend_from_slice(&buf.filled()[before..]);
        result
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

const CONNECTIONS: usize = 8;

/// The body of `/long`: the HTTP/2 library hands over what is larger than 256 bytes by itself.
const LONG: usize = 1_000;

async fn start() -> Served {
    let ca = LocalCa::create(crate::clock::epoch()).expect("an authority");
    let issued = ca.issue_server(&["localhost"], 1, crate::clock::epoch()).expect("a certificate");
    let pair = Pair {
        cert_chain: vec![CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).expect("PEM")],
        key: PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("PEM"),
    };
    let options =
        TlsOptions { min_version: MinVersion::Tls13, client_ca: Vec::new(), client_auth: ClientAuth::Required };
    let (_, tls) = watch::channel(server_config(&pair, &options).expect("a configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (metrics, permits, shutdown) =
        (Arc::new(Metrics::new()), Arc::new(Semaphore::new(CONNECTIONS)), Shutdown::new());
    let seconds = Duration::from_secs;
    tokio::task::spawn_local(accept(Accept {
        listener,
        service: Rc::new(Clumsy),
        metrics: Arc::clone(&metrics),
        log: Logger::disabled(),
        tls,
        permits: Arc::clone(&permits),
        limits: ConnectionLimits {
            header_bytes: 8192,
            header_timeout: seconds(10),
            idle_timeout: seconds(60),
            handshake_timeout: seconds(10),
        },
        roster: Roster::new(),
        phase: shutdown.phase(),
        shutdown,
    }));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    Served { address, tls: Arc::new(config).into(), metrics, permits, heard: Rc::default() }
}

impl Served {
    async fn connect(&self, protocol: &[u8]) -> TokioIo<TlsStream<Heard>> {
        let tcp = TcpStream::connect(self.address).await.expect("a connection");
        let heard = Heard { tcp, bytes: Rc::clone(&self.heard) };
        let name = ServerName::try_from("localhost").expect("a name");
        let mut config = ClientConfig::clone(self.tls.config());
        config.alpn_protocols = vec![protocol.to_vec()];
        TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, heard).await.expect("a handshake"))
    }

    async fn http2(&self) -> http2::SendRequest<Empty<Bytes>> {
        let (sender, connection) =
            http2::handshake(LocalExecutor, self.connect(b"h2").await).await.expect("a connection");
        tokio::task::spawn_local(async move { drop(connection.await) });
        sender
    }

    async fn http1(&self) -> http1::SendRequest<Empty<Bytes>> {
        let (sender, connection) = http1::handshake(self.connect(b"http/1.1").await).await.expect("a connection");
        tokio::task::spawn_local(async move { drop(connection.await) });
        sender
    }
}

fn ask(path: &str) -> Request<Empty<Bytes>> {
    let request = Request::builder().uri(format!("https://localhost{path}")).header("host", "localhost");
    request.body(Empty::new()).expect("a request")
}

fn on_a_worker(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
    runtime.block_on(test);
}

#[test]
fn a_panic_ends_its_own_stream_alone() {
    on_a_worker(async {
        let served = start().await;
        let mut connection = served.http2().await;
        for path in ["/panic", "/late"] {
            let slow = connection.send_request(ask("/slow"));
            assert!(connection.send_request(ask(path)).await.is_err(), "{path}");
            assert_eq!(slow.await.expect("another stream of the connection").status(), 200, "{path}");
        }
        assert_eq!(connection.send_request(ask("/task")).await.expect("an answer").status(), 200);
        assert_eq!(connection.send_request(ask("/")).await.expect("an answer").status(), 200);
    });
}

#[test]
fn a_panic_takes_no_connection_with_it() {
    on_a_worker(async {
        let served = start().await;
        // More than there are places, one after the other.
        for number in 0..3 * CONNECTIONS {
            let path = if number % 2 == 0 { "/panic" } else { "/late" };
            assert!(served.http1().await.send_request(ask(path)).await.is_err());
        }
        let mut whole = served.http1().await;
        assert_eq!(whole.send_request(ask("/")).await.expect("an answer").status(), 200);
        assert!(served.metrics.render().1.contains("\nvestibule_connections 1\n"), "{}", served.metrics.render().1);
        // One that is open, and one that the accept loop holds in advance.
        assert_eq!(served.permits.available_permits(), CONNECTIONS - 2);
    });
}

#[test]
fn answers_that_are_ready_together_share_a_record() {
    on_a_worker(async {
        let served = start().await;
        let mut connection = served.http2().await;
        assert_eq!(connection.send_request(ask("/")).await.expect("an answer").status(), 200);
        served.heard.borrow_mut().clear();
        for answer in join_all((0..8).map(|_| connection.send_request(ask("/long")))).await {
            let body = answer.expect("an answer").collect().await.expect("a body");
            assert_eq!(body.to_bytes().len(), LONG);
        }
        // A record is its type, two bytes of version, two of length, and that many (RFC 8446, section 5.1).
        let (heard, mut records) = (served.heard.borrow(), 0);
        let mut rest = &heard[..];
        while let [_, _, _, high, low, ..] = *rest {
            rest = &rest[5 + usize::from(u16::from_be_bytes([high, low]))..];
            records += 1;
        }
        // The requests may have come in two pieces, and acknowledgements of frames go by themselves.
        assert!(records <= 3, "{records} records for 8 answers");
    });
}
