//! Decides whether a request may pass, and makes the proof without which nothing is forwarded.

mod bearer;
mod identity;
mod publisher;
mod refusal;
mod token_cache;
mod trust;

use std::cell::RefCell;
use std::rc::Rc;

use http::{HeaderMap, Method, Uri};

use crate::auth::access::RouteRule;
use crate::auth::path::ambiguity;
use crate::auth::token::Expected;

pub(crate) use bearer::{Credentials, credentials};
pub(crate) use identity::{Identity, group_names};
pub(crate) use publisher::Publisher;
pub(crate) use refusal::{BadRequest, InvalidToken, Refusal};
use token_cache::TokenCache;
pub(crate) use trust::{Access, IdentityHeaders, Trust, TunnelLife};

/// One worker's gate: what it remembers is a cache of tokens that were found good.
pub(crate) struct Gate {
    expected: Expected,
    verified: RefCell<TokenCache>,
}

/// What a request asks for, as it came.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// The HTTP library has cut the target off at a `#`.
    pub(crate) had_fragment: bool,
}

/// A request that gets no permit, and whose it is, where a token was verified all the same.
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    pub(crate) identity: Option<Rc<Identity>>,
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self { why, identity: None }
    }
}

/// Proof that a request may be forwarded. Only this module makes it.
#[derive(Debug, Clone)]
pub(crate) struct Permit(Basis);

#[derive(Debug, Clone)]
enum Basis {
    /// A rule opens this path to anyone.
    Open { shadow: bool },
    /// A token was verified and its user may call the application.
    Bearer(Rc<Identity>),
    /// Shadow mode: this would have been refused.
    Shadow(Refusal, Option<Rc<Identity>>),
}

impl Permit {
    /// Who asks, where a token was verified.
    pub(crate) fn identity(&self) -> Option<&Rc<Identity>> {
        match &self.0 {
            Basis::Open { .. } => None,
            Basis::Bearer(identity) => Some(identity),
            Basis::Shadow(_, identity) => identity.as_ref(),
        }
    }

    /// A rule opened the path; nobody was identified.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.0, Basis::Open { .. })
    }

    /// Shadow mode: the refusal that would have been.
    pub(crate) fn would_have_been(&self) -> Option<Refusal> {
        match &self.0 {
            Basis::Shadow(refusal, _) => Some(*refusal),
            Basis::Open { .. } | Basis::Bearer(_) => None,
        }
    }

    /// Shadow mode without a verified token: the application sees what the client sent.
    pub(crate) fn leaves_request_alone(&self) -> bool {
        matches!(self.0, Basis::Shadow(_, None) | Basis::Open { shadow: true })
    }
}

impl Gate {
    pub(crate) fn new(expected: Expected) -> Self {
        Self { expected, verified: RefCell::default() }
    }

    /// Judges a request for the application. In shadow mode every request gets a permit, which knows its refusal.
    ///
    /// `now`: seconds since the epoch.
    pub(crate) fn judge(&self, trust: &Trust, asked: &Asked<'_>, now: u64) -> Result<Permit, Refused> {
        match self.decide(trust, asked, now) {
            Err(Refused { why, identity }) if trust.access.shadow() => Ok(Permit(Basis::Shadow(why, identity))),
            decided => decided,
        }
    }

    fn decide(&self, trust: &Trust, asked: &Asked<'_>, now: u64) -> Result<Permit, Refused> {
        let policy = &trust.access.policy;
        let path = asked.uri.path();
        let credentials = credentials(asked.headers);
        let identify = || match credentials {
            Credentials::Token(token) => self.identify(trust, token, now).map_err(Refusal::Invalid),
            Credentials::None => Err(Refusal::NoToken),
            Credentials::Several => Err(Refusal::BadRequest(BadRequest::SeveralAuthorizations)),
        };
        if matches!(credentials, Credentials::Several) {
            return Err(Refusal::BadRequest(BadRequest::SeveralAuthorizations).into());
        }
        // A fragment is no part of a request target (RFC 9112, section 3.2), and what was cut off cannot be forwarded.
        if asked.had_fragment || (policy.needs_unambiguous_path() && ambiguity(path).is_some()) {
            let why = Refusal::BadRequest(BadRequest::AmbiguousPath);
            return Err(Refused { why, identity: identify().ok() });
        }
        let rule = policy.decide_route(asked.method.as_str(), path);
        if rule == RouteRule::Open {
            return Ok(Permit(Basis::Open { shadow: trust.access.shadow() }));
        }
        let identity = identify()?;
        if policy.may_call(rule, identity.group_names()) {
            Ok(Permit(Basis::Bearer(identity)))
        } else {
            Err(Refused { why: Refusal::Forbidden, identity: Some(identity) })
        }
    }

    /// Whose token this is, if it is good at this moment; for the application and for refreshing alike.
    pub(crate) fn identify(&self, trust: &Trust, token: &str, now: u64) -> Result<Rc<Identity>, InvalidToken> {
        if let Some(identity) = self.verified.borrow_mut().find(token, trust.generation) {
            return identity.still_good(now).map(|()| identity);
        }
        let identity = Rc::new(Identity::verify(token, trust, now, &self.expected)?);
        self.verified.borrow_mut().keep(token, trust.generation, Rc::clone(&identity));
        Ok(identity)
    }

    /// Does a permit that was given earlier still hold, for a connection that lives on it?
    ///
    /// `key_retired`: the token's key has run out as planned, so that its absence is no revocation.
    pub(crate) fn still_holds(
        &self,
        trust: &Trust,
        permit: &Permit,
        method: &Method,
        path: &str,
        key_retired: bool,
    ) -> bool {
        let policy = &trust.access.policy;
        let rule = policy.decide_route(method.as_str(), path);
        if rule == RouteRule::Open || trust.access.shadow() {
            return true;
        }
        permit.identity().is_some_and(|identity| {
            let key_stands = key_retired || trust.ring.find(&identity.kid).is_some();
            key_stands && identity.present_user(trust).is_ok_and(|user| policy.may_call(rule, group_names(&user)))
        })
    }
}
