//! What follows one sidecar's users and keys, on the runtime of whoever asks, made as `serve` makes its own.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{origins, settings};
use crate::auth::keys::KeyRing;
use crate::auth::users::Users;
use crate::config::Config;
use crate::gate::{Publisher, Trust};
use crate::metrics::{Metrics, ReloadTarget};
use crate::readiness::Readiness;
use crate::store::kubernetes::Cluster;
use crate::store::{KeyFeed, Report, UserFeed};
use crate::telemetry::Logger;

/// Users and keys of Secrets, until it is dropped.
pub struct LoneStore {
    trust: watch::Receiver<Arc<Trust>>,
    _feeds: JoinSet<()>,
}

impl LoneStore {
    /// Looks for as long as `serve` does before it serves, makes the first key where there is none, and follows the Secrets
    /// that the configuration names from then on. Stores may share metrics and log.
    ///
    /// # Errors
    /// One line, where the configuration cannot be served.
    pub async fn start(cluster: &Cluster, config: &Config, metrics: Arc<Metrics>, log: Logger) -> Result<Self, String> {
        let publisher = Publisher::new(settings::access(&config.access, config.tokens.max_session)?);
        let trust = publisher.subscribe();
        let readiness = Readiness::new();
        let report = |what| Report::new(what, Arc::clone(&metrics), readiness.clone(), log.clone());
        let (users, keys) = origins(&config.store, Some(cluster));
        let users = UserFeed::new(users, publisher.clone(), report(ReloadTarget::Users));
        let (keys, _reread) = KeyFeed::new(keys, settings::rotation(config), publisher, report(ReloadTarget::Keys));
        let (users, keys) = tokio::join!(users.start(), keys.start());
        let mut feeds = JoinSet::new();
        feeds.spawn(users.ok_or("the runtime is ending")?.run());
        feeds.spawn(keys.run());
        Ok(Self { trust, _feeds: feeds })
    }

    /// Returns when the users are known, and they and the ring that is in force are so.
    pub async fn until(&self, is_so: impl Fn(&Users, &KeyRing) -> bool) {
        let mut trust = self.trust.clone();
        // An error would mean that the feeds are gone, which `self` holds.
        let _ = trust.wait_for(|trust| trust.users_known && is_so(&trust.users, &trust.ring)).await;
    }
}
