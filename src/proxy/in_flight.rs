//! How many requests may be at the application at once, and the queue of those that wait for a place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::{Metrics, OpenGuard};

/// Shared by all workers: the limit is the process's.
#[derive(Clone)]
pub(crate) struct InFlight {
    metrics: Arc<Metrics>,
    limit: Option<Arc<Limit>>,
}

#[derive(Debug)]
struct Limit {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue_length: usize,
    queue_timeout: Duration,
}

/// One request's place at the application.
pub(crate) struct Place {
    _counted: OpenGuard,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The queue is full, or no place came free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overloaded;

impl InFlight {
    /// `limit`: places at the application; `None`: as many as there are requests.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        limit: Option<usize>,
        queue_length: usize,
        queue_timeout: Duration,
    ) -> Self {
        let limit = limit.map(|places| {
            Arc::new(Limit {
                places: Arc::new(Semaphore::new(places)),
                waiting: AtomicUsize::new(0),
                queue_length,
                queue_timeout,
            })
        });
        Self { metrics, limit }
    }

    pub(crate) async fn enter(&self) -> Result<Place, Overloaded> {
        let permit = match &self.limit {
            None => None,
            Some(limit) => Some(limit.wait().await?),
        };
        Ok(Place { _counted: self.metrics.in_flight(), _permit: permit })
    }
}

impl Limit {
    async fn wait(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        if self.waiting.fetch_add(1, Relaxed) >= self.queue_length {
            self.waiting.fetch_sub(1, Relaxed);
            return Err(Overloaded);
        }
        let _waiting = Waiting(&self.waiting);
        match tokio::time::timeout(self.queue_timeout, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Overloaded),
        }
    }
}

/// Counts a waiting request until it is served, refused or gone.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
