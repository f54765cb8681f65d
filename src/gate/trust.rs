//! One version of everything that requests are judged on.

use std::sync::Arc;

use http::HeaderName;

use crate::auth::access::{AccessPolicy, Mode};
use crate::auth::keys::KeyRing;
use crate::auth::users::Users;

/// Users, keys and rules as they stand. Published whole, so that no request is judged on a mix of two versions.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    pub(crate) users: Arc<Users>,
    /// Users have been read at least once; before, nobody can be told right from wrong.
    pub(crate) users_known: bool,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) access: Arc<Access>,
    /// Another number for every version.
    pub(crate) generation: u64,
}

/// The reloadable `access` part of the configuration.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) policy: AccessPolicy,
    pub(crate) headers: Arc<IdentityHeaders>,
    pub(crate) tunnels: TunnelLife,
}

impl Access {
    /// Nothing is refused; refusals are counted and logged.
    pub(crate) fn shadow(&self) -> bool {
        self.policy.mode() == Mode::Shadow
    }
}

/// The headers that tell the application who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentityHeaders {
    pub(crate) user: HeaderName,
    pub(crate) groups: HeaderName,
    /// The application gets the token as well.
    pub(crate) forward_token: bool,
}

/// What ends an upgraded connection in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TunnelLife {
    /// `auth_time` and this many seconds.
    Session(u64),
    /// The token's `exp`.
    Token,
}
