//! An upgraded connection: bytes both ways, as long as the right to it lasts.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Uri};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::Instant;

use super::exchange::Exchange;
use super::peer::Peer;
use super::worker::Worker;
use crate::clock::epoch;
use crate::gate::{Permit, TunnelLife};
use crate::shutdown::Phase;
use crate::telemetry::{EventName, Level};

/// How long a client may take to switch after the answer that says so.
const SWITCHING: Duration = Duration::from_secs(10);
/// After one side has ended, the other may be silent for this long.
const HALF_OPEN: Duration = Duration::from_secs(10);
const BUFFER: usize = 8 * 1024;
/// The clock may be set: the end is looked at again at least this often.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

pub(super) struct Tunnel {
    worker: Rc<Worker>,
    /// The connection counts until the tunnel ends.
    _peer: Rc<Peer>,
    permit: Permit,
    method: Method,
    uri: Uri,
    request_id: http::HeaderValue,
}

impl Tunnel {
    pub(super) fn new(peer: &Rc<Peer>, permit: Permit, exchange: &Exchange) -> Self {
        Self {
            worker: Rc::clone(&peer.worker),
            _peer: Rc::clone(peer),
            permit,
            method: exchange.method().clone(),
            uri: exchange.uri().clone(),
            request_id: exchange.request_id.clone(),
        }
    }

    /// Runs until either side ends, the session is over, or user, password or key are revoked.
    pub(super) async fn run(self, client: OnUpgrade, application: OnUpgrade) {
        let both = async { tokio::try_join!(client, application) };
        let Ok(Ok((client, application))) = tokio::time::timeout(SWITCHING, both).await else { return };
        let _counted = self.worker.metrics.tunnel();
        let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
        let reason = tokio::select! {
            () = both_ways(&mut client, &mut application) => return,
            reason = self.right_is_over() => reason,
        };
        self.worker
            .log
            .event(Level::Info, EventName::TunnelEnded, "a tunnel was ended")
            .field("reason", reason)
            .field("user", self.permit.identity().map(|identity| identity.user.name()))
            .field("jti", self.permit.identity().map(|identity| identity.claims.jti.as_str()))
            .field("request_id", self.request_id.as_bytes())
            .emit();
    }

    async fn right_is_over(&self) -> &'static str {
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
                return "revoked";
            }
            let end = self.permit.identity().map(|identity| match current.access.tunnels {
                TunnelLife::Session(seconds) => identity.claims.auth_time.saturating_add(seconds),
                TunnelLife::Token => identity.claims.exp,
            });
            let wait = match end.map(|end| end.saturating_sub(now)) {
                Some(0) => return "session_over",
                Some(seconds) => Duration::from_secs(seconds).min(CLOCK_CHECK),
                None => CLOCK_CHECK,
            };
            tokio::select! {
                changed = trust.changed() => if changed.is_err() { return "shutdown" },
                () = tokio::time::sleep_until(Instant::now() + wait) => {}
                _ = phase.wait_for(|phase| *phase >= Phase::Closing) => return "shutdown",
            }
        }
    }
}

/// Copies until both sides have ended, or one has and the other has nothing more to say.
async fn both_ways<C, A>(client: &mut C, application: &mut A)
where
    C: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
{
    let last = Cell::new(Instant::now());
    let (from_client, to_client) = split(client);
    let (from_application, to_application) = split(application);
    let mut up = pin!(copy(from_client, to_application, &last));
    let mut down = pin!(copy(from_application, to_client, &last));
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
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, last: &Cell<Instant>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                last.set(Instant::now());
                let sent = async {
                    to.write_all(&buffer[..read]).await?;
                    to.flush().await
                };
                if sent.await.is_err() {
                    return;
                }
            }
        }
    }
    // The other side may be gone already.
    drop(to.shutdown().await);
}
