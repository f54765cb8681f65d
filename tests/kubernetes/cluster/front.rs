//! A reverse proxy in front of the API server that sees through TLS: answers in its place, tampers with watches, with
//! the time, and ends connections politely.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, DATE, HOST, RETRY_AFTER, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::watches::{Change, Watches};
use super::{Authority, Kubeconfig};
use crate::support::{Call, Client};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Speaks HTTP/2 and HTTP/1.1, or the latter alone; everything ends when it is dropped. It passes tokens on, and no client certificate.
pub(crate) struct Front {
    /// Where clients connect to; [`Front::kubeconfig`] has it.
    pub(crate) address: SocketAddr,
    ca: String,
    shared: Arc<Shared>,
    /// How often it has said goodbye to all connections.
    goodbyes: watch::Sender<u64>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// The Secret that is asked for, by its path or by a field selector.
    pub(crate) secret: Option<String>,
    pub(crate) is_watch: bool,
    pub(crate) is_http2: bool,
    pub(crate) user_agent: String,
}

/// What is answered instead of the API server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    status: u16,
    retry_after: Option<u32>,
}

struct Shared {
    server: Client,
    rules: Mutex<Vec<Rule>>,
    asked: Mutex<Vec<Asked>>,
    /// Seconds that are added to `Date`.
    clock: AtomicI64,
    watches: Watches,
}

struct Rule {
    fits: Box<dyn Fn(&Asked) -> bool + Send + Sync>,
    left: usize,
    reply: Reply,
}

impl Front {
    /// In front of what the kubeconfig connects to, with a certificate by another authority.
    pub(crate) async fn start(behind: &Kubeconfig) -> Self {
        Self::speaking(behind, &["h2", "http/1.1"]).await
    }

    /// The same without HTTP/2.
    pub(crate) async fn start_http1(behind: &Kubeconfig) -> Self {
        Self::speaking(behind, &["http/1.1"]).await
    }

    async fn speaking(behind: &Kubeconfig, protocols: &[&str]) -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            server: behind.client(),
            rules: Mutex::default(),
            asked: Mutex::default(),
            clock: AtomicI64::new(0),
            watches: Watches::default(),
        });
        let (goodbyes, ending) = watch::channel(0);
        tokio::spawn(accept(listener, acceptor(&authority, protocols), Arc::clone(&shared), ending));
        Self { address, ca: authority.certificate, shared, goodbyes }
    }

    /// The same user by way of this.
    pub(crate) fn kubeconfig(&self, of: &Kubeconfig) -> Kubeconfig {
        of.by_way_of(self.address).trusting(&self.ca)
    }

    /// Answers the next so many requests that fit; `usize::MAX`: all, until [`Front::pass`].
    pub(crate) fn answer(&self, times: usize, reply: Reply, fits: impl Fn(&Asked) -> bool + Send + Sync + 'static) {
        self.shared.rules().push(Rule { fits: Box::new(fits), left: times, reply });
    }

    /// Lets everything through again.
    pub(crate) fn pass(&self) {
        self.shared.rules().clear();
    }

    /// Adds so many seconds to the API server's `Date` from now on.
    pub(crate) fn set_clock(&self, seconds: i64) {
        self.shared.clock.store(seconds, Ordering::Relaxed);
    }

    /// Ends all connections after what runs on them: HTTP/2 GOAWAY (RFC 9113, section 6.8), `Connection: close`.
    pub(crate) fn go_away(&self) {
        self.goodbyes.send_modify(|count| *count += 1);
    }

    /// Lets open watches, and those to come, say nothing more; what happens meanwhile never reaches them.
    pub(crate) fn drop_events(&self, drop: bool) {
        self.shared.watches.drop_events(drop);
    }

    /// Puts an event into the open watches of a Secret, such as `{"type": "MODIFIED", "object": …}` with an object
    /// that is long gone; returns into how many.
    pub(crate) fn inject(&self, secret: &str, event: &Value) -> usize {
        self.shared.watches.change(secret, &Change::Event(format!("{event}\n").into()))
    }

    /// Tells the open watches of a Secret that their version is too old, by an event, and ends them.
    pub(crate) fn expire(&self, secret: &str) -> usize {
        let told = self.inject(secret, &json!({"type": "ERROR", "object": status_object(410)}));
        self.end(secret);
        told
    }

    /// Ends the open watches of a Secret as the API server does after their time.
    pub(crate) fn end(&self, secret: &str) -> usize {
        self.shared.watches.change(secret, &Change::End)
    }

    /// How many watches of a Secret are open.
    pub(crate) fn watches(&self, secret: &str) -> usize {
        self.shared.watches.open(secret)
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("nobody panics under this lock").clone()
    }
}

