//! Refreshing: a good token in, a younger one out, as long as the session may last.

use http::HeaderMap;

use super::credentials::{self, Malformed};
use super::dialect::NoToken;
use super::exchange::Exchange;
use super::worker::Worker;
use crate::auth::token::TokenError;
use crate::clock::epoch;
use crate::gate::{self, Credentials, InvalidToken};
use crate::login::{self, Grant, Minted};

/// The next token of a session: `auth_time` is carried along and bounds the chain.
pub(super) async fn token(
    worker: &Worker,
    headers: &HeaderMap,
    body: &[u8],
    exchange: &mut Exchange,
) -> Result<Minted, NoToken> {
    let ttl =
        credentials::read_ttl(body, worker.tokens.max_ttl).map_err(|Malformed(message)| NoToken::Malformed(message))?;
    let token = match gate::credentials(headers) {
        Credentials::Token(token) => token,
        Credentials::None => return Err(NoToken::Unauthorized),
        Credentials::Several => return Err(NoToken::Malformed("More than one Authorization header")),
    };
    let now = epoch();
    let mut trust = worker.trust();
    let mut identified = worker.gate.identify(&trust, token, now);
    if matches!(identified, Err(InvalidToken::Token(TokenError::UnknownKey)))
        && worker.reread_for(token, &trust, false).await
    {
        trust = worker.trust();
        identified = worker.gate.identify(&trust, token, now);
    }
    let identity = identified.map_err(|_| NoToken::Unauthorized)?;
    exchange.login_user = Some(identity.user.name().to_owned());
    let claims = &identity.claims;
    let session_end = claims.auth_time.saturating_add(worker.tokens.max_session);
    if session_end <= now || identity.password_has_expired(now) {
        return Err(NoToken::Unauthorized);
    }
    let grant =
        Grant { credential: claims.cred.clone(), auth_time: claims.auth_time, ttl, not_after: Some(session_end) };
    login::mint(&trust.ring, &identity.user, grant, &worker.tokens, now).map_err(|_| NoToken::NoSigner)
}
