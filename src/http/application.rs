//! Requests for the application: judged, then forwarded with the proof in hand.

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::body;
use super::exchange::{Exchange, ReplyBody};
use super::peer::Peer;
use super::reply;
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::auth::token::TokenError;
use crate::clock::epoch;
use crate::gate::{Asked, Credentials, InvalidToken, Permit, Refusal, Refused, Trust, credentials};
use crate::metrics::Outcome;
use crate::proxy::{Answer, Broken, Failure};
use crate::telemetry::{EventName, Level};

/// Answers with what the application says, or with why it was not asked.
pub(super) async fn serve(
    peer: Rc<Peer>,
    request: Request<Incoming>,
    mut exchange: Box<Exchange>,
) -> Response<ReplyBody> {
    let worker = &peer.worker;
    let (trust, judged) = judge(worker, &request, exchange.hidden.fragment).await;
    let permit = match judged {
        Ok(permit) => permit,
        Err(Refused { why, identity }) => {
            exchange.identity = identity;
            audit_refusal(&peer, reply::audited(why), EventName::Refusal, &exchange);
            body::pass_over(request, &exchange.progress).await;
            return exchange.replied(reply::refused(why));
        }
    };
    exchange.identity = permit.identity().cloned();
    exchange.outcome = match permit.would_have_been() {
        Some(refusal) => {
            audit_refusal(&peer, reply::audited(refusal), EventName::ShadowRefusal, &exchange);
            reply::outcome(refusal)
        }
        None if permit.is_open() => Outcome::Open,
        None => Outcome::Forwarded,
    };
    let identity_headers = Arc::clone(&trust.access.headers);
    drop(trust);
    let forwarded = worker.forwarder.forward(&permit, request, &peer.hop, &identity_headers, &exchange.progress).await;
    match forwarded {
        Ok(answer) => {
            exchange.upstream = Some(answer.waited);
            worker.metrics.upstream_answered(answer.waited);
            deliver(&peer, answer, permit, exchange)
        }
        Err(failure) => not_answered(&peer, &failure, exchange),
    }
}

/// Judges on one version of everything. A token of a key that the ring does not hold may be newer than the ring: the
/// store is asked, and the request judged again.
async fn judge(
    worker: &Worker,
    request: &Request<Incoming>,
    had_fragment: bool,
) -> (Arc<Trust>, Result<Permit, Refused>) {
    let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers(), had_fragment };
    let once = || {
        let trust = worker.trust();
        let judged = worker.gate.judge(&trust, &asked, epoch());
        (trust, judged)
    };
    let (trust, judged) = once();
    let refusal = judged.as_ref().map_or_else(|refused| Some(refused.why), Permit::would_have_been);
    if refusal == Some(Refusal::Invalid(InvalidToken::Token(TokenError::UnknownKey)))
        && let Credentials::Token(token) = credentials(request.headers())
        && worker.reread_for(token, &trust, judged.is_ok()).await
    {
        return once();
    }
    (trust, judged)
}

fn deliver(peer: &Rc<Peer>, answer: Answer, permit: Permit, exchange: Box<Exchange>) -> Response<ReplyBody> {
    let outcome = exchange.outcome;
    if let Some((client, application)) = answer.upgraded {
        let tunnel = Tunnel::new(peer, permit, &exchange, answer.response.headers());
        tokio::task::spawn_local(tunnel.run(client, application));
    }
    exchange.answered(answer.response, outcome)
}

fn not_answered(peer: &Peer, failure: &Failure, mut exchange: Box<Exchange>) -> Response<ReplyBody> {
    let worker = &peer.worker;
    let reply = reply::failed(failure);
    let refused = |reason| audit_refusal(peer, (reply.outcome, reason), EventName::Refusal, &exchange);
    match failure {
        Failure::Upstream { reason, detail } => {
            worker.metrics.upstream_error(*reason);
            worker
                .log
                .event(Level::Warn, EventName::UpstreamFailed, "the application gave no answer")
                .field("reason", *reason)
                .field("detail", detail.as_str())
                .field("request_id", exchange.request_id.as_bytes())
                .emit();
        }
        Failure::TooLarge => refused("body_too_large"),
        Failure::Overloaded => refused("overloaded"),
        Failure::Body(Broken::Stalled) => refused("body_timeout"),
        Failure::Body(Broken::Malformed) => refused("malformed_body"),
        Failure::Body(Broken::ClientLeft) => exchange.client_left(),
    }
    // In shadow mode the refusal that would have been counts.
    let counts = matches!(exchange.outcome, Outcome::Forwarded | Outcome::Open);
    let outcome = if counts { reply.outcome } else { exchange.outcome };
    exchange.answered(reply.response, outcome)
}

/// A refusal is an audit event, with how it counts and why; in shadow mode it says that the request went through.
pub(super) fn audit_refusal(
    peer: &Peer,
    (outcome, reason): (Outcome, &'static str),
    event: EventName,
    exchange: &Exchange,
) {
    let message = match event {
        EventName::ShadowRefusal => "a request would have been refused",
        _ => "a request was refused",
    };
    let identity = exchange.identity.as_ref();
    peer.worker
        .log
        .event(Level::Info, event, message)
        .field("outcome", outcome)
        .field("reason", reason)
        .field("user", identity.map(|identity| identity.user.name()))
        .field("kid", identity.map(|identity| &*identity.kid))
        .field("jti", identity.map(|identity| identity.claims.jti.as_str()))
        .field("source", exchange.source)
        .field("method", exchange.method().as_str())
        .field("path", exchange.uri().path())
        .field("request_id", exchange.request_id.as_bytes())
        .emit();
}
