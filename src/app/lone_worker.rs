//! One worker on the runtime of whoever asks, made as `serve` makes its own, with nothing beside it that wakes up.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::settings;
use super::workers::Workers;
use crate::auth::keys::KeyRing;
use crate::auth::users::Users;
use crate::config::{ClientAuth, Config};
use crate::gate::Publisher;
use crate::login::Desk;
use crate::metrics::Metrics;
use crate::proxy::{Deadlines, InFlight, Target};
use crate::server::{TlsOptions, server_config};
use crate::shutdown::Shutdown;
use crate::store::Reread;
use crate::store::tls_material::Pair;
use crate::telemetry::Logger;

/// What a process has read when it begins to serve; the files that the configuration names are not looked at.
pub struct Started {
    pub config: Config,
    pub users: Users,
    pub ring: KeyRing,
    pub pair: Pair,
    /// To write the access log, and whatever else there is, to.
    pub log: Logger,
}

/// Serves on the listener, which does not block, until the runtime ends. Needs a local runtime.
///
/// # Errors
/// One line, where the configuration cannot be served.
pub async fn serve(started: Started, listener: TcpListener) -> Result<(), String> {
    let Started { config, users, ring, pair, log } = started;
    let deadlines = Deadlines { connect: config.limits.upstream_connect, headers: config.limits.upstream_headers };
    let target = Target::new(&config.upstream, Vec::new(), deadlines)?;
    let options =
        TlsOptions { min_version: config.tls.min_version, client_ca: Vec::new(), client_auth: ClientAuth::Optional };
    let (_tls_sender, tls) = watch::channel(server_config(&pair, &options)?);

    let (metrics, shutdown) = (Arc::new(Metrics::new()), Shutdown::new());
    let publisher = Publisher::new(settings::access(&config.access, config.tokens.max_session)?);
    publisher.users(Arc::new(users));
    publisher.ring(Arc::new(ring));
    let (reread, _nobody_reads) = Reread::channel();
    let throttle = settings::throttle(&config.throttle);
    let desk = Desk::start(throttle, 1, config.authorize.hashing.queue, publisher.subscribe())
        .map_err(|error| format!("the hashing thread: {error}"))?;

    let limits = &config.limits;
    let workers = Workers {
        parts: settings::worker_parts(&config, &publisher, reread, desk, &shutdown, &metrics, &log),
        target,
        in_flight: InFlight::new(Arc::clone(&metrics), limits.in_flight, limits.queue_length, limits.queue_timeout),
        body_limit: limits.request_body,
        expected: settings::expected(&config.tokens),
        tls,
        connections: 16,
        limits: settings::connection_limits(limits),
        shutdown,
    };
    let permits = Arc::new(Semaphore::new(workers.connections));
    workers.serve(listener, permits).await;
    Ok(())
}
