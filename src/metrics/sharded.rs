//! What every request counts: per-thread cells, added up when they are read.
//!
//! Two workers that share an atomic pass its cache line back and forth on every request. Here each thread
//! has cells of its own, and recording is a few uncontended additions without a lock, a hash or an allocation.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::proto;

use super::labels::{ClosedSet, Outcome};

/// Upper bounds of the duration buckets in nanoseconds, 0.5 ms to 10 s.
const BOUNDS: [u64; 14] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Status codes 100 to 599, and one cell for every other number.
pub(super) const CODES: usize = 501;

const SHARDS: usize = 8;

const OUTCOMES: usize = Outcome::ALL.len();

/// A small number of the calling thread's own, given out in the order of first use.
pub(crate) fn thread_slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: usize = NEXT.fetch_add(1, Relaxed);
    }
    SLOT.with(|slot| *slot)
}

/// A number that goes up and down with what is open.
#[derive(Clone, Copy)]
pub(super) enum Open {
    Connections,
    InFlight,
    Tunnels,
}

/// Counts one open thing down again when dropped.
#[must_use = "what the guard counts is over when it is dropped"]
pub struct OpenGuard {
    shard: Arc<Shard>,
    what: Open,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.shard.open[self.what as usize].fetch_sub(1, Relaxed);
    }
}

/// The cells of all threads. A thread's cells are made when it first records.
#[derive(Default)]
pub(super) struct Shards([OnceLock<Arc<Shard>>; SHARDS]);

impl Shards {
    pub(super) fn request(&self, outcome: Outcome, code: u16, took: Duration) {
        let shard = self.own();
        let codes = shard.requests[outcome.index()].get_or_init(|| (0..CODES).map(|_| AtomicU64::new(0)).collect());
        codes[code_cell(code)].fetch_add(1, Relaxed);
        shard.durations[outcome.index()].observe(took);
    }

    pub(super) fn upstream(&self, took: Duration) {
        self.own().upstream.observe(took);
    }

    pub(super) fn open(&self, what: Open) -> OpenGuard {
        let shard = self.own().clone();
        shard.open[what as usize].fetch_add(1, Relaxed);
        OpenGuard { shard, what }
    }

    fn own(&self) -> &Arc<Shard> {
        self.0[thread_slot() % SHARDS].get_or_init(Arc::default)
    }

    fn each(&self) -> impl Iterator<Item = &Shard> {
        self.0.iter().filter_map(|shard| shard.get().map(Arc::as_ref))
    }

    pub(super) fn count(&self, outcome: Outcome, code: usize) -> u64 {
        let of_outcome = self.each().filter_map(|shard| shard.requests[outcome.index()].get());
        of_outcome.map(|codes| codes[code].load(Relaxed)).sum()
    }

    pub(super) fn histogram(&self, of: impl Fn(&Shard) -> &Durations) -> proto::Histogram {
        let mut counts = [0; BOUNDS.len() + 1];
        let mut nanos = 0u64;
        for durations in self.each().map(of) {
            for (sum, cell) in counts.iter_mut().zip(&durations.counts) {
                *sum += cell.load(Relaxed);
            }
            nanos = nanos.saturating_add(durations.nanos.load(Relaxed));
        }
        let mut seen = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (bound, count) in BOUNDS.iter().zip(counts) {
            seen += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(seen);
            bucket.set_upper_bound(Duration::from_nanos(*bound).as_secs_f64());
            buckets.push(bucket);
        }
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(Duration::from_nanos(nanos).as_secs_f64());
        histogram
    }

    pub(super) fn opened(&self, what: Open) -> i64 {
        self.each().map(|shard| shard.open[what as usize].load(Relaxed)).sum()
    }
}

/// One thread's cells, on cache lines that no other shard touches.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Shard {
    /// By status code; 4 KiB for each outcome that there has been.
    requests: [OnceLock<Box<[AtomicU64]>>; OUTCOMES],
    pub(super) durations: [Durations; OUTCOMES],
    pub(super) upstream: Durations,
    open: [AtomicI64; 3],
}

#[derive(Default)]
pub(super) struct Durations {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Durations {
    fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let cell = BOUNDS.partition_point(|bound| *bound < nanos);
        self.counts[cell].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }
}

/// Where a status is counted.
pub(super) fn code_cell(code: u16) -> usize {
    match code {
        100..=599 => usize::from(code) - 100,
        _ => CODES - 1,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_add_up_whoever_drops_the_guard() {
        let shards = Shards::default();
        let held = thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            shards.request(Outcome::Forwarded, 200, Duration::from_millis(3));
                        }
                        shards.open(Open::Tunnels)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(shards.count(Outcome::Forwarded, code_cell(200)), 2_000);
        assert_eq!(shards.opened(Open::Tunnels), 20);
        assert_eq!(shards.opened(Open::Connections), 0);
        drop(held);
        assert_eq!(shards.opened(Open::Tunnels), 0);
        let histogram = shards.histogram(|shard| &shard.durations[Outcome::Forwarded.index()]);
        assert_eq!(histogram.get_sample_count(), 2_000);
        assert!((histogram.get_sample_sum() - 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_duration_falls_in_the_first_bucket_that_is_not_below_it() {
        let cases = [
            (Duration::ZERO, 0),
            (Duration::from_micros(500), 0),
            (Duration::from_nanos(500_001), 1),
            (Duration::from_secs(10), 13),
            (Duration::from_secs(11), 14),
            (Duration::MAX, 14),
        ];
        for (took, cell) in cases {
            let durations = Durations::default();
            durations.observe(took);
            assert_eq!(durations.counts[cell].load(Relaxed), 1, "{took:?}");
        }
    }

    #[test]
    fn every_number_has_a_cell() {
        for code in [0, 99, 600, u16::MAX] {
            assert_eq!(code_cell(code), CODES - 1, "{code}");
        }
        assert_eq!(code_cell(100), 0);
        assert_eq!(code_cell(599), CODES - 2);
    }
}
