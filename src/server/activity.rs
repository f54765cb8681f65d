//! What a client's connection is doing right now: idle, sending a request head, or being served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::head_scan::Hidden;
use super::limits::ConnectionLimits;

/// Shared between a connection's byte stream, its requests and its timer. All three run on one thread; atomics are
/// only there because upgraded byte streams must be `Send`.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    /// Requests handed to the service whose answers have not ended.
    serving: AtomicU32,
    /// An answer of the service may not have been flushed yet.
    unflushed: AtomicBool,
    /// A head's first byte has come and the head is not complete.
    in_head: AtomicBool,
    /// Bytes that have come behind the head that is served: its body, and whatever a client sends before its answer.
    behind: AtomicU64,
    /// The HTTP library may keep bytes that belong to a later head, or to a body that nobody has read.
    kept: AtomicBool,
    /// The end of the byte stream has begun.
    closing: AtomicBool,
    /// What the head that came last had in it.
    fragment: AtomicBool,
    length: AtomicBool,
    /// The process is about to end.
    draining: AtomicBool,
    /// The connection has been upgraded.
    tunnel: AtomicBool,
    /// Microseconds since `start`: of the head's first byte, or since when the connection is idle.
    since: AtomicU64,
    /// Microseconds since `start`: when the system last took a byte for the client and then no more; 0: it takes them.
    blocked: AtomicU64,
    requests: AtomicU32,
    /// Requests that the client itself ended within [`HASTE`] and before their answers had begun.
    abandoned: AtomicU32,
}

