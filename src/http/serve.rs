//! Takes each request to the part that answers it.

use std::convert::Infallible;
use std::rc::Rc;

use http::{Request, Response, Version};
use hyper::body::Incoming;

use super::exchange::{Exchange, ReplyBody};
use super::peer::Peer;
use super::reply;
use super::route::Route;
use super::{application, head, login, public_keys};
use crate::gate::Refusal;
use crate::metrics::Outcome;

/// Serves one request. Whatever happens, it is counted once, with the answer that was sent.
pub(crate) async fn serve_request(
    peer: Rc<Peer>,
    mut request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let worker = Rc::clone(&peer.worker);
    let route = worker.login_paths.route(request.uri().path());
    let expected = if matches!(route, Route::Login(_)) { Outcome::Login } else { Outcome::Forwarded };
    let mut exchange = Exchange::begin(&peer, &mut request, expected);

    // HTTP/1.1's heads are bounded while they are read.
    if request.version() == Version::HTTP_2 && head::size(&request) > worker.header_bytes {
        let reply = reply::head_too_large();
        return Ok(exchange.answered(reply.response, reply.outcome));
    }
    if let Some(fault) = head::fault(&request) {
        let refusal = Refusal::BadRequest(fault);
        application::audit_refusal(&peer, refusal, None, &exchange, request.headers());
        let reply = reply::refused(refusal);
        return Ok(exchange.answered(reply.response, reply.outcome));
    }
    let reply = match route {
        Route::Login(dialect) => {
            let response = login::serve(&peer, dialect, request, &mut exchange).await;
            return Ok(exchange.answered(response, Outcome::Login));
        }
        Route::PublicKeys => match public_keys::serve(&worker, &request) {
            Some(reply) => reply,
            None => return Ok(application::serve(peer, request, exchange).await),
        },
        Route::Application => return Ok(application::serve(peer, request, exchange).await),
    };
    Ok(exchange.answered(reply.response, reply.outcome))
}
