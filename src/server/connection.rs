//! One client's connection: TLS handshake, then HTTP/1.1 or HTTP/2 until it ends, idles too long or is drained.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, Phase};
use super::client_io::{ClientIo, HeadRefused};
use super::client_socket::ClientSocket;
use super::gathered::{Gathered, InTurns};
use super::lent::Owner;
use super::limits::ConnectionLimits;
use super::linger::Linger;
use super::roster::{Place, Roster};
use super::tls::certificate_fault;
use super::turn::StreamExecutor;
use crate::metrics::{HandshakeResult, Metrics, OpenGuard};
use crate::shutdown::DrainGuard;
use crate::telemetry::{EventName, Level, Logger};

/// Streams that one HTTP/2 client may have open at once.
const MAX_STREAMS: u32 = 128;
/// Streams a client may open and reset before the connection is closed (CVE-2023-44487).
const MAX_RESETS: usize = 32;
/// Streams of one connection, in its whole life, that we reset for a client's fault: not few, for behind one connection
/// of a gateway there may be many clients.
const MAX_FAULTS: usize = 1024;
/// The rest of a body whose answer has come before its end.
const H1_LINGER_BYTES: usize = 16 << 20;
/// Frames that were under way when the last GOAWAY was sent; a client that floods is not read any more.
const H2_LINGER_BYTES: usize = 64 * 1024;
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is buffered of one stream's answer.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// What the HTTP library may keep for a client's heads, and for how many of the largest at least; then the client has to
/// connect anew. Who goes on is cut off at half as much again.
const H2_KEPT: usize = 512 * 1024;
const H2_KEPT_HEADS: usize = 8;
/// A client that has silently gone is noticed by a ping.
const H2_PING: Duration = Duration::from_secs(30);
const H2_PONG: Duration = Duration::from_secs(15);

/// What answers the requests of all connections of one worker.
pub(crate) trait Service: 'static {
    /// What the requests of one connection share.
    type Peer: 'static;
    type Body: Body<Data = Bytes, Error = hyper::Error> + 'static;

    /// A client has connected, and its TLS handshake is done.
    fn connected(self: Rc<Self>, address: SocketAddr, activity: Activity, held: Held) -> Self::Peer;

    /// What to say to this client where the HTTP library refuses a head.
    fn head_refused(peer: &Self::Peer) -> Box<dyn HeadRefused>;

    fn serve(
        peer: Rc<Self::Peer>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Infallible>>;
}

/// An accepted connection and what serves it.
pub(super) struct Client<S> {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) service: Rc<S>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Logger,
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

/// Serves the connection to its end. What it holds while nothing is said is counted in idle pods: all that is large, or
/// only there for a while, lies in boxes of its own.
pub(super) async fn serve<S: Service>(client: Client<S>, config: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(config);
    let activity = Activity::new();
    let socket = ClientSocket::new(client.stream, activity.clone());
    let handshake = Box::pin(tokio::time::timeout(client.limits.handshake_timeout, acceptor.accept(socket)));
    let stream = match handshake.await {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => return refused(&client.metrics, &client.log, client.peer, &error),
        Err(_) => return client.metrics.handshake(HandshakeResult::Timeout),
    };
    client.metrics.handshake(HandshakeResult::Ok);
    activity.connected();
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = Rc::new(client.service.connected(client.peer, activity.clone(), client.held));
    let place = client.roster.join(activity.clone());
    let driven = Driven { limits: client.limits, activity, place };
    if is_h2 {
        serve_http2::<S>(stream, peer, driven).await;
    } else {
        serve_http1::<S, _>(stream, peer, driven).await;
    }
}

/// The handshake has failed.
fn refused(metrics: &Metrics, log: &Logger, peer: SocketAddr, error: &io::Error) {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return metrics.handshake(HandshakeResult::Closed);
    };
    let Some(reason) = certificate_fault(error) else {
        return metrics.handshake(HandshakeResult::Protocol);
    };
    metrics.handshake(HandshakeResult::Certificate);
    log.event(Level::Info, EventName::ClientRefused, "a client's certificate was refused")
        .field("reason", reason)
        .field("source", peer.ip())
        .emit();
}

