//! Every metric that Vestibule reports, as typed methods over closed label sets.

mod collector;
mod labels;
#[cfg(target_os = "linux")]
mod process;
mod sharded;

use std::marker::PhantomData;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TEXT_FORMAT, TextEncoder,
};

use self::collector::ShardCollector;
pub(crate) use self::labels::closed_set;
pub use self::labels::{
    AuthorizeOutcome, CertificateFault, ClosedSet, Dialect, HandshakeResult, KeyState, Outcome, ReloadResult,
    ReloadTarget, RotationResult, StoreErrorReason, StoreName, UpstreamErrorReason, UserState,
};
pub use self::sharded::OpenGuard;
pub(crate) use self::sharded::thread_slot;
use self::sharded::{Open, Shards};

/// Upper bounds in seconds for logins, which are mostly the hashing of a password.
const AUTHORIZE_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The process's metrics, in a registry of their own. Shared as an `Arc`; no method waits or allocates,
/// save [`Metrics::render`].
pub struct Metrics {
    registry: Registry,
    shards: Arc<Shards>,
    upstream_errors: ByLabel<UpstreamErrorReason, IntCounter>,
    handshakes: ByLabel<HandshakeResult, IntCounter>,
    authorize: ByLabel<Dialect, ByLabel<AuthorizeOutcome, IntCounter>>,
    authorize_duration: ByLabel<Dialect, ByLabel<AuthorizeOutcome, Histogram>>,
    throttled_entries: IntGauge,
    throttled_entries_limit: IntGauge,
    connections_limit: IntGauge,
    signing_keys: ByLabel<KeyState, IntGauge>,
    key_activated: IntGauge,
    key_rotation_due: IntGauge,
    key_rotations: ByLabel<RotationResult, IntCounter>,
    users: ByLabel<UserState, IntGauge>,
    store_synced: ByLabel<StoreName, IntGauge>,
    store_errors: ByLabel<StoreName, ByLabel<StoreErrorReason, IntCounter>>,
    upstream_exposed: IntGauge,
    certificate_expiry: IntGauge,
    certificate_not_before: IntGauge,
    reloads: ByLabel<ReloadTarget, ByLabel<ReloadResult, IntCounter>>,
    reload_failing: ByLabel<ReloadTarget, IntGauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers everything, each series of a closed set at 0.
    #[must_use]
    pub fn new() -> Self {
        let new = Registered(Registry::new());
        let shards = Arc::new(Shards::default());
        new.register(ShardCollector::new(shards.clone()));
        #[cfg(target_os = "linux")]
        new.register(process::Process::new());
        new.gauges("vestibule_build_info", "What is running; always 1.", &["version", "revision"])
            .with_label_values(&[env!("CARGO_PKG_VERSION"), option_env!("VESTIBULE_REVISION").unwrap_or("unknown")])
            .set(1);
        Self {
            upstream_errors: new.counter_by(
                "vestibule_upstream_errors_total",
                "Requests that failed between Vestibule and the application.",
                "reason",
            ),
            handshakes: new.counter_by("vestibule_tls_handshakes_total", "TLS handshakes with clients.", "result"),
            authorize: new.counter_by_two(
                "vestibule_authorize_total",
                "Logins and refreshes, by endpoint and decision.",
                ["dialect", "outcome"],
            ),
            authorize_duration: new.histogram_by_two(
                "vestibule_authorize_duration_seconds",
                "Time to decide a login or a refresh, waiting for a hash included.",
                ["dialect", "outcome"],
            ),
            throttled_entries: new.gauge(
                "vestibule_throttled_entries",
                "Pairs of account and source that are remembered for wrong passwords.",
            ),
            throttled_entries_limit: new.gauge(
                "vestibule_throttled_entries_limit",
                "The most pairs of account and source that are remembered.",
            ),
            connections_limit: new.gauge("vestibule_connections_limit", "The most client connections at a time."),
            signing_keys: new.gauge_by("vestibule_signing_keys", "Keys in the key ring.", "state"),
            key_activated: new.gauge(
                "vestibule_signing_key_activated_timestamp_seconds",
                "When the present signer began to sign; 0 while no key can.",
            ),
            key_rotation_due: new.gauge(
                "vestibule_signing_key_rotation_due_timestamp_seconds",
                "When the policy wants the next signing key published; 0 while no key can sign.",
            ),
            key_rotations: new.counter_by(
                "vestibule_key_rotations_total",
                "Key rotations that this process attempted.",
                "result",
            ),
            users: new.gauge_by("vestibule_users", "Users in the user table.", "state"),
            store_synced: new.gauge_by(
                "vestibule_store_synced_timestamp_seconds",
                "When the store was last known to be up to date; 0 if never.",
                "store",
            ),
            store_errors: new.counter_by_two(
                "vestibule_store_errors_total",
                "Failures to read or write a store.",
                ["store", "reason"],
            ),
            upstream_exposed: new.gauge(
                "vestibule_upstream_exposed",
                "1 while the application's port is also listened on beyond loopback.",
            ),
            certificate_expiry: new.gauge(
                "vestibule_tls_certificate_expiry_timestamp_seconds",
                "When the certificate in use expires; 0 while there is none.",
            ),
            certificate_not_before: new.gauge(
                "vestibule_tls_certificate_not_before_timestamp_seconds",
                "When the certificate in use began to be good; 0 while there is none.",
            ),
            reloads: new.counter_by_two(
                "vestibule_reloads_total",
                "Reloads; an error leaves the last good version in force.",
                ["what", "result"],
            ),
            reload_failing: new.gauge_by(
                "vestibule_reload_failing",
                "Above 0 while the newest version is bad and the last good one stays in force.",
                "what",
            ),
            registry: new.0,
            shards,
        }
    }

