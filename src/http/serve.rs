//! Takes each request to the part that answers it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::FutureExt as _;
use http::{Request, Response, Version};
use hyper::body::Incoming;

use super::exchange::{Exchange, ReplyBody};
use super::peer::Peer;
use super::reply;
use super::route::Route;
use super::worker::Worker;
use super::{application, head, login, public_keys};
use crate::gate::Refusal;
use crate::metrics::Outcome;
use crate::server::{Activity, HeadRefused, Held, Service};
use crate::telemetry::EventName;

impl Service for Worker {
    type Peer = Peer;
    type Body = ReplyBody;

    fn connected(self: Rc<Self>, address: SocketAddr, activity: Activity, held: Held) -> Peer {
        Peer::new(address, activity, self, held)
    }

    fn head_refused(peer: &Peer) -> Box<dyn HeadRefused> {
        peer.head_refused()
    }

    fn serve(
        peer: Rc<Peer>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> {
        serve(peer, request).map(Ok)
    }
}

/// Serves one request. Whatever happens, it is counted once, with the answer that was sent.
async fn serve(peer: Rc<Peer>, mut request: Request<Incoming>) -> Response<ReplyBody> {
    let worker = Rc::clone(&peer.worker);
    let route = worker.login_paths.route(request.uri().path());
    let expected = if matches!(route, Route::Login(_)) { Outcome::Login } else { Outcome::Forwarded };
    let mut exchange = Exchange::begin(&peer, &mut request, expected);

    // HTTP/1.1's heads are bounded while they are read.
    if request.version() == Version::HTTP_2 && head::size(&request) > worker.header_bytes {
        let reply = reply::head_too_large();
        application::audit_refusal(&peer, (reply.outcome, "head_too_large"), EventName::Refusal, &exchange);
        return exchange.replied(reply);
    }
    if let Some(fault) = head::fault(&request, exchange.hidden) {
        let refusal = Refusal::BadRequest(fault);
        application::audit_refusal(&peer, reply::audited(refusal), EventName::Refusal, &exchange);
        return exchange.replied(reply::refused(refusal));
    }
    match route {
        Route::Login(dialect) => {
            let response = login::serve(&peer, dialect, request, &mut exchange).await;
            exchange.answered(response, Outcome::Login)
        }
        Route::PublicKeys => match public_keys::serve(&worker, &request) {
            Some(reply) => exchange.replied(reply),
            None => application::serve(peer, request, exchange).await,
        },
        Route::Application => application::serve(peer, request, exchange).await,
    }
}
