//! Forwarding: what goes to the application, over which connection, and what comes back.

mod answer_body;
mod connect;
mod expect;
mod forward;
pub(crate) mod headers;
mod in_flight;
mod io;
mod pool;
mod request_body;
mod spare;
mod target;

pub(crate) use answer_body::AnswerBody;
pub(crate) use connect::Target;
pub(crate) use forward::{Answer, Failure, Forwarder};
pub(crate) use headers::{Hop, X_REQUEST_ID};
pub(crate) use in_flight::InFlight;
pub(crate) use pool::Pool;
pub(crate) use request_body::{BodyProgress, Broken};
pub(crate) use target::Deadlines;
