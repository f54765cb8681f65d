//! The client at the other end of a connection.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::reply;
use super::worker::Worker;
use crate::auth::client_address;
use crate::metrics::{Metrics, Outcome};
use crate::proxy::Hop;
use crate::server::{Activity, HeadRefused, Held};
use crate::telemetry::{EventName, Level, Logger};

/// One connection's client; its requests share it.
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    pub(crate) hop: Hop,
    pub(crate) activity: Activity,
    pub(crate) worker: Rc<Worker>,
    _held: Held,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, activity: Activity, worker: Rc<Worker>, held: Held) -> Self {
        let ip = address.ip().to_canonical();
        let trusted = worker.trusted_proxies.iter().any(|network| network.contains(&ip));
        Self { ip, hop: Hop::new(ip, trusted), activity, worker, _held: held }
    }

    /// Where a request comes from: the peer, or whom a trusted proxy says that it speaks for.
    pub(super) fn source(&self, headers: &HeaderMap) -> IpAddr {
        if !self.hop.trusted {
            return self.ip;
        }
        let chain = headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or_default());
        client_address::client(self.ip, chain, &self.worker.trusted_proxies)
    }

    /// For heads that the HTTP library refuses before there is a request.
    pub(crate) fn head_refused(&self) -> Box<dyn HeadRefused> {
        Box::new(RefusedHead { ip: self.ip, metrics: Arc::clone(&self.worker.metrics), log: self.worker.log.clone() })
    }
}

struct RefusedHead {
    ip: IpAddr,
    metrics: Arc<Metrics>,
    log: Logger,
}

impl HeadRefused for RefusedHead {
    fn refused(&self, status: u16) -> Bytes {
        self.metrics.request(Outcome::BadRequest, status, Duration::ZERO);
        self.log
            .event(Level::Info, EventName::Refusal, "a request head was refused")
            .field("outcome", Outcome::BadRequest)
            .field("reason", if matches!(status, 414 | 431) { "head_too_large" } else { "malformed_head" })
            .field("status", status)
            .field("source", self.ip)
            .emit();
        reply::refused_head(status)
    }
}
