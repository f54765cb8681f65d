//! Builds everything from a configuration: reads, binds, spawns, waits for a signal, drains.

mod capacity;
mod config_reload;
mod follow;
#[cfg(feature = "fleet")]
pub(crate) mod lone_store;
#[cfg(feature = "counting")]
pub(crate) mod lone_worker;
pub(crate) mod settings;
mod tls_managed;
mod tls_reload;
mod workers;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::watch;

pub(crate) use self::config_reload::ConfigSource;
use self::tls_managed::ManagedTls;
use self::tls_reload::{TlsFiles, follow_upstream_ca, read_ca};
use self::workers::Workers;
use crate::admin::{self, AdminState};
use crate::config::{Certificate, Config, Loaded, Store};
use crate::exposure::Exposure;
use crate::gate::{Access, Publisher};
use crate::login::Desk;
use crate::metrics::{Metrics, ReloadTarget};
use crate::proxy::{Deadlines, InFlight, Target};
use crate::readiness::Readiness;
use crate::server::Listener;
use crate::shutdown::{Shutdown, Signals, Timing};
use crate::store::kubernetes::Cluster;
use crate::store::{CertificateFeed, KeyFeed, Origin, Report, UserFeed, tls_material};
use crate::telemetry::{EventName, Level, Logger};

/// How long the last log lines may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the process could not start, or not go on. One line that names the setting and the mend.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Nothing was bound or written.
    Config(String),
    Runtime(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) | Self::Runtime(error) => f.write_str(error),
        }
    }
}

/// Where it listens, once it does; the ports are those that the system chose where 0 was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// Serves until a signal ends it; returns the exit code. `source`: where the configuration can be loaded from again.
pub(crate) fn serve(
    loaded: Loaded,
    source: Option<ConfigSource>,
    listening: impl FnOnce(Addresses),
) -> Result<u8, StartError> {
    let Loaded { config, warnings } = loaded;
    let checked = Checked::new(&config)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| runtime_error("the runtime", &error))?;
    let cluster = runtime.block_on(connect(&config))?;
    let bound = Bound::new(&config)?;
    let log = Logger::to_stderr(settings::log(&config.log)).map_err(|error| runtime_error("standard error", &error))?;
    log.catch_panics();
    for warning in warnings.iter().chain(&checked.warnings) {
        log.event(Level::Warn, EventName::ConfigWarning, warning).emit();
    }
    capacity::raise_file_limit();
    let code = runtime.block_on(run(config, cluster, checked, bound, source, log.clone(), listening));
    log.flush(LAST_WORDS);
    // Blocking reads of a store that hangs must not hold up the end.
    runtime.shutdown_background();
    code
}

/// As whom to ask an API server, where the store or the certificate is at one. Nothing is asked yet.
async fn connect(config: &Config) -> Result<Option<Cluster>, StartError> {
    let (setting, namespace) = match (&config.store, &config.tls.certificate) {
        (Store::Kubernetes(store), _) => ("store.kubernetes", store.namespace.as_deref()),
        (Store::Directory(_), Certificate::Managed { .. }) => ("tls.managed", None),
        (Store::Directory(_), Certificate::Files { .. }) => return Ok(None),
    };
    let cluster = Cluster::infer(namespace).await;
    cluster.map(Some).map_err(|error| StartError::Config(format!("{setting}: {error}")))
}

