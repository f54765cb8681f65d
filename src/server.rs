//! The TLS front: accepts connections, bounds them, and drives HTTP/1.1 and HTTP/2 on each.

mod activity;
mod client_io;
mod client_socket;
mod connection;
mod executor;
mod gathered;
mod head_scan;
mod kept_heads;
mod lent;
mod limits;
mod linger;
mod listener;
mod roster;
mod tls;
mod turn;

pub(crate) use activity::{Activity, ServingGuard};
pub(crate) use client_io::HeadRefused;
pub(crate) use connection::{Held, Service};
pub(crate) use executor::LocalExecutor;
pub(crate) use head_scan::Hidden;
#[cfg(feature = "fuzzing")]
pub(crate) use kept_heads::KeptHeads;
pub(crate) use limits::ConnectionLimits;
pub(crate) use linger::Linger;
pub(crate) use listener::{Accept, Listener, accept};
pub(crate) use roster::Roster;
pub(crate) use tls::{TlsOptions, server_config, without_certificate};
pub(crate) use turn::Turn;

#[cfg(test)]
mod tests;
