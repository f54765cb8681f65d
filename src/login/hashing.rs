//! The hashing threads: few, of low priority, behind a bounded queue, so that guessing never slows a proxied request.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::fair_queue::FairQueue;
use crate::auth::throttle::Source;

/// How much nicer than request threads the hashing threads are (setpriority(2); on Linux a thread's own affair).
const NICE: i32 = 10;

/// A thread that has had nothing to do for so long gives its memory back.
const MEMORY_KEPT: Duration = Duration::from_secs(2);

/// A queue of jobs and the threads that do them.
pub(super) struct Hashing<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    queue: Mutex<State<J>>,
    ready: Condvar,
}

struct State<J> {
    jobs: FairQueue<J>,
    closed: bool,
}

impl<J: Send + 'static> Hashing<J> {
    /// A queue that no thread works on yet.
    pub(super) fn new(queue: usize) -> Self {
        let state = State { jobs: FairQueue::new(queue), closed: false };
        Self { shared: Arc::new(Shared { queue: Mutex::new(state), ready: Condvar::new() }) }
    }

    /// Starts the threads; each takes a job and does it, until the queue is dropped. `M` is what a thread works in,
    /// kept from one job to the next.
    pub(super) fn spawn<M: Default>(
        &self,
        threads: usize,
        work: impl Fn(&mut M, J) + Clone + Send + 'static,
    ) -> io::Result<()> {
        for number in 0..threads {
            let shared = Arc::clone(&self.shared);
            let work = work.clone();
            thread::Builder::new().name(format!("hashing-{number}")).spawn(move || {
                // Without the lower priority it works all the same.
                let _ = rustix::process::nice(NICE);
                let mut memory = M::default();
                while let Some(job) = shared.next(|| memory = M::default()) {
                    work(&mut memory, job);
                }
            })?;
        }
        Ok(())
    }

    /// Queues a job; gives back the one that has no room: this one, or another source's newest.
    pub(super) fn submit(&self, source: Source, favoured: bool, job: J) -> Option<J> {
        let given_back = self.shared.lock().jobs.push(source, favoured, job);
        self.shared.ready.notify_one();
        given_back
    }

    /// Takes a job back that no thread has begun.
    pub(super) fn withdraw(&self, fits: impl Fn(&J) -> bool) -> Option<J> {
        self.shared.lock().jobs.remove(fits)
    }
}

impl<J> Drop for Hashing<J> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.ready.notify_all();
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        // No code that can panic runs under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, waited for. Calls `idle` once where it takes longer than `MEMORY_KEPT`.
    fn next(&self, idle: impl FnOnce()) -> Option<J> {
        let state = self.lock();
        let waiting = |state: &mut State<J>| !state.closed && state.jobs.is_empty();
        let (mut state, waited) =
            self.ready.wait_timeout_while(state, MEMORY_KEPT, waiting).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            drop(state);
            idle();
            state = self.ready.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed { None } else { state.jobs.pop() }
    }
}
