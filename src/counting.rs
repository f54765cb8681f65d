//! Doors for `bench/instructions` into what the crate keeps to itself: nothing here decides anything.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderName, Request, request};

pub use crate::app::lone_worker::{Started, serve};
use crate::auth::access::AccessPolicy;
use crate::auth::keys::KeyRing;
use crate::auth::token::Expected;
use crate::auth::users::Users;
use crate::gate::{Access, Asked, Gate, IdentityHeaders, Permit, Trust, TunnelLife};
use crate::proxy::headers::{self, Hop};

/// A gate, and what it judges on.
pub struct Judge {
    gate: Gate,
    trust: Trust,
    hop: Hop,
}

/// Leave to forward a request.
pub struct Leave(Permit);

impl Judge {
    /// `user` and `groups`: the headers that tell the application who asks.
    pub fn new(
        users: Users,
        ring: KeyRing,
        policy: AccessPolicy,
        (user, groups): (HeaderName, HeaderName),
        expected: Expected,
    ) -> Self {
        let headers = Arc::new(IdentityHeaders { user, groups, forward_token: false });
        let access = Arc::new(Access { policy, headers, tunnels: TunnelLife::Token });
        let trust = Trust { users: Arc::new(users), users_known: true, ring: Arc::new(ring), access, generation: 1 };
        Self { gate: Gate::new(expected), trust, hop: Hop::new(IpAddr::V4(Ipv4Addr::LOCALHOST), false) }
    }

    /// `now`: seconds since the epoch. `None`: refused.
    #[must_use]
    pub fn judge<B>(&self, request: &Request<B>, now: u64) -> Option<Leave> {
        let (method, uri) = (request.method(), request.uri());
        let asked = Asked { method, uri, headers: request.headers(), had_fragment: false };
        self.gate.judge(&self.trust, &asked, now).ok().map(Leave)
    }

    /// Makes the head into the one that the application gets.
    pub fn rewrite(&self, head: &mut request::Parts, leave: &Leave) {
        headers::rewrite_request(head, &leave.0, &self.trust.access.headers, &self.hop, None, false);
    }
}