/// Requests that one connection may abandon in haste, as long as they are not most of all that it has made. The HTTP
/// library bounds only those that are reset before they are taken up (CVE-2023-44487).
const MAX_ABANDONED: u32 = 500;
const HASTE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests, since this moment.
    Idle(Instant),
    /// Inside a request's head, whose first byte came at this moment.
    Head(Instant),
    /// At least one request is being served.
    Serving,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            serving: AtomicU32::new(0),
            unflushed: AtomicBool::new(false),
            in_head: AtomicBool::new(false),
            behind: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            fragment: AtomicBool::new(false),
            length: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            since: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            abandoned: AtomicU32::new(0),
        }))
    }

    pub(crate) fn phase(&self) -> Phase {
        let state = &*self.0;
        let since = || state.start + Duration::from_micros(state.since.load(Relaxed));
        if state.serving.load(Relaxed) > 0 {
            Phase::Serving
        } else if state.in_head.load(Relaxed) {
            Phase::Head(since())
        } else {
            Phase::Idle(since())
        }
    }

    /// When the connection is to be ended, unless something happens before; `None`: not as long as it is like this.
    ///
    /// A client that takes nothing of what is written to it is as idle as one that asks for nothing.
    pub(super) fn over_at(&self, limits: &ConnectionLimits) -> Option<Instant> {
        let (requests, abandoned) = (self.0.requests.load(Relaxed), self.0.abandoned.load(Relaxed));
        if abandoned >= MAX_ABANDONED && abandoned > requests / 2 {
            return Some(self.0.start);
        }
        let blocked = self.0.blocked.load(Relaxed);
        let blocked = (blocked > 0).then(|| self.0.start + Duration::from_micros(blocked) + limits.idle_timeout);
        match self.phase() {
            Phase::Serving => blocked,
            // The end of an answer that is still on its way is no idleness.
            Phase::Idle(since) => blocked.or(Some(since + limits.idle_timeout)),
            Phase::Head(since) => Some(since + limits.header_timeout),
        }
    }

    /// The handshake is done.
    pub(super) fn connected(&self) {
        self.0.mark(Instant::now());
    }

    /// The system takes no more bytes for the client.
    pub(super) fn blocked(&self) {
        let state = &*self.0;
        if state.blocked.load(Relaxed) == 0 {
            state.blocked.store(state.micros(Instant::now()).max(1), Relaxed);
        }
    }

    /// The system has taken bytes for the client.
    pub(super) fn unblocked(&self) {
        let state = &*self.0;
        if state.blocked.load(Relaxed) > 0 {
            state.blocked.store(0, Relaxed);
            if matches!(self.phase(), Phase::Idle(_)) {
                state.mark(Instant::now());
            }
        }
    }

    /// Bytes have come from the client; `true`: they begin a head.
    pub(super) fn received(&self) -> bool {
        let state = &*self.0;
        let begins = state.serving.load(Relaxed) == 0 && !state.in_head.load(Relaxed);
        if begins {
            state.in_head.store(true, Relaxed);
            state.mark(Instant::now());
        }
        begins
    }

    /// A head has been read to its end.
    pub(super) fn head_ended(&self, hidden: Hidden) {
        let state = &*self.0;
        state.fragment.store(hidden.fragment, Relaxed);
        state.length.store(hidden.length, Relaxed);
    }

    /// Bytes have come behind a head: of its body, or else of the next head.
    pub(super) fn came_behind(&self, bytes: usize) {
        // One thread alone counts.
        self.0.behind.store(self.0.behind.load(Relaxed).saturating_add(bytes as u64), Relaxed);
    }

    /// What the HTTP library does not tell of the head that came last. Asked once for each request; of requests that
    /// are pipelined behind another only what the library leaves is seen.
    pub(crate) fn take_hidden(&self) -> Hidden {
        Hidden { fragment: self.0.fragment.swap(false, Relaxed), length: self.0.length.swap(false, Relaxed) }
    }

    /// A complete head has reached the service; the guard ends with the answer's last byte.
    ///
    /// `body`: its length, if it is known; what comes behind it before that end is the beginning of the next head.
    pub(crate) fn serve(&self, body: Option<u64>) -> ServingGuard {
        let state = &*self.0;
        state.serving.fetch_add(1, Relaxed);
        state.requests.fetch_add(1, Relaxed);
        state.in_head.store(false, Relaxed);
        state.unflushed.store(true, Relaxed);
        ServingGuard { activity: self.clone(), body, read: 0, began: Instant::now(), ended: None, answered: false }
    }

    /// No request has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.0.requests.load(Relaxed) == 0
    }

    pub(super) fn drain(&self) {
        self.0.draining.store(true, Relaxed);
    }

    /// The answer that is sent now should be the connection's last.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Relaxed)
    }

    /// The connection will be upgraded: what comes from now on are no requests.
    pub(crate) fn becomes_tunnel(&self) {
        self.0.tunnel.store(true, Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.0.tunnel.load(Relaxed)
    }

    /// Everything written so far has been handed to the operating system.
    pub(super) fn flushed(&self) {
        if self.0.serving.load(Relaxed) == 0 {
            self.0.unflushed.store(false, Relaxed);
        }
    }

    /// The byte stream is being closed.
    pub(super) fn closes(&self) {
        self.0.closing.store(true, Relaxed);
    }

    /// Since when nothing at all is under way on a connection that goes on; `None`: something is, or may be.
    ///
    /// The HTTP library holds no byte then, neither read nor to be written, and waits for a head.
    pub(super) fn at_rest(&self) -> Option<Instant> {
        let state = &*self.0;
        let Phase::Idle(since) = self.phase() else { return None };
        let busy = [&state.unflushed, &state.kept, &state.closing, &state.tunnel];
        let busy = busy.iter().any(|flag| flag.load(Relaxed)) || state.blocked.load(Relaxed) > 0;
        (!busy).then_some(since)
    }

    /// Nothing of the service's own can be in the next write: it is a reply of the HTTP library.
    pub(super) fn owes_nothing(&self) -> bool {
        !self.0.unflushed.load(Relaxed)
    }
}

