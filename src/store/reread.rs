//! Asks for the keys to be read again, for all requests together at most once in 2 s.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Between two reads that requests ask for.
const INTERVAL: Duration = Duration::from_secs(2);

/// The asking end; every worker holds a clone.
#[derive(Clone)]
pub(crate) struct Reread {
    shared: Arc<Shared>,
    reads: watch::Receiver<u64>,
}

struct Shared {
    wanted: Notify,
    /// When a read was asked for last.
    asked: Mutex<Option<Instant>>,
}

/// The answering end, of whoever reads the store.
pub(crate) struct Asked {
    shared: Arc<Shared>,
    reads: watch::Sender<u64>,
}

impl Reread {
    /// What a request waits at most.
    pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

    pub(crate) fn channel() -> (Self, Asked) {
        let (sender, reads) = watch::channel(0);
        let shared = Arc::new(Shared { wanted: Notify::new(), asked: Mutex::new(None) });
        (Self { shared: Arc::clone(&shared), reads }, Asked { shared, reads: sender })
    }

    /// Has the keys read, and returns when they have been, or after [`Self::PATIENCE`]; `false`, at once: a read was asked for
    /// lately, and it may have begun too early to show what this caller looks for.
    pub(crate) async fn keys(&self) -> bool {
        let mut reads = self.reads.clone();
        {
            let mut asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|at| at.elapsed() < INTERVAL) {
                return false;
            }
            *asked = Some(Instant::now());
        }
        reads.mark_unchanged();
        self.shared.wanted.notify_one();
        // Too late or never: the request is judged on the ring as it is.
        drop(tokio::time::timeout(Self::PATIENCE, reads.changed()).await);
        true
    }
}

impl Asked {
    /// Returns when somebody asks.
    pub(super) async fn wanted(&self) {
        self.shared.wanted.notified().await;
    }

    /// The keys have been read, with whatever result.
    pub(super) fn done(&self) {
        self.reads.send_modify(|reads| *reads += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_requests_together_ask_once_in_two_seconds() {
        let (reread, asked) = Reread::channel();
        let reader = tokio::spawn(async move {
            let mut reads = 0;
            while tokio::time::timeout(Duration::from_secs(10), asked.wanted()).await.is_ok() {
                reads += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
                asked.done();
            }
            reads
        });
        let started = Instant::now();
        let many: Vec<_> = (0..100)
            .map(|_| {
                tokio::spawn({
                    let reread = reread.clone();
                    async move { (reread.keys().await, started.elapsed()) }
                })
            })
            .collect();
        let mut asked = Vec::new();
        for one in many {
            asked.push(one.await.expect("no panic"));
        }
        asked.sort_unstable();
        assert_eq!(asked.pop(), Some((true, Duration::from_millis(50))), "one waits for its read");
        assert!(asked.iter().all(|one| *one == (false, Duration::ZERO)), "{asked:?}");
        assert!(!reread.keys().await, "it is no use asking again");
        tokio::time::sleep(INTERVAL).await;
        assert!(reread.keys().await);
        assert_eq!(reader.await.expect("no panic"), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_300_ms_at_most() {
        let (reread, _asked) = Reread::channel();
        let started = Instant::now();
        assert!(reread.keys().await);
        assert_eq!(started.elapsed(), Reread::PATIENCE);
    }
}