impl Reply {
    /// A `Status` object with this code: 401, 403, 404, 409, 410, 429, 500, 503.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, retry_after: None }
    }

    /// With `Retry-After`, in seconds.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    fn response(self) -> Response<Body> {
        let text = status_object(self.status).to_string();
        let mut response = Response::builder().status(self.status).header(CONTENT_TYPE, "application/json");
        if let Some(seconds) = self.retry_after {
            response = response.header(RETRY_AFTER, seconds);
        }
        response.body(whole(text.into())).expect("a response")
    }
}

impl Asked {
    pub(crate) fn is_watch_of(&self, secret: &str) -> bool {
        self.is_watch && self.secret.as_deref() == Some(secret)
    }

    fn of<B>(request: &Request<B>) -> Self {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        let by_path = path.split_once("/secrets/").map(|(_, name)| name.to_owned());
        let selector = query.split('&').find_map(|part| part.strip_prefix("fieldSelector=metadata.name"));
        let by_query = selector.map(|name| name.trim_start_matches("%3D").trim_start_matches('=').to_owned());
        let is_watch = query.split('&').any(|part| ["watch=true", "watch=1"].contains(&part));
        let user_agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
        Self {
            at: Instant::now(),
            method: request.method().to_string(),
            secret: by_path.or(by_query),
            is_watch,
            is_http2: request.version() == http::Version::HTTP_2,
            user_agent: user_agent.unwrap_or_default().to_owned(),
            path,
            query,
        }
    }
}

impl Shared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let asked = Asked::of(&request);
        self.asked.lock().expect("nobody panics under this lock").push(asked.clone());
        let mut response = match self.ruled(&asked) {
            Some(reply) => reply.response(),
            None => self.forward(request, &asked).await?,
        };
        self.shift(&mut response);
        Ok(response)
    }

    /// The first rule that fits, which is used up a little.
    fn ruled(&self, asked: &Asked) -> Option<Reply> {
        let mut rules = self.rules();
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && (rule.fits)(asked))?;
        rule.left -= 1;
        Some(rule.reply)
    }

    async fn forward(&self, request: Request<Incoming>, asked: &Asked) -> io::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let mut call = Call::new(head.method.as_str(), target).body(body);
        for (name, value) in &head.headers {
            if ![HOST, CONNECTION, TRANSFER_ENCODING].contains(name) {
                call = call.header(name.as_str(), value.as_bytes());
            }
        }
        let mut connection = self.server.try_connect().await?;
        let (mut head, body) = connection.begin(call).await.map_err(io::Error::other)?.into_parts();
        head.version = http::Version::default();
        for name in [CONNECTION, TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        let body = match &asked.secret {
            Some(secret) if asked.is_watch && head.status == 200 => self.watches.follow(secret, body),
            _ => whole(body.collect().await.map_err(io::Error::other)?.to_bytes()),
        };
        Ok(Response::from_parts(head, body))
    }

    fn shift(&self, response: &mut Response<Body>) {
        let seconds = self.clock.load(Ordering::Relaxed);
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let now = match date {
            Some(date) => DateTimeParser::new().parse_timestamp(date).expect("a date"),
            None => jiff::Timestamp::now(),
        };
        let shifted = now + jiff::SignedDuration::from_secs(seconds);
        let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&shifted).expect("a year of four digits");
        response.headers_mut().insert(DATE, HeaderValue::from_str(&text).expect("ASCII"));
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("nobody panics under this lock")
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>, mut ending: watch::Receiver<u64>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                tokio::spawn(serve(stream, tls.clone(), Arc::clone(&shared), ending.clone()));
            },
            // A goodbye is for connections; an error is the end of all.
            changed = ending.changed() => if changed.is_err() { return },
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>, mut ending: watch::Receiver<u64>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| Arc::clone(&shared).answer(request));
    ending.mark_unchanged();
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            loop {
                tokio::select! {
                    // A client that breaks off is no news here.
                    _ = connection.as_mut() => return,
                    changed = ending.changed() => match changed {
                        Ok(()) => connection.as_mut().graceful_shutdown(),
                        Err(_) => return,
                    },
                }
            }
        }};
    }
    if is_http2 {
        drive!(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service));
    } else {
        drive!(http1::Builder::new().serve_connection(io, service));
    }
}

fn acceptor(authority: &Authority, protocols: &[&str]) -> TlsAcceptor {
    let pair = authority.server();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("the provider's versions").with_no_client_auth();
    let mut config = config.with_single_cert(vec![CertificateDer::from(pair.der())], key).expect("a pair");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// `Status` as the API server says it.
fn status_object(code: u16) -> Value {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("the tests say {code}"), "reason": reason, "code": code,
    })
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}
