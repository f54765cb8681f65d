//! One client's connection: TLS handshake, then HTTP/1.1 or HTTP/2 until it ends, idles too long or is drained.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use super::client_io::ClientIo;
use super::executor::LocalExecutor;
use super::roster::{Place, Roster};
use crate::http::{Peer, Worker, serve_request};
use crate::metrics::{HandshakeResult, OpenGuard};
use crate::shutdown::DrainGuard;

/// Streams that one HTTP/2 client may have open at once.
const MAX_STREAMS: u32 = 128;
/// Streams a client may open and reset before the connection is closed (CVE-2023-44487).
const MAX_RESETS: usize = 32;
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is buffered of one stream's answer.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// A client that has silently gone is noticed by a ping.
const H2_PING: Duration = Duration::from_secs(30);
const H2_PONG: Duration = Duration::from_secs(15);

/// Bounds and deadlines of one connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// Bytes of one request's head.
    pub(crate) header_bytes: usize,
    /// For a head, from its first byte.
    pub(crate) header_timeout: Duration,
    /// Between requests.
    pub(crate) idle_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
}

/// An accepted connection and what serves it.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) worker: Rc<Worker>,
    pub(super) limits: ConnectionLimits,
    pub(super) roster: Rc<Roster>,
    pub(super) held: Held,
}

/// What a connection holds until its last byte, in a tunnel as well.
pub(crate) struct Held {
    /// One of `limits.connections`.
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) _counted: OpenGuard,
    /// The end of the process waits for this connection's.
    pub(super) _drain: DrainGuard,
}

/// Serves the connection to its end.
pub(super) async fn serve(client: Client, config: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(config);
    let handshake = tokio::time::timeout(client.limits.handshake_timeout, acceptor.accept(client.stream));
    let stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return client.worker.handshake(failure(&error)),
        Err(_) => return client.worker.handshake(HandshakeResult::Timeout),
    };
    client.worker.handshake(HandshakeResult::Ok);
    let activity = Activity::new();
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = Rc::new(Peer::new(client.peer, activity.clone(), Rc::clone(&client.worker), client.held));
    let place = client.roster.join(activity.clone());
    let driven = Driven { limits: client.limits, activity, place };
    if is_h2 {
        serve_http2(stream, peer, driven).await;
    } else {
        serve_http1(stream, peer, driven).await;
    }
}

fn failure(error: &io::Error) -> HandshakeResult {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            HandshakeResult::Certificate
        }
        Some(_) => HandshakeResult::Protocol,
        None => HandshakeResult::Closed,
    }
}

async fn serve_http1(stream: TlsStream<TcpStream>, peer: Rc<Peer>, driven: Driven) {
    let io = ClientIo::new(stream, driven.activity.clone(), peer.head_refused());
    let service = service_fn(move |request| serve_request(Rc::clone(&peer), request));
    let connection = http1::Builder::new()
        .max_buf_size(driven.limits.header_bytes)
        .max_header_size(driven.limits.header_bytes)
        .half_close(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    driven.run(pin!(connection), http1::UpgradeableConnection::graceful_shutdown).await;
}

async fn serve_http2(stream: TlsStream<TcpStream>, peer: Rc<Peer>, driven: Driven) {
    let service = service_fn(move |request| serve_request(Rc::clone(&peer), request));
    // Twice the limit: what lies between gets our own answer, with a body.
    let header_bytes = u32::try_from(driven.limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PONG)
        .serve_connection(TokioIo::new(stream), service);
    driven.run(pin!(connection), http2::Connection::graceful_shutdown).await;
}

/// A connection until it ends by itself, is over, or has been drained.
struct Driven {
    limits: ConnectionLimits,
    activity: Activity,
    place: Place,
}

impl Driven {
    async fn run<C>(self, mut connection: Pin<&mut C>, drain: fn(Pin<&mut C>))
    where
        C: Future,
    {
        let mut drained = false;
        poll_fn(|cx| {
            self.place.watch(cx.waker());
            if self.place.is_draining() && !std::mem::replace(&mut drained, true) {
                drain(connection.as_mut());
            }
            if connection.as_mut().poll(cx).is_ready() || self.place.is_over() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}
