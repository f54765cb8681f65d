//! Makes a token for a user, with the signer of the ring.

use crate::auth::claims::Claims;
use crate::auth::keys::KeyRing;
use crate::auth::users::User;
use crate::auth::{token, uuid};

/// What tokens say and how long they last.
#[derive(Debug, Clone)]
pub(crate) struct TokenSettings {
    pub(crate) issuer: String,
    pub(crate) audience: Option<String>,
    /// Seconds, where a login asks for none.
    pub(crate) ttl: u64,
    /// Seconds, at most.
    pub(crate) max_ttl: u64,
    /// Seconds that refreshing may prolong one login for.
    pub(crate) max_session: u64,
}

/// What a token is minted on.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// The password that was used; `None`: an operator's token.
    pub(crate) credential: Option<String>,
    /// When the password was checked.
    pub(crate) auth_time: u64,
    /// Seconds that were asked for.
    pub(crate) ttl: Option<u64>,
    /// The token ends by then at the latest.
    pub(crate) not_after: Option<u64>,
}

/// A token, and what logs and answers say of it.
pub(crate) struct Minted {
    pub(crate) token: String,
    pub(crate) exp: u64,
    pub(crate) jti: String,
    pub(crate) kid: String,
}

/// No key of the ring can sign at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSigner;

/// Mints a token; its `exp` is cut to the key's.
pub(crate) fn mint(
    ring: &KeyRing,
    user: &User,
    grant: Grant,
    settings: &TokenSettings,
    now: u64,
) -> Result<Minted, NoSigner> {
    let key = ring.signer(now, settings.ttl).ok_or(NoSigner)?;
    let ttl = grant.ttl.unwrap_or(settings.ttl).min(settings.max_ttl);
    // A logout in this very second refuses tokens issued before the next one begins; a second one, before the one after.
    let iat = user.tokens_not_before().filter(|not_before| (now + 1..=now + 2).contains(not_before)).unwrap_or(now);
    let exp = key.cut(now.saturating_add(ttl)).min(grant.not_after.unwrap_or(u64::MAX));
    let claims = Claims {
        jti: uuid::v4(),
        iat,
        sub: user.name().to_owned(),
        iss: settings.issuer.clone(),
        exp,
        auth_time: grant.auth_time,
        groups: user.groups().iter().map(ToString::to_string).collect(),
        cred: grant.credential,
        aud: settings.audience.iter().cloned().collect(),
    };
    let token = token::mint(key, &claims).map_err(|_| NoSigner)?;
    Ok(Minted { token, exp, jti: claims.jti, kid: key.kid().to_string() })
}
