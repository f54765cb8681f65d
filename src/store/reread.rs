//! Asks for the keys to be read again, for all requests together at most once in 2 s.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Between two reads that requests ask for.
const INTERVAL: Duration = Duration::from_secs(2);
/// What a request waits at most.
const PATIENCE: Duration = Duration::from_millis(300);

/// The asking end; every worker holds a clone.
#[derive(Clone)]
pub(crate) struct Reread {
    shared: Arc<Shared>,
    reads: watch::Receiver<u64>,
}

struct Shared {
    wanted: Notify,
    asked: Mutex<Option<(Instant, u64)>>,
}

/// The answering end, of whoever reads the store.
pub(super) struct Asked {
    shared: Arc<Shared>,
    reads: watch::Sender<u64>,
}

impl Reread {
    pub(super) fn channel() -> (Self, Asked) {
        let (sender, reads) = watch::channel(0);
        let shared = Arc::new(Shared { wanted: Notify::new(), asked: Mutex::new(None) });
        (Self { shared: Arc::clone(&shared), reads }, Asked { shared, reads: sender })
    }

    /// Returns when the keys have been read again, or when waiting is no use.
    pub(crate) async fn keys(&self) {
        let mut reads = self.reads.clone();
        let before = {
            let mut asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
            match *asked {
                // The read that was asked for lately: under way, or done and no use asking again.
                Some((at, before)) if at.elapsed() < INTERVAL => before,
                _ => {
                    let before = *reads.borrow();
                    *asked = Some((Instant::now(), before));
                    self.shared.wanted.notify_one();
                    before
                }
            }
        };
        // Too late or never: the request is judged on the ring as it is.
        drop(tokio::time::timeout(PATIENCE, reads.wait_for(|reads| *reads > before)).await);
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
                    async move { reread.keys().await }
                })
            })
            .collect();
        for one in many {
            one.await.expect("no panic");
        }
        assert_eq!(started.elapsed(), Duration::from_millis(50), "all wait for the one read");
        reread.keys().await;
        assert_eq!(started.elapsed(), Duration::from_millis(50), "which is no use asking for again");
        tokio::time::sleep(INTERVAL).await;
        reread.keys().await;
        assert_eq!(reader.await.expect("no panic"), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_300_ms_at_most() {
        let (reread, _asked) = Reread::channel();
        let started = Instant::now();
        reread.keys().await;
        assert_eq!(started.elapsed(), PATIENCE);
    }
}
