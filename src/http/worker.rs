//! What the requests of one worker share: the gate, the way to the application, the login desk, the record.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use tokio::sync::watch;

use super::route::LoginPaths;
use crate::auth::token::names_absent_key;
use crate::gate::{Gate, Trust};
use crate::login::{Desk, TokenSettings};
use crate::metrics::{Metrics, UpstreamErrorReason};
use crate::proxy::Forwarder;
use crate::shutdown::Shutdown;
use crate::store::Reread;
use crate::telemetry::{EventName, Level, Logger};

/// What a worker is made of; each worker gets its own copy.
#[derive(Clone)]
pub(crate) struct WorkerParts {
    pub(crate) trust: watch::Receiver<Arc<Trust>>,
    pub(crate) reread: Reread,
    pub(crate) desk: Arc<Desk>,
    pub(crate) tokens: TokenSettings,
    pub(crate) login_paths: LoginPaths,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) header_bytes: usize,
    /// For a login's body to come.
    pub(crate) login_deadline: Duration,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Logger,
}

impl WorkerParts {
    pub(crate) fn log_accept_failure(&self, error: &io::Error) {
        self.log
            .event(Level::Error, EventName::AcceptFailed, "connections cannot be accepted")
            .field("error", error.to_string().as_str())
            .emit();
    }
}

pub(crate) struct Worker {
    parts: WorkerParts,
    pub(crate) gate: Gate,
    pub(crate) forwarder: Forwarder,
    /// The version that was in force at the last look, kept to save the channel's lock.
    current: RefCell<(watch::Receiver<Arc<Trust>>, Arc<Trust>)>,
}

impl std::ops::Deref for Worker {
    type Target = WorkerParts;

    fn deref(&self) -> &WorkerParts {
        &self.parts
    }
}

impl Worker {
    pub(crate) fn new(parts: WorkerParts, forwarder: Forwarder, gate: Gate) -> Rc<Self> {
        let mut receiver = parts.trust.clone();
        let trust = Arc::clone(&receiver.borrow_and_update());
        Rc::new(Self { parts, gate, forwarder, current: RefCell::new((receiver, trust)) })
    }

    /// The version that is in force; a request takes one and keeps to it.
    pub(crate) fn trust(&self) -> Arc<Trust> {
        let (receiver, trust) = &mut *self.current.borrow_mut();
        // An error means that nothing will change any more.
        if receiver.has_changed().unwrap_or(false) {
            *trust = Arc::clone(&receiver.borrow_and_update());
        }
        Arc::clone(trust)
    }

    /// Waits for the key that a token names and the ring does not hold, while the store is read again; `false`: it holds
    /// it, or the token names none.
    ///
    /// Where the store was read again lately, for another request, the key may have come after that: it is waited for all
    /// the same, until whatever follows the store finds it. `goes_anyway`: but not by a request that shadow mode lets
    /// through whatever comes of it.
    pub(super) async fn reread_for(&self, token: &str, trust: &Trust, goes_anyway: bool) -> bool {
        if !names_absent_key(token, &trust.ring) {
            return false;
        }
        let mut newer = self.parts.trust.clone();
        let comes = newer.wait_for(|trust| !names_absent_key(token, &trust.ring));
        let is_read = async {
            if !self.reread.keys().await && !goes_anyway {
                tokio::time::sleep(Reread::PATIENCE).await;
            }
        };
        tokio::select! {
            biased;
            () = is_read => {}
            _ = comes => {}
        }
        true
    }

    /// The application broke off in the middle of its answer.
    pub(super) fn upstream_broke_off(&self, request_id: &HeaderValue) {
        self.metrics.upstream_error(UpstreamErrorReason::Body);
        self.log
            .event(Level::Warn, EventName::UpstreamFailed, "the application broke off in its answer")
            .field("reason", UpstreamErrorReason::Body)
            .field("request_id", request_id.as_bytes())
            .emit();
    }
}
