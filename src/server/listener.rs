//! The accept loop: a permit first, then a connection; errors of one socket are passed over.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::connection::{self, Held, Service};
use super::limits::ConnectionLimits;
use super::roster::Roster;
use crate::metrics::Metrics;
use crate::shutdown::{Phase, Shutdown};
use crate::telemetry::{EventName, Level, Logger};

/// How long to wait where the process has run out of something that accepting needs.
const BREATH: Duration = Duration::from_millis(100);

const BACKLOG: i32 = 1024;

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

/// Accepts until the shutdown stops it.
pub(crate) async fn accept<S: Service>(mut accept: Accept<S>) {
    loop {
        let next = async {
            // A permit before accept: a connection too many waits in the backlog and costs nothing here.
            let permit = Arc::clone(&accept.permits).acquire_owned().await;
            (permit, accept.listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = stopped(&mut accept.phase) => return,
        };
        let Ok(permit) = permit else { return };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_socket(&error) => continue,
            Err(error) => {
                accept
                    .log
                    .event(Level::Error, EventName::AcceptFailed, "connections cannot be accepted for a moment")
                    .field("error", error.to_string().as_str())
                    .emit();
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        prepare(&stream);
        let config = Arc::clone(&accept.tls.borrow_and_update());
        let client = connection::Client {
            stream,
            peer,
            service: Rc::clone(&accept.service),
            metrics: Arc::clone(&accept.metrics),
            log: accept.log.clone(),
            limits: accept.limits.clone(),
            roster: Rc::clone(&accept.roster),
            held: Held { _permit: permit, _counted: accept.metrics.connection(), _drain: accept.shutdown.guard() },
        };
        tokio::task::spawn_local(connection::serve(client, config));
    }
}

async fn stopped(phase: &mut watch::Receiver<Phase>) {
    // The sender lives as long as the process; were it gone, there is nothing to wait for either.
    drop(phase.wait_for(|phase| *phase >= Phase::Draining).await);
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

fn prepare(stream: &TcpStream) {
    // Neither is worth a connection: without them it is slower, or noticed dead later.
    drop(stream.set_nodelay(true));
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    drop(socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive));
}