    /// A request is over: `code` is the status that was sent, `took` the time since its headers were read.
    pub fn request(&self, outcome: Outcome, code: u16, took: Duration) {
        self.shards.request(outcome, code, took);
    }

    /// The application sent response headers, `took` after the request was sent to it.
    pub fn upstream_answered(&self, took: Duration) {
        self.shards.upstream(took);
    }

    pub fn upstream_error(&self, reason: UpstreamErrorReason) {
        self.upstream_errors[reason].inc();
    }

    /// A client connection, open until the guard is dropped.
    pub fn connection(&self) -> OpenGuard {
        self.shards.open(Open::Connections)
    }

    /// A request at the application until the guard is dropped.
    pub fn in_flight(&self) -> OpenGuard {
        self.shards.open(Open::InFlight)
    }

    /// An upgraded connection, open until the guard is dropped.
    pub fn tunnel(&self) -> OpenGuard {
        self.shards.open(Open::Tunnels)
    }

    pub fn handshake(&self, result: HandshakeResult) {
        self.handshakes[result].inc();
    }

    /// A login or refresh was decided, `took` after its headers were read.
    pub fn authorize(&self, dialect: Dialect, outcome: AuthorizeOutcome, took: Duration) {
        self.authorize[dialect][outcome].inc();
        self.authorize_duration[dialect][outcome].observe(took.as_secs_f64());
    }

    pub fn set_throttled_entries(&self, entries: usize) {
        self.throttled_entries.set(saturated(entries as u64));
    }

    pub fn set_throttled_entries_limit(&self, entries: usize) {
        self.throttled_entries_limit.set(saturated(entries as u64));
    }

    pub fn set_connections_limit(&self, connections: usize) {
        self.connections_limit.set(saturated(connections as u64));
    }

    pub fn set_signing_keys(&self, state: KeyState, keys: usize) {
        self.signing_keys[state].set(saturated(keys as u64));
    }

    /// `at` in seconds since the epoch; `None` while no key can sign.
    pub fn set_signing_key_activated(&self, at: Option<u64>) {
        self.key_activated.set(saturated(at.unwrap_or(0)));
    }

