//! Clients that send requests without a pause while something happens to the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Between two requests of one client: the other end of the machine wants to work as well.
const BREATH: Duration = Duration::from_millis(5);

/// Clients that send requests until they are stopped. Within a `LocalSet`.
#[derive(Default)]
pub(crate) struct Traffic {
    watch: Arc<Watch>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Watch {
    over: AtomicBool,
    served: AtomicU64,
    /// In microseconds.
    longest: AtomicU64,
}

impl Traffic {
    /// Runs `request` again and again; it panics where something is wrong with the answer.
    pub(crate) fn client<S: 'static>(&mut self, mut state: S, request: impl AsyncFn(&mut S) + 'static) {
        let watch = Arc::clone(&self.watch);
        self.clients.push(tokio::task::spawn_local(async move {
            while !watch.over.load(Ordering::Relaxed) {
                let began = Instant::now();
                request(&mut state).await;
                watch.served.fetch_add(1, Ordering::Relaxed);
                let took = u64::try_from(began.elapsed().as_micros()).expect("a short time");
                watch.longest.fetch_max(took, Ordering::Relaxed);
                sleep(BREATH).await;
            }
        }));
    }

    /// Stops all, and panics where one has; returns how many requests were served, and the longest.
    pub(crate) async fn stop(self) -> (u64, Duration) {
        self.watch.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no request failed and no connection was dropped");
        }
        let longest = Duration::from_micros(self.watch.longest.load(Ordering::Relaxed));
        (self.watch.served.load(Ordering::Relaxed), longest)
    }
}

/// The middle one and the longest, in milliseconds.
pub(crate) fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    format!("median {} ms, longest {} ms, of {}", middle.as_millis(), last.as_millis(), times.len())
}
