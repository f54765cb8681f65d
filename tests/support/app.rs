//! Applications to stand in front of: scripted ones that record what they get, and ones that misbehave byte by byte.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use vestibule::pki::Issued;

use super::client::Body;
use super::wire::Wire;

const SEND_BUFFER: usize = 256 * 1024;

/// An application; it ends when it is dropped.
pub(crate) struct App {
    /// As `upstream` takes it.
    pub(crate) url: String,
    seen: Recorded,
    #[expect(dead_code, reason = "held for its drop")]
    serving: Serving,
}

struct Serving(JoinHandle<()>);

/// A request as the application got it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query, as they came.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Where and in which protocol an application listens.
pub(crate) enum Listening<'a> {
    Http,
    H2c,
    /// With this certificate, as `localhost`.
    Tls(&'a Issued),
    Unix(&'a Path),
}

type Recorded = Arc<Mutex<Vec<Seen>>>;
type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// A body of one piece.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body of these pieces, and of these trailers.
pub(crate) fn body(pieces: &[&str], trailers: Option<HeaderMap>) -> Body {
    let pieces: Vec<_> = pieces.iter().map(|piece| Frame::data(Bytes::copy_from_slice(piece.as_bytes()))).collect();
    let frames = pieces.into_iter().chain(trailers.map(Frame::trailers)).map(Ok::<_, Infallible>);
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

impl Seen {
    /// The value of a header that stands once, or not at all.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} stands more than once: {:?}", self.headers);
        Some(value.to_str().expect("a header of visible ASCII"))
    }

    async fn record(request: Request<Incoming>, recorded: &Recorded) -> Option<Self> {
        let (head, body) = request.into_parts();
        // A body that breaks off is never a request that was seen whole.
        let collected = body.collect().await.ok()?;
        let trailers = collected.trailers().cloned();
        let seen = Self {
            method: head.method.to_string(),
            target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: head.headers,
            body: collected.to_bytes(),
            trailers,
        };
        recorded.lock().expect("nobody panics under this lock").push(seen.clone());
        Some(seen)
    }
}

impl App {
    /// Answers everything with 200 and `hello`.
    pub(crate) async fn start() -> Self {
        Self::answering(Listening::Http, |_| Response::new(full("hello"))).await
    }

    /// Reads each request whole and answers what the closure says.
    pub(crate) async fn answering(
        listening: Listening<'_>,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        let seen = Recorded::default();
        let recorded = Arc::clone(&seen);
        let app = Self::handling(listening, move |request| {
            let (answer, recorded) = (Arc::clone(&answer), Arc::clone(&recorded));
            async move {
                match Seen::record(request, &recorded).await {
                    Some(seen) => answer(&seen),
                    None => Response::builder().status(599).body(full("")).expect("a response"),
                }
            }
        });
        Self { seen, ..app.await }
    }

    /// Answers as the closure likes, before the body is there or after a while; records nothing.
    pub(crate) async fn handling<F>(
        listening: Listening<'_>,
        handle: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handle(request)));
        match listening {
            Listening::Http | Listening::H2c => {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("an address");
                // What the system would hold for hundreds of answers that nobody reads: all it has for the machine.
                socket2::SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER).expect("a buffer");
                let is_h2c = matches!(listening, Listening::H2c);
                let url = format!("{}://{address}", if is_h2c { "h2c" } else { "http" });
                let serving = tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(stream, is_h2c, Arc::clone(&handler)));
                    }
                });
                Self::new(url, serving)
            }
            Listening::Tls(issued) => {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
                let acceptor = TlsAcceptor::from(server_config(issued));
                let serving = tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
                        tokio::spawn(async move {
                            // Whoever does not trust it leaves.
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            serve(stream, false, handler).await;
                        });
                    }
                });
                Self::new(url, serving)
            }
            Listening::Unix(path) => {
                let listener = UnixListener::bind(path).expect("a socket");
                let url = format!("unix:{}", path.display());
                let serving = tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(stream, false, Arc::clone(&handler)));
                    }
                });
                Self::new(url, serving)
            }
        }
    }

    /// Gives each connection to the closure, with its number from 0; what it does with the bytes is its affair.
    pub(crate) async fn raw<F>(serve: impl Fn(Wire<TcpStream>, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Wire::new(stream), number));
                number += 1;
            }
        });
        Self::new(url, serving)
    }

    fn new(url: String, serving: JoinHandle<()>) -> Self {
        Self { url, seen: Recorded::default(), serving: Serving(serving) }
    }

    /// The requests that it has got whole, in their order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics under this lock").clone()
    }

    /// The latest request; panics where there is none.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("a request has come")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// What a TLS application shows its certificate by.
pub(crate) fn server_config(issued: &Issued) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a chain"), key)
        .expect("a pair");
    Arc::new(config)
}

async fn serve<S>(stream: S, is_h2c: bool, handler: Handler)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| {
        let answering = handler(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    // Broken connections are what some tests are about.
    if is_h2c {
        drop(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await);
    } else {
        drop(http1::Builder::new().serve_connection(io, service).with_upgrades().await);
    }
}