    /// `at` in seconds since the epoch; `None` while no key can sign.
    pub fn set_key_rotation_due(&self, at: Option<u64>) {
        self.key_rotation_due.set(saturated(at.unwrap_or(0)));
    }

    pub fn key_rotation(&self, result: RotationResult) {
        self.key_rotations[result].inc();
    }

    pub fn set_users(&self, state: UserState, users: usize) {
        self.users[state].set(saturated(users as u64));
    }

    /// The store was seen to be up to date at `at`, in seconds since the epoch.
    pub fn store_synced(&self, store: StoreName, at: u64) {
        self.store_synced[store].set(saturated(at));
    }

    pub fn store_error(&self, store: StoreName, reason: StoreErrorReason) {
        self.store_errors[store][reason].inc();
    }

    pub fn set_upstream_exposed(&self, exposed: bool) {
        self.upstream_exposed.set(i64::from(exposed));
    }

    /// `at` in seconds since the epoch.
    pub fn set_certificate_expiry(&self, at: u64) {
        self.certificate_expiry.set(saturated(at));
    }

    /// `at` in seconds since the epoch.
    pub fn set_certificate_not_before(&self, at: u64) {
        self.certificate_not_before.set(saturated(at));
    }

    pub fn reload(&self, what: ReloadTarget, result: ReloadResult) {
        self.reloads[what][result].inc();
    }

    /// Whether the newest version of one thing of this kind is bad; told at each change, by each of several in its turn.
    pub fn reload_failing(&self, what: ReloadTarget, failing: bool) {
        self.reload_failing[what].add(if failing { 1 } else { -1 });
    }

    /// The content type and the body of `/metrics`, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> (&'static str, String) {
        let body = TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("every registered family has a name and series of its own kind");
        (TEXT_FORMAT, body)
    }
}

/// One handle for each value of a label, found by index.
struct ByLabel<L, M> {
    handles: Vec<M>,
    label: PhantomData<fn(L)>,
}

impl<L: ClosedSet, M> ByLabel<L, M> {
    fn new(handle: impl Fn(&'static str) -> M) -> Self {
        let handles = L::ALL.iter().map(|value| handle(value.as_str())).collect();
        Self { handles, label: PhantomData }
    }
}

impl<L: ClosedSet, M> Index<L> for ByLabel<L, M> {
    type Output = M;

    fn index(&self, value: L) -> &M {
        &self.handles[value.index()]
    }
}

/// A registry that is being filled with metrics whose names are constants.
struct Registered(Registry);

impl Registered {
    fn register(&self, collector: impl Collector + 'static) {
        self.0.register(Box::new(collector)).expect("each name is registered once");
    }

    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("names and labels are valid constants");
        self.register(collector.clone());
        collector
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn gauge_by<L: ClosedSet>(&self, name: &str, help: &str, label: &str) -> ByLabel<L, IntGauge> {
        let gauges = self.gauges(name, help, &[label]);
        ByLabel::new(|value| gauges.with_label_values(&[value]))
    }

    fn counter_by<L: ClosedSet>(&self, name: &str, help: &str, label: &str) -> ByLabel<L, IntCounter> {
        let counters = self.keep(IntCounterVec::new(Opts::new(name, help), &[label]));
        ByLabel::new(|value| counters.with_label_values(&[value]))
    }

    fn counter_by_two<A: ClosedSet, B: ClosedSet>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
    ) -> ByLabel<A, ByLabel<B, IntCounter>> {
        let counters = self.keep(IntCounterVec::new(Opts::new(name, help), &labels));
        ByLabel::new(|a| ByLabel::new(|b| counters.with_label_values(&[a, b])))
    }

    fn histogram_by_two<A: ClosedSet, B: ClosedSet>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
    ) -> ByLabel<A, ByLabel<B, Histogram>> {
        let opts = HistogramOpts::new(name, help).buckets(AUTHORIZE_BOUNDS.to_vec());
        let histograms = self.keep(HistogramVec::new(opts, &labels));
        ByLabel::new(|a| ByLabel::new(|b| histograms.with_label_values(&[a, b])))
    }
}

fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
