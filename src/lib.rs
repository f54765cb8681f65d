//! Vestibule: a TLS and bearer-token sidecar for Kubernetes.

pub mod admin;
mod app;
pub mod auth;
mod check;
mod cli;
mod clock;
pub mod config;
#[cfg(feature = "counting")]
#[doc(hidden)]
pub mod counting;
mod dev;
pub mod exposure;
#[cfg(feature = "fleet")]
#[doc(hidden)]
pub mod fleet;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod http;
mod inject;
mod login;
#[cfg(feature = "manual")]
#[doc(hidden)]
pub mod manual;
pub mod metrics;
pub mod pki;
mod proxy;
pub mod readiness;
mod server;
pub mod shutdown;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod unprintable;

/// Runs the command line that the process was started with.
pub fn main() -> std::process::ExitCode {
    cli::main()
}
