//! One worker's connections to the application: idle HTTP/1.1 ones, or one HTTP/2 connection for all streams.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connect::{ConnectError, Protocol, Target};
use super::io::{Received, UpstreamIo};
use super::request_body::RequestBody;
use crate::metrics::UpstreamErrorReason;
use crate::server::LocalExecutor;

/// More idle connections than this are closed; they cost memory at the application too.
const MAX_IDLE: usize = 256;

/// An idle connection older than this is not used again: servers close theirs after 5 s and more.
const MAX_IDLE_AGE: Duration = Duration::from_secs(60);

/// How often idle connections are looked through.
const TIDY: Duration = Duration::from_secs(30);

/// A request that cannot be sent twice uses only a connection that was idle for less than this: the application
/// may be closing an older one at this very moment, and then nobody knows whether the request was taken.
const MAX_AGE_FOR_ONCE: Duration = Duration::from_millis(500);

/// What is read at once of an answer, and the most that its head may measure: a client that takes nothing holds as much
/// on each of its streams.
const H1_BUFFER: usize = 64 * 1024;

const H2_WINDOW: u32 = 1 << 20;

pub(crate) struct Pool {
    target: Target,
    idle: RefCell<Vec<Idle>>,
    /// Idle connections are looked after.
    tidying: Cell<bool>,
    /// Rung when there is one and nobody looks after it.
    filled: Notify,
    shared: RefCell<Option<http2::SendRequest<RequestBody>>>,
    connecting: Cell<bool>,
    connected: Notify,
}

struct Idle {
    link: Link,
    since: Instant,
}

/// One HTTP/1.1 connection to the application.
pub(crate) struct Link {
    pub(crate) sender: http1::SendRequest<RequestBody>,
    pub(crate) received: Received,
}

/// A connection that can take a request now.
pub(crate) enum Connection {
    Http1 {
        link: Link,
        /// It has served before, so that the application may be closing it right now.
        reused: bool,
    },
    Http2(http2::SendRequest<RequestBody>),
}

impl Pool {
    pub(crate) fn new(target: Target) -> Rc<Self> {
        Rc::new(Self {
            target,
            idle: RefCell::default(),
            tidying: Cell::new(false),
            filled: Notify::new(),
            shared: RefCell::default(),
            connecting: Cell::new(false),
            connected: Notify::new(),
        })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// An idle connection, or a new one. `repeatable`: the request may be sent again if the connection turns out closed.
    pub(crate) async fn take(&self, repeatable: bool) -> Result<Connection, ConnectError> {
        match self.target.protocol {
            Protocol::Http2 => self.take_shared().await.map(Connection::Http2),
            Protocol::Http1 => match self.take_idle(repeatable) {
                Some(link) => Ok(Connection::Http1 { link, reused: true }),
                None => self.fresh().await,
            },
        }
    }

    /// A new HTTP/1.1 connection, whatever is idle (for HTTP/2: the shared one).
    pub(crate) async fn fresh(&self) -> Result<Connection, ConnectError> {
        if self.target.protocol == Protocol::Http2 {
            return self.take_shared().await.map(Connection::Http2);
        }
        let io = self.target.connect().await?;
        let received = io.received();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(H1_BUFFER)
            .handshake::<TokioIo<UpstreamIo>, RequestBody>(TokioIo::new(io))
            .await
            .map_err(not_connected)?;
        // The task ends with the connection: when the sender is dropped or the application closes.
        tokio::task::spawn_local(async move { drop(connection.with_upgrades().await) });
        Ok(Connection::Http1 { link: Link { sender, received }, reused: false })
    }

    /// Gives a connection back whose answer has ended.
    pub(crate) fn put_back(&self, link: Link) {
        if link.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= MAX_IDLE {
            idle.remove(0);
        }
        idle.push(Idle { link, since: Instant::now() });
        if !self.tidying.get() {
            self.filled.notify_one();
        }
    }

    /// Drops connections that have been idle for too long, for good. Where there are none it does not wake.
    pub(crate) async fn keep_tidy(&self) {
        loop {
            self.filled.notified().await;
            self.tidying.set(true);
            while !self.idle.borrow().is_empty() {
                tokio::time::sleep(TIDY).await;
                self.tidy();
            }
            self.tidying.set(false);
        }
    }

    fn tidy(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|idle| !idle.link.sender.is_closed() && now - idle.since < MAX_IDLE_AGE);
    }

    fn take_idle(&self, repeatable: bool) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let mut at = idle.len();
        // The most recently used first: the least likely to be closed, and the warmest.
        while at > 0 {
            at -= 1;
            let candidate = &idle[at];
            if candidate.link.sender.is_closed() {
                idle.remove(at);
            } else if !repeatable && candidate.since.elapsed() >= MAX_AGE_FOR_ONCE {
                return None;
            } else if candidate.link.sender.is_ready() {
                return Some(idle.remove(at).link);
            }
        }
        None
    }

    async fn take_shared(&self) -> Result<http2::SendRequest<RequestBody>, ConnectError> {
        loop {
            if let Some(sender) = self.shared.borrow().as_ref().filter(|sender| !sender.is_closed()) {
                return Ok(sender.clone());
            }
            if !self.connecting.replace(true) {
                break;
            }
            self.connected.notified().await;
        }
        let _done = Connecting(self);
        let io = self.target.connect().await?;
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(H2_WINDOW)
            .initial_connection_window_size(4 * H2_WINDOW)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(io))
            .await
            .map_err(not_connected)?;
        tokio::task::spawn_local(async move { drop(connection.await) });
        *self.shared.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }
}

/// Lets the others go on, also when the one that connects is cancelled.
struct Connecting<'a>(&'a Pool);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.connected.notify_waiters();
    }
}

fn not_connected(error: hyper::Error) -> ConnectError {
    ConnectError::new(UpstreamErrorReason::Connect, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;
    use crate::config::Upstream;
    use crate::proxy::Deadlines;

    #[tokio::test]
    async fn an_empty_pool_wakes_nobody_and_what_idles_for_too_long_is_closed() {
        let test = async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("application");
            let application = UnixListener::bind(&path).unwrap();
            let deadlines = Deadlines { connect: Duration::from_secs(5), headers: None };
            let pool = Pool::new(Target::new(&Upstream::Unix(path), Vec::new(), deadlines).unwrap());
            let Ok(Connection::Http1 { link, .. }) = pool.fresh().await else { panic!("it listens") };
            let (mut application, _) = application.accept().await.unwrap();
            tokio::time::pause();
            let (wakes, mut tidying) = (Cell::new(0), Box::pin(pool.keep_tidy()));
            let mut counted = pin!(poll_fn(|cx| {
                wakes.set(wakes.get() + 1);
                tidying.as_mut().poll(cx)
            }));
            let hour = Duration::from_secs(3600);
            assert!(timeout(hour, counted.as_mut()).await.is_err());
            // At the beginning and at the end.
            assert_eq!(wakes.take(), 2);
            pool.put_back(link);
            assert!(timeout(MAX_IDLE_AGE + TIDY, counted.as_mut()).await.is_err());
            assert_eq!(application.read(&mut [0]).await.unwrap(), 0);
            wakes.take();
            assert!(timeout(hour, counted.as_mut()).await.is_err());
            assert_eq!(wakes.take(), 2);
        };
        LocalSet::new().run_until(test).await;
    }
}
