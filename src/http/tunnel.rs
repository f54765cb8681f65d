//! An upgraded connection: bytes both ways, as long as the right to it lasts.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, Method, Uri};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::Instant;

use super::exchange::Exchange;
use super::peer::Peer;
use super::web_socket::{CloseCode, Frames, close_frame};
use super::worker::Worker;
use crate::auth::uuid;
use crate::clock::epoch;
use crate::gate::{Permit, TunnelLife};
use crate::shutdown::Phase;
use crate::telemetry::{EventName, Level};

/// How long a client may take to switch after the answer that says so.
const SWITCHING: Duration = Duration::from_secs(10);
/// After one side has ended, the other may be silent for this long.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// How long both sides may take to close when the tunnel is ended.
const GOODBYE: Duration = Duration::from_secs(1);
const BUFFER: usize = 8 * 1024;
/// The clock may be set: the end is looked at again at least this often.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// Why Vestibule ends a tunnel.
#[derive(Debug, Clone, Copy)]
enum End {
    Revoked,
    SessionOver,
    Shutdown,
}

pub(super) struct Tunnel {
    worker: Rc<Worker>,
    /// The connection counts until the tunnel ends.
    _peer: Rc<Peer>,
    permit: Permit,
    method: Method,
    uri: Uri,
    request_id: http::HeaderValue,
    is_web_socket: bool,
}

impl Tunnel {
    /// `answer` says what is spoken from now on.
    pub(super) fn new(peer: &Rc<Peer>, permit: Permit, exchange: &Exchange, answer: &HeaderMap) -> Self {
        peer.activity.becomes_tunnel();
        Self {
            worker: Rc::clone(&peer.worker),
            _peer: Rc::clone(peer),
            permit,
            method: exchange.method().clone(),
            uri: exchange.uri().clone(),
            request_id: exchange.request_id.clone(),
            is_web_socket: answer.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket")),
        }
    }

    /// Runs until either side ends, the session is over, or user, password or key are revoked.
    pub(super) async fn run(self, client: OnUpgrade, application: OnUpgrade) {
        let both = async { tokio::try_join!(client, application) };
        let Ok(Ok((client, application))) = tokio::time::timeout(SWITCHING, both).await else { return };
        let _counted = self.worker.metrics.tunnel();
        let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
        let (up, down) = (Direction::new(self.is_web_socket), Direction::new(self.is_web_socket));
        let end = tokio::select! {
            () = both_ways(&mut client, &mut application, &up, &down) => return,
            end = self.right_is_over() => end,
        };
        self.worker
            .log
            .event(Level::Info, EventName::TunnelEnded, "a tunnel was ended")
            .field("reason", end.as_str())
            .field("user", self.permit.identity().map(|identity| identity.user.name()))
            .field("jti", self.permit.identity().map(|identity| identity.claims.jti.as_str()))
            .field("request_id", self.request_id.as_bytes())
            .emit();
        let goodbye = async {
            let to_client = say_goodbye(&mut client, down.close_frame(end, None));
            let to_application = say_goodbye(&mut application, up.close_frame(end, Some(uuid::random())));
            tokio::join!(to_client, to_application)
        };
        // Whoever takes longer is cut off.
        drop(tokio::time::timeout(GOODBYE, goodbye).await);
    }

