//! What a request gets: its route, its judgement, its answer, and the record of it.

mod application;
mod body;
pub(crate) mod credentials;
mod dialect;
mod exchange;
mod head;
mod login;
mod peer;
mod public_keys;
mod refresh;
mod reply;
mod route;
mod serve;
mod tunnel;
mod web_socket;
mod worker;

pub(crate) use route::LoginPaths;
pub(crate) use worker::{Worker, WorkerParts};
