//! New versions while requests run: no connection is dropped, no request is judged on half a version, and what was
//! withdrawn is refused from the next request on.

mod certificate;
mod users;
mod withdrawn;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::*;

/// Between two requests of one client: the other end of the machine wants to work as well.
const BREATH: Duration = Duration::from_millis(5);

/// Clients that send requests without a pause until they are stopped.
#[derive(Default)]
struct Traffic {
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
    fn client<S: 'static>(&mut self, mut state: S, request: impl AsyncFn(&mut S) + 'static) {
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
    async fn stop(self) -> (u64, Duration) {
        self.watch.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no request failed and no connection was dropped");
        }
        let longest = Duration::from_micros(self.watch.longest.load(Ordering::Relaxed));
        (self.watch.served.load(Ordering::Relaxed), longest)
    }
}

async fn count(vestibule: &Vestibule, what: &str, result: &str) -> f64 {
    let series = format!("vestibule_reloads_total{{what=\"{what}\",result=\"{result}\"}}");
    vestibule.metrics().await.find(&series).unwrap_or_default()
}

/// Does something and waits until a reload with this result is counted; returns how long that took.
async fn reloaded(vestibule: &Vestibule, what: &str, result: &str, change: impl FnOnce()) -> Duration {
    let before = count(vestibule, what, result).await;
    let began = Instant::now();
    change();
    eventually(&format!("a reload of {what}: {result}"), async || {
        (count(vestibule, what, result).await > before).then_some(())
    })
    .await;
    began.elapsed()
}

/// The middle one and the longest, in milliseconds.
fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    format!("median {} ms, longest {} ms, of {}", middle.as_millis(), last.as_millis(), times.len())
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}
