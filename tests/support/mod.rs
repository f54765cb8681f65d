//! What the tests are made with: a Vestibule process, clients, applications, tokens, metrics.
//!
//! A test begins with [`Setup::new`], starts an [`App`] where it needs one, and talks to the [`Vestibule`] that
//! [`Setup::start`] returns. Nothing sleeps for a fixed time: [`eventually`] polls with a deadline.

mod app;
mod certificates;
mod client;
mod clocks;
mod commands;
mod faketime;
pub(crate) mod figures;
mod http2;
mod kept;
mod metrics;
mod process;
mod replaced;
mod revoked;
mod rotation;
mod setup;
mod skipped;
mod tokens;
mod traffic;
mod users;
mod vestibule;
mod volume;
mod wire;
mod withdrawn;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub(crate) use app::{App, Listening, Seen, body, full, server_config};
pub(crate) use certificates::{ClientCa, Pair, Purpose};
pub(crate) use client::{Answer, Call, Client, Connection, get, post};
pub(crate) use clocks::Fast;
pub(crate) use commands::{Commands, Ran, run_beside};
pub(crate) use faketime::{NEEDS_FAKETIME, faketime};
pub(crate) use http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, fields, frame, integer, request as request_fields,
};
pub(crate) use kept::{InDirectory, Kept};
pub(crate) use metrics::Metrics;
pub(crate) use replaced::Replaced;
pub(crate) use revoked::revoked;
pub(crate) use rotation::{Called, Spans, log_in_and_call, rotations_of, time};
pub(crate) use setup::{Setup, set_mode};
pub(crate) use skipped::{say, skipped};
pub(crate) use tokens::{Jwk, claims, decode, now};
pub(crate) use traffic::{Traffic, spread};
pub(crate) use users::{
    argon2, argon2_with, bcrypt, bcrypt_with, credential, default_users, htpasswd_line, password_of, slow_argon2,
    slow_hash,
};
pub(crate) use vestibule::{Failed, Vestibule, replace};
pub(crate) use volume::publish;
pub(crate) use wire::{Head, Wire};
pub(crate) use withdrawn::withdrawn;

/// How long anything may take that should happen at once; generous, for machines that are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer; panics with `what` when there is none in time.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_after(Duration::ZERO, what, ask).await
}

/// The same for what may take this long by its nature.
pub(crate) async fn eventually_after<T>(takes: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = takes + PATIENCE;
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        sleep(POLL).await;
    }
}

/// Waits for something with the deadline that every wait of a test has.
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(done) => done,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