async fn serve_http1<S: Service, T>(stream: Box<T>, peer: Rc<S::Peer>, driven: Driven)
where
    T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = ClientIo::new(Linger::new(stream, H1_LINGER_BYTES), driven.activity.clone(), S::head_refused(&peer));
    let (mut io, owner) = (Box::new(io), Owner::new());
    loop {
        let peer = Rc::clone(&peer);
        let connection = http1::Builder::new()
            .max_buf_size(driven.limits.header_bytes)
            .max_header_size(driven.limits.header_bytes)
            .half_close(false)
            .serve_connection(
                TokioIo::new(owner.lend(io)),
                service_fn(move |request| S::serve(Rc::clone(&peer), request)),
            )
            .with_upgrades();
        let mut connection = Box::pin(connection);
        driven.place.awake();
        // An answer says by itself that it is the last; what is told to end here is idle.
        let is_time = |driven: &Driven| driven.place.had_last_call();
        let drain = http1::UpgradeableConnection::graceful_shutdown;
        let breaks_off = |driven: &Driven| !matches!(driven.activity.phase(), Phase::Idle(_));
        if driven.run(connection.as_mut(), is_time, drain, breaks_off).await == Ran::ToItsEnd {
            return;
        }
        // Its buffers are two thirds of what an idle connection holds; another one begins where this one stops.
        drop(connection);
        let Some(rested) = owner.take() else { return };
        io = rested;
        driven.rest(&mut io).await;
    }
}

async fn serve_http2<S: Service>(stream: Box<TlsStream<ClientSocket>>, peer: Rc<S::Peer>, driven: Driven) {
    let service = service_fn(move |request| S::serve(Rc::clone(&peer), request));
    // Twice the limit: what lies between gets our own answer, with a body.
    let header_bytes = u32::try_from(driven.limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
    let executor = StreamExecutor { patience: driven.limits.idle_timeout, roster: Rc::clone(driven.place.roster()) };
    let kept = driven.limits.header_bytes.saturating_mul(H2_KEPT_HEADS).max(H2_KEPT);
    let io = Gathered::new(Linger::new(stream, H2_LINGER_BYTES), kept.saturating_add(kept / 2));
    let connection = http2::Builder::new(executor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_FAULTS)
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PONG)
        .serve_connection(TokioIo::new(io.clone()), service);
    let mut connection = Box::pin(connection);
    let turns = InTurns { connection: connection.as_mut(), io: io.clone() };
    // Streams that are under way when GOAWAY is sent are served (RFC 9113, section 6.8); a connection without any has
    // its last call.
    let is_time = |driven: &Driven| {
        let is_draining = driven.place.is_draining() && (driven.place.had_last_call() || !driven.activity.is_fresh());
        is_draining || io.kept() > kept
    };
    // The streams are cut off one by one, with RST_STREAM.
    driven.run(pin!(turns), is_time, |mut turns| turns.connection.as_mut().graceful_shutdown(), |_| false).await;
}

/// A connection until it ends by itself, is over, or has been drained.
struct Driven {
    limits: ConnectionLimits,
    activity: Activity,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    ToItsEnd,
    /// The connection goes on, and may be dropped: it holds nothing.
    UntilRest,
}

impl Driven {
    /// `is_time` says when to `drain`, once; `breaks_off`, whether the connection is dropped when all are cut off.
    async fn run<C>(
        &self,
        mut connection: Pin<&mut C>,
        is_time: impl Fn(&Self) -> bool,
        drain: fn(Pin<&mut C>),
        breaks_off: fn(&Self) -> bool,
    ) -> Ran
    where
        C: Future,
    {
        let mut drained = false;
        poll_fn(|cx| {
            self.place.watch(cx.waker());
            // First of all: a request that has come is not passed over.
            if connection.as_mut().poll(cx).is_ready() || self.place.is_over() {
                return Poll::Ready(Ran::ToItsEnd);
            }
            if self.place.is_cut() && breaks_off(self) {
                return Poll::Ready(Ran::ToItsEnd);
            }
            if !drained && is_time(self) {
                drained = true;
                drain(connection.as_mut());
                return connection.as_mut().poll(cx).map(|_| Ran::ToItsEnd);
            }
            if !drained && self.place.rests() {
                return Poll::Ready(Ran::UntilRest);
            }
            Poll::Pending
        })
        .await
    }

    /// Until something comes, or the connection is told to end.
    async fn rest<T: AsyncBufRead + Unpin>(&self, io: &mut ClientIo<T>) {
        poll_fn(|cx| {
            self.place.watch(cx.waker());
            if self.place.is_over() || self.place.had_last_call() {
                return Poll::Ready(());
            }
            io.poll_come(cx)
        })
        .await;
    }
}

#[cfg(test)]
mod tests;
