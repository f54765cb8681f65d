//! `/.well-known/jwks.json`: the public halves of the signing keys, where the ring holds such keys.

use http::{Method, Request};

use super::reply::{self, Reply};
use super::worker::Worker;
use crate::clock::epoch;
use crate::metrics::Outcome;

/// `None`: the ring holds shared secrets only, and the path is the application's.
pub(super) fn serve<B>(worker: &Worker, request: &Request<B>) -> Option<Reply> {
    let set = worker.trust().ring.public_jwks(epoch())?;
    Some(match *request.method() {
        Method::GET | Method::HEAD => reply::public_keys(set),
        _ => reply::method_not_allowed("GET, HEAD", Outcome::Open),
    })
}
