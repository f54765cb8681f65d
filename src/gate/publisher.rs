//! Publishes new versions of what requests are judged on; a bad one is simply never published.

use std::sync::Arc;

use tokio::sync::watch;

use super::trust::{Access, Trust};
use crate::auth::keys::KeyRing;
use crate::auth::users::Users;

/// The writing end of the channel that every worker reads. Clones share it.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<watch::Sender<Arc<Trust>>>);

impl Publisher {
    /// Begins without users and keys: until they are read, nobody gets in.
    pub(crate) fn new(access: Access) -> Self {
        let trust = Trust {
            users: Arc::new(Users::empty()),
            users_known: false,
            ring: Arc::new(KeyRing::default()),
            access: Arc::new(access),
            generation: 0,
        };
        Self(Arc::new(watch::Sender::new(Arc::new(trust))))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Trust>> {
        self.0.subscribe()
    }

    pub(crate) fn users(&self, users: Arc<Users>) {
        self.publish(|trust| {
            trust.users = users;
            trust.users_known = true;
        });
    }

    pub(crate) fn ring(&self, ring: Arc<KeyRing>) {
        self.publish(|trust| trust.ring = ring);
    }

    pub(crate) fn access(&self, access: Access) {
        self.publish(|trust| trust.access = Arc::new(access));
    }

    fn publish(&self, change: impl FnOnce(&mut Trust)) {
        self.0.send_modify(|current| {
            let mut next = Trust::clone(current);
            change(&mut next);
            next.generation += 1;
            *current = Arc::new(next);
        });
    }
}