/// What a configuration names besides itself, read and found good. Nothing is bound yet.
struct Checked {
    target: Target,
    /// The file that the target is verified against, and what it held.
    upstream_ca: Option<(PathBuf, Vec<CertificateDer<'static>>)>,
    tls: TlsSource,
    access: Access,
    warnings: Vec<String>,
}

/// Where the server's certificate comes from.
enum TlsSource {
    Files(TlsFiles),
    Managed(ManagedTls),
}

impl Checked {
    fn new(config: &Config) -> Result<Self, StartError> {
        let error = |error: String| StartError::Config(error);
        let mut warnings = Vec::new();
        let ca = match &config.upstream_ca {
            None => Vec::new(),
            Some(path) => read_ca("upstreamCa", path).map_err(error)?,
        };
        let deadlines = Deadlines { connect: config.limits.upstream_connect, headers: config.limits.upstream_headers };
        let tls = match &config.tls.certificate {
            Certificate::Files { certificate, key } => {
                if tls_material::key_is_world_readable(key) {
                    warnings.push(format!("tls.key: {} can be read by everyone; `chmod 600` it", key.display()));
                }
                TlsFiles::load(certificate.clone(), key.clone(), &config.tls).map(TlsSource::Files)
            }
            Certificate::Managed { secret, hosts } => {
                ManagedTls::load(secret, hosts, &config.tls).map(TlsSource::Managed)
            }
        };
        Ok(Self {
            target: Target::new(&config.upstream, ca.clone(), deadlines).map_err(error)?,
            upstream_ca: config.upstream_ca.clone().map(|file| (file, ca)),
            tls: tls.map_err(error)?,
            access: settings::access(&config.access, config.tokens.max_session).map_err(error)?,
            warnings,
        })
    }
}

/// Both listeners, or neither.
struct Bound {
    listen: Listener,
    admin: Listener,
    addresses: Addresses,
}

impl Bound {
    fn new(config: &Config) -> Result<Self, StartError> {
        let bind = |setting: &str, address: SocketAddr| {
            let listener = Listener::bind(address).map_err(|error| {
                StartError::Config(format!(
                    "{setting}: cannot listen on {address}: {error}; free it or choose another address"
                ))
            })?;
            let local = listener.local_addr().map_err(|error| runtime_error(setting, &error))?;
            Ok((listener, local))
        };
        let (listen, listen_address) = bind("listen", config.listen)?;
        let (admin, admin_address) = bind("admin", config.admin)?;
        Ok(Self { listen, admin, addresses: Addresses { listen: listen_address, admin: admin_address } })
    }
}

async fn run(
    config: Config,
    cluster: Option<Cluster>,
    checked: Checked,
    bound: Bound,
    source: Option<ConfigSource>,
    log: Logger,
    listening: impl FnOnce(Addresses),
) -> Result<u8, StartError> {
    // Before anything that a signal should end in order.
    let signals = Signals::install().map_err(|error| runtime_error("signals", &error))?;
    let shutdown = Shutdown::new();
    tokio::spawn(signals.forward(shutdown.clone()));
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::new();
    let publisher = Publisher::new(checked.access);

    let reading = readiness.pending("store: reading users and keys");
    let report = |what| Report::new(what, Arc::clone(&metrics), readiness.clone(), log.clone());
    let (user_origin, key_origin) = origins(&config.store, cluster.as_ref());
    let users = UserFeed::new(user_origin, publisher.clone(), report(ReloadTarget::Users));
    let policy = settings::rotation(&config);
    let (keys, reread) = KeyFeed::new(key_origin, policy, publisher.clone(), report(ReloadTarget::Keys));

    let hashing = config.authorize.hashing.clone();
    let throttle = settings::throttle(&config.throttle);
    let desk = Desk::start(throttle, hashing.threads, hashing.queue, publisher.subscribe())
        .map_err(|error| runtime_error("the hashing threads", &error))?;

    let (tls, certificate) = match checked.tls {
        TlsSource::Files(files) => (files.publish(Arc::clone(&metrics), log.clone()), None),
        TlsSource::Managed(managed) => {
            let cluster = cluster.as_ref().expect("who has a certificate at an API server has connected to it");
            let report = report(ReloadTarget::Certificate);
            let (tls, feed) = managed.publish(cluster, report, Arc::clone(&metrics), log.clone());
            (tls, Some(feed))
        }
    };
    if let Some((file, trusted)) = checked.upstream_ca {
        follow_upstream_ca(file, trusted, checked.target.clone(), Arc::clone(&metrics), log.clone());
    }
    if let Some(source) = source {
        let reload = config_reload::ConfigReload {
            source,
            current: config.clone(),
            publisher: publisher.clone(),
            desk: Arc::clone(&desk),
        };
        tokio::spawn(reload.run(Arc::clone(&metrics), log.clone()));
    }

    let exposure = Exposure::of_loopback_port(config.upstream.loopback_port());
    let entries = Arc::clone(&desk);
    let state = AdminState {
        metrics: Arc::clone(&metrics),
        readiness: readiness.clone(),
        before_scrape: Box::new(move |metrics| {
            metrics.set_upstream_exposed(exposure.is_exposed());
            metrics.set_throttled_entries(entries.entries());
            metrics.set_throttled_entries_limit(entries.entries_limit());
        }),
    };
    let admin = bound.admin.share().and_then(TcpListener::from_std);
    let admin = admin.map_err(|error| runtime_error("admin", &error))?;
    tokio::spawn(admin::serve(admin, state, shutdown.phase(), log.clone()));

    // Together: an API server that does not answer costs its deadline once.
    let certificate = OptionFuture::from(certificate.map(CertificateFeed::start));
    let (users, keys, certificate) = tokio::join!(users.start(), keys.start(), certificate);
    tokio::spawn(users.ok_or_else(|| runtime_error("the users", &"the runtime is ending"))?.run());
    tokio::spawn(keys.run());
    if let Some(certificate) = certificate {
        tokio::spawn(certificate.run());
    }
    drop(reading);

    let in_flight = InFlight::new(
        Arc::clone(&metrics),
        config.limits.in_flight,
        config.limits.queue_length,
        config.limits.queue_timeout,
    );
    let connections = capacity::connections(&config);
    metrics.set_connections_limit(connections);
    let workers = Workers {
        parts: settings::worker_parts(&config, &publisher, reread, desk, &shutdown, &metrics, &log),
        target: checked.target,
        in_flight,
        body_limit: config.limits.request_body,
        expected: settings::expected(&config.tokens),
        tls,
        connections,
        limits: settings::connection_limits(&config.limits),
        shutdown: shutdown.clone(),
    };
    let threads = config.workers.unwrap_or_else(capacity::workers);
    let spawned = workers.spawn(threads, &bound.listen);
    // Only the workers hold the socket now: when they stop accepting, it is closed.
    drop(bound.listen);
    spawned.map_err(|error| runtime_error("the worker threads", &error))?;

    log.event(Level::Info, EventName::Listening, "listening")
        .field("listen", bound.addresses.listen)
        .field("admin", bound.addresses.admin)
        .field("workers", threads)
        .field("version", env!("CARGO_PKG_VERSION"))
        .emit();
    listening(bound.addresses);
    tokio::spawn(tell_readiness(readiness.clone(), log.clone()));

    let timing = Timing { delay: config.shutdown.delay, grace: config.shutdown.grace };
    let ending = shutdown.run(timing, &readiness).await;
    log.event(Level::Info, EventName::Stopped, "stopped").field("exit_code", u16::from(ending.exit_code())).emit();
    Ok(ending.exit_code())
}

/// Where users and keys come from. An API server is asked at once.
fn origins(store: &Store, cluster: Option<&Cluster>) -> (Origin, Origin) {
    match store {
        Store::Kubernetes(store) => {
            let cluster = cluster.expect("who has a store at an API server has connected to it");
            let (users, keys) = store.fallback.clone().map(|fallback| (fallback.users, fallback.keys)).unzip();
            (Origin::secrets(cluster, &store.users, users), Origin::secrets(cluster, [&store.keys], keys))
        }
        Store::Directory(store) => (Origin::directory(store.users.clone()), Origin::directory(store.keys.clone())),
    }
}

/// Says in the log what keeps the process from being ready, and when it is.
async fn tell_readiness(readiness: Readiness, log: Logger) {
    let mut last = Vec::from(["starting".to_owned()]);
    loop {
        last = readiness.changed_from(&last).await;
        let message = if last.is_empty() { "ready" } else { "not ready" };
        let pending = last.join("; ");
        log.event(Level::Info, EventName::Readiness, message)
            .field("pending", (!last.is_empty()).then_some(pending.as_str()))
            .emit();
    }
}

fn runtime_error(what: &str, error: &dyn fmt::Display) -> StartError {
    StartError::Runtime(format!("{what}: {error}"))
}

/// A TLS configuration that changes.
type TlsChannel = watch::Receiver<Arc<rustls::ServerConfig>>;