    async fn right_is_over(&self) -> End {
        let mut trust = self.worker.trust.clone();
        let mut phase = self.worker.shutdown.phase();
        let mut key_end = None;
        loop {
            let current = std::sync::Arc::clone(&trust.borrow_and_update());
            let now = epoch();
            // A key that ran out as planned and was dropped afterwards is not a revoked one.
            let key = self.permit.identity().and_then(|identity| current.ring.find(&identity.kid));
            key_end = key.map_or(key_end, |key| key.exp());
            let key_retired = key_end.is_some_and(|end| end <= now);
            if !self.worker.gate.still_holds(&current, &self.permit, &self.method, self.uri.path(), key_retired) {
                return End::Revoked;
            }
            let end = self.permit.identity().map(|identity| match current.access.tunnels {
                TunnelLife::Session(seconds) => identity.claims.auth_time.saturating_add(seconds),
                TunnelLife::Token => identity.claims.exp,
            });
            let wait = match end.map(|end| end.saturating_sub(now)) {
                Some(0) => return End::SessionOver,
                Some(seconds) => Duration::from_secs(seconds).min(CLOCK_CHECK),
                None => CLOCK_CHECK,
            };
            tokio::select! {
                changed = trust.changed() => if changed.is_err() { return End::Shutdown },
                () = tokio::time::sleep_until(Instant::now() + wait) => {}
                _ = phase.wait_for(|phase| *phase >= Phase::Closing) => return End::Shutdown,
            }
        }
    }
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::SessionOver => "session_over",
            Self::Shutdown => "shutdown",
        }
    }

    const fn close_code(self) -> CloseCode {
        match self {
            Self::Revoked | Self::SessionOver => CloseCode::PolicyViolation,
            Self::Shutdown => CloseCode::GoingAway,
        }
    }

    /// What those who are closed are told.
    const fn close_reason(self) -> &'static str {
        match self {
            Self::Revoked => "access revoked",
            Self::SessionOver => "session over",
            Self::Shutdown => "shutting down",
        }
    }
}

/// One direction of a tunnel, as far as its receiver has been sent it.
struct Direction {
    /// `None`: what is spoken is not known.
    frames: Option<RefCell<Frames>>,
    /// Bytes may have been sent that `frames` has not seen.
    is_sending: Cell<bool>,
    has_ended: Cell<bool>,
}

impl Direction {
    fn new(is_web_socket: bool) -> Self {
        let frames = is_web_socket.then(RefCell::default);
        Self { frames, is_sending: Cell::new(false), has_ended: Cell::new(false) }
    }

    fn sent(&self, bytes: &[u8]) {
        if let Some(frames) = &self.frames {
            frames.borrow_mut().pass(bytes);
        }
        self.is_sending.set(false);
    }

    /// The frame that ends this direction in order; `None` where the bytes so far leave no place for one.
    fn close_frame(&self, end: End, mask: Option<[u8; 4]>) -> Option<Vec<u8>> {
        let is_between = !self.is_sending.get() && !self.has_ended.get();
        let takes_one = is_between && self.frames.as_ref().is_some_and(|frames| frames.borrow().takes_close());
        takes_one.then(|| close_frame(end.close_code(), end.close_reason(), mask))
    }
}

/// Copies until both sides have ended, or one has and the other has nothing more to say.
async fn both_ways<C, A>(client: &mut C, application: &mut A, up: &Direction, down: &Direction)
where
    C: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
{
    let last = Cell::new(Instant::now());
    let (from_client, to_client) = split(client);
    let (from_application, to_application) = split(application);
    let mut up = pin!(copy(from_client, to_application, &last, up));
    let mut down = pin!(copy(from_application, to_client, &last, down));
    let up_ended = tokio::select! {
        () = &mut up => true,
        () = &mut down => false,
    };
    last.set(Instant::now());
    loop {
        let deadline = last.get() + HALF_OPEN;
        tokio::select! {
            () = &mut down, if up_ended => return,
            () = &mut up, if !up_ended => return,
            () = tokio::time::sleep_until(deadline) => if last.get() + HALF_OPEN <= deadline { return },
        }
    }
}

/// Copies one way to the end, and says so to the other side.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    last: &Cell<Instant>,
    way: &Direction,
) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                last.set(Instant::now());
                way.is_sending.set(true);
                let sent = async {
                    to.write_all(&buffer[..read]).await?;
                    to.flush().await
                };
                if sent.await.is_err() {
                    return;
                }
                way.sent(&buffer[..read]);
            }
        }
    }
    way.has_ended.set(true);
    // The other side may be gone already.
    drop(to.shutdown().await);
}

/// Sends the last frame, closes our side, and waits for the other's: what it had still to say goes nowhere, but closing
/// without reading it would reset the connection and take the last frame back.
async fn say_goodbye(io: &mut (impl AsyncRead + AsyncWrite + Unpin), last: Option<Vec<u8>>) -> std::io::Result<()> {
    if let Some(frame) = last {
        io.write_all(&frame).await?;
    }
    io.shutdown().await?;
    let mut scratch = vec![0; BUFFER];
    while io.read(&mut scratch).await? > 0 {}
    Ok(())
}
