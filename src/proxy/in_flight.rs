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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_gives_its_place_and_its_turn_back() {
        let metrics = Arc::new(Metrics::new());
        let in_flight = InFlight::new(Arc::clone(&metrics), Some(1), 1, Duration::from_secs(60));
        for _ in 0..3 {
            let one = in_flight.clone();
            let clumsy = tokio::spawn(async move {
                let _place = one.enter().await.expect("a place");
                tokio::task::yield_now().await;
                panic!("a request's own affair");
            });
            assert!(clumsy.await.is_err());
        }
        let place = in_flight.enter().await.expect("the place is free again");
        let waiting = tokio::spawn({
            let one = in_flight.clone();
            async move { drop(one.enter().await) }
        });
        tokio::task::yield_now().await;
        assert_eq!(in_flight.enter().await.err(), Some(Overloaded), "the queue holds one");
        waiting.abort();
        assert!(waiting.await.is_err());
        assert!(metrics.render().1.contains("\nvestibule_requests_in_flight 1\n"), "{}", metrics.render().1);
        drop(place);
        assert!(in_flight.enter().await.is_ok());
        assert!(metrics.render().1.contains("\nvestibule_requests_in_flight 0\n"), "{}", metrics.render().1);
    }
}
