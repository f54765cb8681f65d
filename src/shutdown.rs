//! The end in order: not ready, accept on, drain, close; and at once when asked twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::readiness::Readiness;

/// How long telling what is left that it is closed may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How far the end has come. Phases only go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No end is asked for.
    Running,
    /// Not ready any more, but still accepting, until the cluster's load balancers know.
    Delay,
    /// Nothing is accepted; connections finish what they have begun.
    Draining,
    /// What is left is closed.
    Closing,
}

/// How the end came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything had finished.
    Drained,
    /// `grace` was over first.
    GraceOver,
    /// A second request cut it short.
    Forced,
}

impl Ending {
    /// The process's exit code: an end that was asked for is a success, one that was forced is not.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Drained | Self::GraceOver => 0,
            Self::Forced => 1,
        }
    }
}

/// `shutdown.delay` and `shutdown.grace`.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub delay: Duration,
    pub grace: Duration,
}

/// The process's end, asked for and followed here. Clones share it.
#[derive(Clone)]
pub struct Shutdown(Arc<Channels>);

struct Channels {
    requests: watch::Sender<u32>,
    phase: watch::Sender<Phase>,
    /// Each guard holds a receiver.
    guards: watch::Sender<()>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Channels {
            requests: watch::Sender::new(0),
            phase: watch::Sender::new(Phase::Running),
            guards: watch::Sender::new(()),
        }))
    }

    /// Asks for the end, as a signal does; asked again, it comes at once.
    pub fn request(&self) {
        self.0.requests.send_modify(|requests| *requests = requests.saturating_add(1));
    }

    /// The phase and its changes.
    #[must_use]
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// Something that the end waits for, until it is dropped. Whoever makes new work holds one itself until it stops.
    pub fn guard(&self) -> DrainGuard {
        DrainGuard { phase: self.phase(), _held: self.0.guards.subscribe() }
    }

    /// Waits for [`Shutdown::request`], then takes the process through all phases.
    ///
    /// After `Delay`, the phase is `Draining` until all guards are dropped or `grace` is over, in which case those who
    /// hold one have a moment in `Closing` to say goodbye. When a second request comes, the phase is `Closing` at once.
    /// When this returns, the caller ends the process.
    pub async fn run(&self, timing: Timing, readiness: &Readiness) -> Ending {
        self.requested(1).await;
        readiness.drain();
        let ending = tokio::select! {
            biased;
            () = self.requested(2) => Ending::Forced,
            ending = self.drain(timing) => ending,
        };
        self.enter(Phase::Closing);
        if ending == Ending::GraceOver {
            tokio::select! {
                biased;
                () = self.requested(2) => return Ending::Forced,
                // Whoever takes longer is cut off.
                _ = timeout(FAREWELL, self.0.guards.closed()) => {}
            }
        }
        ending
    }

    async fn drain(&self, timing: Timing) -> Ending {
        self.enter(Phase::Delay);
        tokio::time::sleep(timing.delay).await;
        self.enter(Phase::Draining);
        match timeout(timing.grace, self.0.guards.closed()).await {
            Ok(()) => Ending::Drained,
            Err(_) => Ending::GraceOver,
        }
    }

    async fn requested(&self, times: u32) {
        // An error would mean that the sender is gone, which `self` holds.
        let _ = self.0.requests.subscribe().wait_for(|requests| *requests >= times).await;
    }

    fn enter(&self, phase: Phase) {
        self.0.phase.send_replace(phase);
    }
}

/// Held by what must finish before the process ends; tells it when to begin finishing.
#[derive(Clone)]
#[must_use = "the end waits only while the guard is held"]
pub struct DrainGuard {
    phase: watch::Receiver<Phase>,
    _held: watch::Receiver<()>,
}

impl DrainGuard {
    /// The phase at present.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until `phase` has come.
    pub async fn reached(&mut self, phase: Phase) {
        // Without a sender nobody directs the end any more, so it has come.
        let _ = self.phase.wait_for(|present| *present >= phase).await;
    }
}

