//! The accept loop: a permit first, then a connection; errors of one socket are passed over.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::connection::{self, Held, Service};
use super::limits::ConnectionLimits;
use super::roster::Roster;
use crate::metrics::Metrics;
use crate::shutdown::{Phase, Shutdown};
use crate::telemetry::{EventName, Level, Logger};

/// How long to wait where the process has run out of something that accepting needs.
const BREATH: Duration = Duration::from_millis(100);

const BACKLOG: i32 = 1024;
/// Handshakes of TCP that are under way when no more are begun come to their end within this.
const SETTLING: Duration = Duration::from_millis(100);

/// The listening socket, bound once and shared by the workers.
#[derive(Debug)]
pub(crate) struct Listener(StdListener);

impl Listener {
    /// Binds; a port in use is an error at once.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self(socket.into()))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The same socket for one more worker.
    pub(crate) fn share(&self) -> io::Result<StdListener> {
        self.0.try_clone()
    }
}

/// Everything that accepting on one worker needs.
pub(crate) struct Accept<S> {
    pub(crate) listener: TcpListener,
    pub(crate) service: Rc<S>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Logger,
    pub(crate) tls: watch::Receiver<Arc<ServerConfig>>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) roster: Rc<Roster>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) shutdown: Shutdown,
}

/// Accepts until the process drains; then what has connected already, and no more.
pub(crate) async fn accept<S: Service>(mut accept: Accept<S>) {
    let mut phase = accept.phase.clone();
    tokio::select! {
        () = accept.on() => return,
        () = reached(&mut phase, Phase::Draining) => {}
    }
    accept.roster.drain();
    tokio::select! {
        () = accept.sweep() => {}
        () = reached(&mut phase, Phase::Closing) => {}
    }
}

impl<S: Service> Accept<S> {
    /// Accepts for good; returns where the process has no more permits to give.
    async fn on(&mut self) {
        // A permit before accept: a connection too many waits in the backlog and costs nothing here.
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.begin(stream, peer, permit),
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// Accepts what waits in the backlog: to its clients these connections are open, and closing the listener would
    /// reset them.
    async fn sweep(&mut self) {
        let are_no_more = refuse_handshakes(&self.listener);
        let settled = Instant::now() + SETTLING;
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            // At least one look is taken after that moment.
            let is_last = settled <= Instant::now();
            if is_last && !are_no_more {
                // Others could come for good.
                return;
            }
            match timeout_at(settled, self.listener.accept()).await {
                Ok(Ok((stream, peer))) => self.begin(stream, peer, permit),
                Ok(Err(error)) => self.failed(&error).await,
                Err(_) if is_last => return,
                Err(_) => {}
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        prepare(&stream);
        let config = Arc::clone(&self.tls.borrow_and_update());
        let client = connection::Client {
            stream,
            peer,
            service: Rc::clone(&self.service),
            metrics: Arc::clone(&self.metrics),
            log: self.log.clone(),
            limits: self.limits.clone(),
            roster: Rc::clone(&self.roster),
            held: Held { _permit: permit, _counted: self.metrics.connection(), _drain: self.shutdown.guard() },
        };
        tokio::task::spawn_local(connection::serve(client, config));
    }

    async fn failed(&self, error: &io::Error) {
        if !is_of_one_socket(error) {
            self.log
                .event(Level::Error, EventName::AcceptFailed, "connections cannot be accepted for a moment")
                .field("error", error.to_string().as_str())
                .emit();
            tokio::time::sleep(BREATH).await;
        }
    }
}

async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // The sender lives as long as the process; were it gone, there is nothing to wait for either.
    drop(phase.wait_for(|phase| *phase >= wanted).await);
}

/// From now on the first packet of a connection is passed over. A client tries again after a second (RFC 6298, section
/// 2), and meets a closed port or another process; a handshake that is under way is completed. Between the last look
/// into the backlog and the closing of the listener nothing can come then. `false`: the system has no filters, as in
/// some sandboxes; a connection that comes at the last moment is reset.
#[cfg(target_os = "linux")]
fn refuse_handshakes(listener: &TcpListener) -> bool {
    use socket2::SockFilter;

    // Classic BPF over the TCP header, in its 13th byte the flags (RFC 9293, section 3.1): SYN without ACK is dropped.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let drop_syn = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    socket2::SockRef::from(listener).attach_filter(&drop_syn).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn refuse_handshakes(_: &TcpListener) -> bool {
    false
}

/// The peer's affair, not ours: the next connection may be fine (accept(2), "Error handling").
fn is_of_one_socket(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::TimedOut
    )
}

/// Bytes that the system takes for a client beyond those that are on their way. What one takes that reads nothing is
/// charged to the pod, and all that do together can leave the node's other connections without buffers.
const UNSENT: u32 = 1024 * 1024;

fn prepare(stream: &TcpStream) {
    // Neither is worth a connection: without them it is slower, or noticed dead later.
    drop(stream.set_nodelay(true));
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    drop(socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive));
    #[cfg(target_os = "linux")]
    drop(socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT));
}
