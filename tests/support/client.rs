//! Clients over TLS: HTTP/1.1, HTTP/2, and byte by byte.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wire::Wire;
use super::{full, within};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Where to connect to, and how.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    name: String,
    source: IpAddr,
    tls: ClientConfig,
    http2: bool,
}

/// A connection that stays open.
pub(crate) struct Connection {
    sender: Sender,
    name: String,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request to be sent.
pub(crate) struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
}

pub(crate) fn get(path: &str) -> Call {
    Call::new("GET", path)
}

pub(crate) fn post(path: &str) -> Call {
    Call::new("POST", path)
}

impl Call {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        Self { method, path: path.to_owned(), headers: HeaderMap::new(), body: full("") }
    }

    /// Adds a header; the same name may stand several times.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_ref()).expect("a header's value"));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn basic(self, user: &str, password: &str) -> Self {
        self.header("authorization", format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    pub(crate) fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = full(bytes);
        self
    }

    /// A body that streams, or has trailers.
    pub(crate) fn stream(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body(body.to_string())
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {:?}", self.body))
    }

    /// The value of a header that stands once, or not at all.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} stands more than once: {:?}", self.headers);
        Some(value.to_str().expect("a header of visible ASCII"))
    }

    async fn read<B>(response: http::Response<B>) -> Result<Self, B::Error>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(Self { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers })
    }
}

impl Client {
    /// Of a server called `localhost`; trusts one authority, PEM.
    pub(crate) fn new(address: SocketAddr, ca_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("the authority's certificate");
        roots.add(ca).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.expect("the provider's versions").with_root_certificates(roots).with_no_client_auth();
        Self { address, name: "localhost".to_owned(), source: Ipv4Addr::LOCALHOST.into(), tls, http2: false }
    }

    /// The same of a server of another name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The same with HTTP/2.
    pub(crate) fn http2(&self) -> Self {
        Self { http2: true, ..self.clone() }
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2
    }

    /// The same from another address of the loopback network.
    pub(crate) fn from(&self, source: &str) -> Self {
        Self { source: source.parse().expect("an address"), ..self.clone() }
    }

    /// The TLS settings, to be changed.
    pub(crate) fn with_tls(&self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut client = self.clone();
        change(&mut client.tls);
        client
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn send(&self, call: Call) -> Answer {
        self.connect().await.send(call).await
    }

    /// A Densify login.
    pub(crate) async fn login(&self, user: &str, password: &str) -> Answer {
        self.send(post("/authorize").json(&json!({"userName": user, "pwd": password}))).await
    }

    /// A connection that stays open.
    pub(crate) async fn connect(&self) -> Connection {
        self.try_connect().await.expect("a TLS handshake")
    }

    /// The same with a server that may not be there.
    pub(crate) async fn try_connect(&self) -> std::io::Result<Connection> {
        let io = TokioIo::new(self.tls_stream().await?);
        let sender = if self.http2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(std::io::Error::other)?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
            tokio::spawn(connection.with_upgrades());
            Sender::Http1(sender)
        };
        Ok(Connection { sender, name: self.name.clone() })
    }

    /// A connection byte by byte, HTTP/1.1.
    pub(crate) async fn wire(&self) -> Wire<TlsStream<TcpStream>> {
        Wire::new(self.tls_stream().await.expect("a TLS handshake"))
    }

    /// Sends bytes and reads one answer, the status and the body of which it returns.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> (super::Head, Vec<u8>) {
        let mut wire = self.wire().await;
        let method = String::from_utf8_lossy(bytes.as_ref()).split(' ').next().unwrap_or_default().to_owned();
        wire.send(bytes).await;
        wire.answer(&method).await
    }

    /// The handshake alone, which may fail.
    pub(crate) async fn tls_stream(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut tls = self.tls.clone();
        if tls.alpn_protocols.is_empty() {
            tls.alpn_protocols = vec![if self.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        }
        Self { tls, ..self.clone() }.tls_over(self.tcp_stream().await?).await
    }

    /// The handshake alone, on a connection that is open.
    pub(crate) async fn tls_over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.name.clone()).expect("a DNS name");
        within("a TLS handshake", TlsConnector::from(Arc::new(self.tls.clone())).connect(name, stream)).await
    }

    /// Without TLS.
    pub(crate) async fn tcp_stream(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        socket.bind((self.source, 0).into())?;
        within("a connection", socket.connect(self.address)).await
    }
}

impl Connection {
    /// Sends a request and reads its answer whole; panics where there is none.
    pub(crate) async fn send(&mut self, call: Call) -> Answer {
        self.try_send(call).await.expect("an answer")
    }

    pub(crate) async fn try_send(&mut self, call: Call) -> Result<Answer, hyper::Error> {
        let response = self.begin(call).await?;
        within("the answer's body", Answer::read(response)).await
    }

    /// Sends a request and returns when its answer's head is there.
    pub(crate) async fn begin(&mut self, call: Call) -> Result<http::Response<hyper::body::Incoming>, hyper::Error> {
        let Call { method, path, headers, body } = call;
        let is_http2 = matches!(self.sender, Sender::Http2(_));
        let uri = if is_http2 { format!("https://{}{path}", self.name) } else { path };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse::<Uri>().expect("a path that a URI may have");
        *request.headers_mut() = headers;
        if !is_http2 && !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, HeaderValue::from_str(&self.name).expect("a name"));
        }
        if let Some(value) = request.headers_mut().get_mut(AUTHORIZATION) {
            value.set_sensitive(true);
        }
        within("an answer", async {
            match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        })
        .await
    }

    /// Another handle on the same connection: its requests are further streams. HTTP/2 alone.
    pub(crate) fn another(&self) -> Self {
        match &self.sender {
            Sender::Http1(_) => panic!("HTTP/1.1 has one request at a time"),
            Sender::Http2(sender) => Self { sender: Sender::Http2(sender.clone()), name: self.name.clone() },
        }
    }

    /// Whether the other side has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}