/// SIGTERM and SIGINT, which no longer end the process by themselves.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over. To be called first of all: one that comes earlier kills the process, or, where it is
    /// a container's first, is lost.
    ///
    /// # Errors
    /// Where the system refuses the handler.
    ///
    /// # Panics
    /// Outside a Tokio runtime with I/O.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Turns each signal into a request. Never ends.
    pub async fn forward(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            shutdown.request();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    const SOON: Duration = Duration::from_millis(30);
    const NEVER: Duration = Duration::from_secs(3_600);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn start(shutdown: &Shutdown, readiness: &Readiness, delay: Duration, grace: Duration) -> JoinHandle<Ending> {
        let (shutdown, readiness) = (shutdown.clone(), readiness.clone());
        tokio::spawn(async move { shutdown.run(Timing { delay, grace }, &readiness).await })
    }

    async fn ended(run: JoinHandle<Ending>) -> Ending {
        timeout(PATIENCE, run).await.expect("it ends").unwrap()
    }

    #[tokio::test]
    async fn waits_for_the_last_guard() {
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let mut first = shutdown.guard();
        let second = first.clone();
        let run = start(&shutdown, &readiness, SOON, NEVER);
        tokio::time::sleep(SOON).await;
        assert!(readiness.is_ready() && first.phase() == Phase::Running);

        shutdown.request();
        timeout(PATIENCE, first.reached(Phase::Delay)).await.unwrap();
        assert!(!readiness.is_ready());
        timeout(PATIENCE, first.reached(Phase::Draining)).await.unwrap();
        drop(first);
        tokio::time::sleep(SOON).await;
        assert!(!run.is_finished(), "one guard is still held");
        drop(second);
        assert_eq!(ended(run).await, Ending::Drained);
        assert_eq!(*shutdown.phase().borrow(), Phase::Closing);
    }

    #[tokio::test]
    async fn accepts_through_the_delay() {
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let run = start(&shutdown, &readiness, NEVER, NEVER);
        shutdown.request();
        let mut phase = shutdown.phase();
        timeout(PATIENCE, phase.wait_for(|phase| *phase == Phase::Delay)).await.unwrap().unwrap();
        tokio::time::sleep(SOON).await;
        assert_eq!(*phase.borrow(), Phase::Delay, "no guard is held, but the delay is not over");
        run.abort();
    }

    #[tokio::test]
    async fn grace_ends_what_does_not_finish() {
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let mut guard = shutdown.guard();
        let run = start(&shutdown, &readiness, Duration::ZERO, SOON);
        shutdown.request();
        timeout(PATIENCE, guard.reached(Phase::Closing)).await.unwrap();
        tokio::time::sleep(SOON).await;
        assert!(!run.is_finished(), "whoever holds a guard says goodbye");
        drop(guard);
        assert_eq!(ended(run).await, Ending::GraceOver);
    }

    #[tokio::test]
    async fn a_second_request_ends_it_at_once() {
        for (delay, grace, until) in [(NEVER, NEVER, Phase::Delay), (Duration::ZERO, NEVER, Phase::Draining)] {
            let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
            let mut guard = shutdown.guard();
            let run = start(&shutdown, &readiness, delay, grace);
            shutdown.request();
            timeout(PATIENCE, guard.reached(until)).await.unwrap();
            shutdown.request();
            assert_eq!(ended(run).await, Ending::Forced);
            assert_eq!(guard.phase(), Phase::Closing);
        }
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        shutdown.request();
        shutdown.request();
        assert_eq!(ended(start(&shutdown, &readiness, NEVER, NEVER)).await, Ending::Forced);
    }

    #[tokio::test]
    async fn without_a_director_the_end_has_come() {
        let mut guard = Shutdown::new().guard();
        timeout(PATIENCE, guard.reached(Phase::Closing)).await.unwrap();
    }

    #[tokio::test]
    async fn a_signal_is_a_request() {
        let shutdown = Shutdown::new();
        let signals = Signals::install().unwrap();
        let forward = tokio::spawn(signals.forward(shutdown.clone()));
        let own = rustix::process::getpid();
        for (times, signal) in [(1, rustix::process::Signal::TERM), (2, rustix::process::Signal::INT)] {
            rustix::process::kill_process(own, signal).unwrap();
            timeout(PATIENCE, shutdown.requested(times)).await.expect("the signal arrives");
        }
        assert!(!forward.is_finished());
        forward.abort();
    }

    #[test]
    fn only_a_forced_end_is_a_failure() {
        let codes = [Ending::Drained, Ending::GraceOver, Ending::Forced].map(Ending::exit_code);
        assert_eq!(codes, [0, 0, 1]);
    }
}
