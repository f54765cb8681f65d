//! Doors for `fuzz/` into what the crate keeps to itself: nothing here decides anything.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Request};

use crate::auth::access::AccessPolicy;
use crate::auth::keys::KeyRing;
use crate::auth::token::Expected;
use crate::auth::users::Users;
use crate::gate::{self, Asked, Gate, IdentityHeaders, TunnelLife};
use crate::http::credentials;
use crate::metrics::Dialect;
use crate::proxy::headers::{self, Hop};
use crate::server::KeptHeads;

/// What the `Authorization` headers hold: nothing that is a token, one token, or too many headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer<'a> {
    None,
    Token(&'a str),
    Several,
}

pub fn bearer(headers: &HeaderMap) -> Bearer<'_> {
    match gate::credentials(headers) {
        gate::Credentials::None => Bearer::None,
        gate::Credentials::Token(token) => Bearer::Token(token),
        gate::Credentials::Several => Bearer::Several,
    }
}

/// A login that is well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub name: Vec<u8>,
    pub password: Vec<u8>,
    pub ttl: Option<u64>,
}

/// # Errors
/// What the sender of a malformed one is told.
pub fn login(dialect: Dialect, headers: &HeaderMap, body: &[u8], max_ttl: u64) -> Result<Login, &'static str> {
    let credentials::Credentials { name, password, ttl } =
        credentials::read(dialect, headers, body, max_ttl).map_err(|malformed| malformed.0)?;
    Ok(Login { name, password: password.as_bytes().to_vec(), ttl })
}

/// # Errors
/// What the sender of a malformed one is told.
pub fn refresh_ttl(body: &[u8], max_ttl: u64) -> Result<Option<u64>, &'static str> {
    credentials::read_ttl(body, max_ttl).map_err(|malformed| malformed.0)
}

/// What a client's HTTP/2 heads make the library keep.
pub struct Heads(KeptHeads);

impl Heads {
    #[expect(clippy::new_without_default, reason = "a door and no more")]
    pub fn new() -> Self {
        Self(KeptHeads::new())
    }

    pub fn read(&mut self, bytes: &[u8]) {
        self.0.read(bytes);
    }

    pub fn kept(&self) -> usize {
        self.0.bytes()
    }
}

/// A gate, what it judges on, and what is put on a request that it permits.
pub struct Doorway {
    gate: Gate,
    trust: gate::Trust,
}

impl Doorway {
    pub fn new(
        users: Users,
        ring: KeyRing,
        policy: AccessPolicy,
        (user, groups): (HeaderName, HeaderName),
        forward_token: bool,
        expected: Expected,
    ) -> Self {
        let headers = Arc::new(IdentityHeaders { user, groups, forward_token });
        let access = Arc::new(gate::Access { policy, headers, tunnels: TunnelLife::Token });
        let trust =
            gate::Trust { users: Arc::new(users), users_known: true, ring: Arc::new(ring), access, generation: 1 };
        Self { gate: Gate::new(expected), trust }
    }

    /// The head as the application gets it, from a peer at this address; `None`: refused.
    #[must_use]
    pub fn forward<B>(&self, request: Request<B>, peer: IpAddr, trusted: bool, now: u64) -> Option<Request<B>> {
        let (method, uri) = (request.method(), request.uri());
        let asked = Asked { method, uri, headers: request.headers(), had_fragment: false };
        let permit = self.gate.judge(&self.trust, &asked, now).ok()?;
        let upgrade = headers::wanted_upgrade(&request);
        let hop = Hop::new(peer.to_canonical(), trusted);
        let (mut parts, body) = request.into_parts();
        headers::rewrite_request(&mut parts, &permit, &self.trust.access.headers, &hop, upgrade, false);
        Some(Request::from_parts(parts, body))
    }

    /// What is left of a request's trailers.
    pub fn strip_trailers(&self, trailers: &mut HeaderMap, keep_claims: bool) {
        headers::strip_trailers(trailers, &self.trust.access.headers, keep_claims);
    }
}

/// What is left of an answer's headers.
pub fn strip_answer(headers: &mut HeaderMap) {
    headers::rewrite_answer(headers);
}
