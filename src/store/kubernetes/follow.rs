//! Follows one Secret: a task that watches it, and what is known of it for all who ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::known::{Followed, Known};
use super::watch as watching;
use super::{ApiError, Cluster, Fault, SecretVersion};

/// Follows one Secret until the last clone is gone.
#[derive(Clone)]
pub struct Follower {
    known: Arc<Known>,
    _task: Arc<Task>,
}

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    pub(super) fn new(cluster: Cluster, name: &str) -> Self {
        let known = Arc::new(Known { cluster, name: name.to_owned(), state: watch::Sender::default() });
        let task = tokio::spawn(watching::run(Arc::clone(&known))).abort_handle();
        Self { known, _task: Arc::new(Task(task)) }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.known.cluster
    }

    pub fn name(&self) -> &str {
        &self.known.name
    }

    /// `NAMESPACE/NAME`.
    pub fn place(&self) -> String {
        format!("{}/{}", self.known.cluster.namespace(), self.known.name)
    }

    pub fn now(&self) -> Followed {
        self.known.state.borrow().clone()
    }

    /// Sees every change of what is known.
    pub fn subscribe(&self) -> watch::Receiver<Followed> {
        self.known.state.subscribe()
    }

    /// Reads the Secret as it stands, by one request as a rule, after a 401 once more with credentials read again; what is
    /// found is then [`Follower::now`].
    pub async fn refresh(&self) -> Result<(), ApiError> {
        match self.known.read().await {
            Err(error) if *error.fault() == Fault::Unauthorized => {
                self.known.cluster.renew().await;
                self.known.read().await
            }
            read => read,
        }
    }

    /// As [`Cluster::patch`]; what is written is then [`Follower::now`].
    pub async fn patch(
        &self,
        base: &SecretVersion,
        changes: &BTreeMap<String, Option<Vec<u8>>>,
    ) -> Result<(), ApiError> {
        let written = self.known.cluster.patch(base, changes).await?;
        // Where something newer has come meanwhile, that is known.
        self.known.take(written);
        Ok(())
    }
}
