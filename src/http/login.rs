//! The login endpoints: a password in, a token out.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;

use super::body::{self, Unread};
use super::credentials::{self, Credentials, Malformed};
use super::dialect::{self, NoToken};
use super::exchange::Exchange;
use super::peer::Peer;
use super::refresh;
use super::worker::Worker;
use crate::auth::throttle::Source;
use crate::clock::epoch;
use crate::login::{self, Grant, Minted, Verdict};
use crate::metrics::{AuthorizeOutcome, Dialect};
use crate::proxy::Broken;
use crate::telemetry::{EventName, Level};

/// Bytes of a login's body.
const MAX_BODY: usize = 4096;

/// Serves one login endpoint, whatever the method.
pub(super) async fn serve(
    peer: &Peer,
    dialect: Dialect,
    request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Response<Bytes> {
    let started = tokio::time::Instant::now();
    let (head, body) = request.into_parts();
    let result = token(&peer.worker, dialect, &head, body, exchange).await;
    let outcome = match &result {
        Ok(_) => AuthorizeOutcome::Granted,
        Err(refusal) => refusal.outcome(),
    };
    peer.worker.metrics.authorize(dialect, outcome, started.elapsed());
    audit(&peer.worker, dialect, outcome, result.as_ref().ok(), exchange);
    match result {
        Ok(minted) => dialect::granted(dialect, &minted),
        Err(refusal) => dialect::refused(dialect, refusal),
    }
}

async fn token(
    worker: &Worker,
    dialect: Dialect,
    head: &http::request::Parts,
    body: Incoming,
    exchange: &mut Exchange,
) -> Result<Minted, NoToken> {
    if head.method != Method::POST {
        return Err(NoToken::Method);
    }
    let body = body::read(body, MAX_BODY, worker.login_deadline).await.map_err(|unread| match unread {
        Unread::TooLarge => NoToken::TooLarge,
        Unread::TimedOut => NoToken::TimedOut,
        Unread::Broken(broken) => {
            if broken == Broken::ClientLeft {
                exchange.client_left();
            }
            NoToken::Malformed("The body broke off")
        }
    })?;
    exchange.progress.bytes.set(body.len() as u64);
    exchange.progress.ended.set(true);
    match dialect {
        Dialect::Refresh => refresh::token(worker, &head.headers, &body, exchange).await,
        Dialect::Densify | Dialect::Redis => login(worker, dialect, &head.headers, &body, exchange).await,
    }
}

async fn login(
    worker: &Worker,
    dialect: Dialect,
    headers: &HeaderMap,
    body: &[u8],
    exchange: &mut Exchange,
) -> Result<Minted, NoToken> {
    let max_ttl = worker.tokens.max_ttl;
    let Credentials { name, password, ttl } =
        credentials::read(dialect, headers, body, max_ttl).map_err(|Malformed(message)| NoToken::Malformed(message))?;
    exchange.login_user = Some(String::from_utf8_lossy(&name).into_owned());
    // Without users or a signer no password is worth checking.
    let trust = worker.trust();
    if !trust.users_known {
        return Err(NoToken::NoUsers);
    }
    if trust.ring.signer(epoch(), worker.tokens.ttl).is_none() {
        return Err(NoToken::NoSigner);
    }
    match worker.desk.attempt(&name, password, Source::from(exchange.source)).await {
        Verdict::Granted { user, credential } => {
            let now = epoch();
            let grant = Grant { credential: Some(credential), auth_time: now, ttl, not_after: None };
            // The ring as it stands now: it may have changed while the password was checked.
            login::mint(&worker.trust().ring, &user, grant, &worker.tokens, now).map_err(|_| NoToken::NoSigner)
        }
        Verdict::Expired => Err(NoToken::PasswordExpired),
        Verdict::Denied => Err(NoToken::Unauthorized),
        Verdict::Throttled { retry_after } => Err(NoToken::Throttled(retry_after)),
        Verdict::Overloaded { retry_after } => Err(NoToken::QueueFull(retry_after)),
    }
}

fn audit(worker: &Worker, dialect: Dialect, outcome: AuthorizeOutcome, minted: Option<&Minted>, exchange: &Exchange) {
    let event = if dialect == Dialect::Refresh { EventName::Refresh } else { EventName::Login };
    let message = match (dialect, outcome) {
        (_, AuthorizeOutcome::Granted) => "a token was issued",
        (Dialect::Refresh, _) => "a refresh was refused",
        _ => "a login was refused",
    };
    worker
        .log
        .event(Level::Info, event, message)
        .field("outcome", outcome)
        .field("dialect", dialect)
        .field("user", exchange.login_user.as_deref())
        .field("source", exchange.source)
        .field("kid", minted.map(|minted| minted.kid.as_str()))
        .field("jti", minted.map(|minted| minted.jti.as_str()))
        .field("request_id", exchange.request_id.as_bytes())
        .emit();
}