impl State {
    fn mark(&self, now: Instant) {
        self.since.store(self.micros(now), Relaxed);
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from((now - self.start).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Held by a request until its answer has ended.
#[derive(Debug)]
pub(crate) struct ServingGuard {
    activity: Activity,
    body: Option<u64>,
    /// Bytes of it that were handed over.
    read: u64,
    began: Instant,
    ended: Option<Instant>,
    answered: bool,
}

impl ServingGuard {
    /// The request is over; how long it took from when its head was complete.
    pub(crate) fn ended(&mut self) -> Duration {
        *self.ended.insert(Instant::now()) - self.began
    }

    /// So many bytes of the body were handed over in all.
    pub(crate) fn read(&mut self, bytes: u64) {
        self.read = bytes;
    }

    /// The answer has begun.
    pub(crate) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for ServingGuard {
    fn drop(&mut self) {
        let state = &*self.activity.0;
        let ended = self.ended.unwrap_or_else(Instant::now);
        if !self.answered && ended - self.began < HASTE {
            state.abandoned.fetch_add(1, Relaxed);
        }
        if state.serving.fetch_sub(1, Relaxed) == 1 {
            let behind = state.behind.swap(0, Relaxed);
            state.in_head.store(self.body.is_some_and(|body| behind > body), Relaxed);
            if self.body != Some(behind) || self.read != behind {
                state.kept.store(true, Relaxed);
            }
            state.mark(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_begins_with_its_first_byte_and_idleness_with_the_end_of_the_answer() {
        let activity = Activity::new();
        assert!(matches!(activity.phase(), Phase::Idle(_)));
        activity.received();
        let Phase::Head(first) = activity.phase() else { panic!("a head has begun") };
        std::thread::sleep(Duration::from_millis(2));
        activity.received();
        assert_eq!(activity.phase(), Phase::Head(first), "later bytes do not restart the head's time");
        let one = activity.serve(Some(0));
        let two = activity.serve(Some(0));
        drop(one);
        assert_eq!(activity.phase(), Phase::Serving);
        drop(two);
        let Phase::Idle(since) = activity.phase() else { panic!("idle again") };
        assert!(since > first);
    }

    #[test]
    fn a_head_that_comes_while_another_is_served_has_begun() {
        for (body, came, begun) in [(Some(0), 1, true), (Some(5), 5, false), (Some(5), 6, true), (None, 9, false)] {
            let activity = Activity::new();
            assert!(activity.received());
            let serving = activity.serve(body);
            assert!(!activity.received());
            activity.came_behind(came);
            drop(serving);
            assert_eq!(matches!(activity.phase(), Phase::Head(_)), begun, "{body:?} {came}");
        }
    }

    #[test]
    fn only_a_connection_without_a_byte_on_its_way_is_at_rest() {
        let request = |body, behind, read| {
            let activity = Activity::new();
            activity.received();
            activity.came_behind(behind);
            let mut serving = activity.serve(body);
            serving.read(read);
            assert_eq!(activity.at_rest(), None, "it is served");
            drop(serving);
            assert_eq!(activity.at_rest(), None, "its answer is not flushed");
            activity.flushed();
            activity
        };
        assert!(Activity::new().at_rest().is_some());
        for (body, behind, read, rests) in [
            (Some(0), 0, 0, true),
            (Some(5), 5, 5, true),
            // The next head, a body that nobody has read, one that has not come, one of which nobody knows the end.
            (Some(0), 1, 0, false),
            (Some(5), 5, 0, false),
            (Some(5), 3, 3, false),
            (None, 9, 5, false),
        ] {
            let activity = request(body, behind, read);
            assert_eq!(activity.at_rest().is_some(), rests, "{body:?} {behind} {read}");
            drop(activity.serve(Some(0)));
            activity.flushed();
            assert_eq!(activity.at_rest().is_some(), rests, "what may be kept is not known to have gone");
        }
        type Change = fn(&Activity);
        let changes: [Change; 4] =
            [Activity::blocked, Activity::closes, Activity::becomes_tunnel, |activity| assert!(activity.received())];
        for change in changes {
            let activity = request(Some(0), 0, 0);
            change(&activity);
            assert_eq!(activity.at_rest(), None);
        }
    }

    #[test]
    fn replies_of_the_library_are_told_from_those_of_the_service() {
        let activity = Activity::new();
        assert!(activity.owes_nothing());
        drop(activity.serve(Some(0)));
        assert!(!activity.owes_nothing(), "the answer may still be in a buffer");
        activity.flushed();
        assert!(activity.owes_nothing());
    }

    #[test]
    fn abandoning_most_requests_in_haste_ends_the_connection() {
        let seconds = Duration::from_secs(60);
        let limits = ConnectionLimits {
            header_bytes: 8192,
            header_timeout: seconds,
            idle_timeout: seconds,
            handshake_timeout: seconds,
        };
        for (answered, over) in [(0, true), (400, true), (1000, false)] {
            let activity = Activity::new();
            let abandon = |number: u32| (0..number).for_each(|_| drop(activity.serve(Some(0))));
            (0..answered).for_each(|_| activity.serve(Some(0)).answered());
            abandon(MAX_ABANDONED - 1);
            let now = Instant::now();
            assert!(activity.over_at(&limits).is_none_or(|end| end > now), "{answered}: one less is no fault");
            abandon(1);
            assert_eq!(activity.over_at(&limits).is_some_and(|end| end <= now), over, "{answered}");
        }
    }
}
