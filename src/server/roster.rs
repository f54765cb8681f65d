//! The open connections of one worker: who idles, dawdles in a head or takes no answer is told to end; at the end all are.
//!
//! One look over all connections now and then costs less than a timer in each, which every request would move.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::activity::{Activity, Phase};
use super::limits::ConnectionLimits;

/// How much later than its deadline a connection may be ended, as a part of the deadline.
const PRECISION: u32 = 16;
const OFTENEST: Duration = Duration::from_millis(10);
const RAREST: Duration = Duration::from_millis(500);
/// While draining, an idle connection is kept open for this long: a request that is under way is still answered, and
/// that answer says that it is the last. A client that has been silent for so long hardly speaks at this very moment.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A connection that says nothing for this long gives up its buffers. Making them anew costs half of a request, 10 µs.
const QUIET: Duration = Duration::from_secs(1);

/// Shared by the worker's connections and the task that looks after them.
pub(crate) struct Roster {
    members: RefCell<Vec<Option<Rc<Member>>>>,
    free: RefCell<Vec<usize>>,
    draining_since: Cell<Option<Instant>>,
    is_cut: Cell<bool>,
    /// Rung when what is left is cut off.
    cut: Notify,
    /// Nobody does anything, and nothing is looked at until somebody does.
    dozing: Cell<bool>,
    /// Rung when there is something to look after.
    roused: Notify,
}

struct Member {
    activity: Activity,
    is_over: Cell<bool>,
    last_call_over: Cell<bool>,
    rest: Cell<Rest>,
    task: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// There is nothing to give up, or nobody who could.
    Not,
    Awake,
    /// It has been quiet for long enough.
    Due,
}

/// A connection's place; given up by drop.
pub(super) struct Place {
    roster: Rc<Roster>,
    member: Rc<Member>,
    index: usize,
}

impl Roster {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            members: RefCell::default(),
            free: RefCell::default(),
            draining_since: Cell::new(None),
            is_cut: Cell::new(false),
            cut: Notify::new(),
            dozing: Cell::new(false),
            roused: Notify::new(),
        })
    }

    pub(super) fn join(self: &Rc<Self>, activity: Activity) -> Place {
        if self.draining_since.get().is_some() {
            activity.drain();
        }
        let member = Rc::new(Member {
            activity,
            is_over: Cell::new(false),
            last_call_over: Cell::new(false),
            rest: Cell::new(Rest::Not),
            task: RefCell::default(),
        });
        let mut members = self.members.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            members.push(None);
            members.len() - 1
        });
        members[index] = Some(Rc::clone(&member));
        self.roused.notify_one();
        Place { roster: Rc::clone(self), member, index }
    }

    /// Tells every connection, those to come as well, to finish what it has begun and end.
    pub(crate) fn drain(&self) {
        self.draining_since.set(Some(Instant::now()));
        self.roused.notify_one();
        for member in self.members.borrow().iter().flatten() {
            member.activity.drain();
            member.wake();
        }
    }

    /// Ends every connection, whatever it is doing.
    pub(crate) fn cut(&self) {
        self.is_cut.set(true);
        self.cut.notify_waiters();
        for member in self.members.borrow().iter().flatten() {
            member.wake();
        }
    }

    /// Waits until everything is cut off.
    pub(super) async fn has_been_cut(&self) {
        let cut = self.cut.notified();
        if !self.is_cut.get() {
            cut.await;
        }
    }

    /// Ends what idles or dawdles, for good.
    pub(crate) async fn look_after(&self, limits: &ConnectionLimits) {
        let shortest = limits.header_timeout.min(limits.idle_timeout);
        let interval = (shortest / PRECISION).clamp(OFTENEST, RAREST);
        loop {
            if self.is_empty() {
                self.roused.notified().await;
            }
            tokio::time::sleep(interval).await;
            if let Some(until) = self.look(limits) {
                self.dozing.set(true);
                tokio::select! {
                    () = self.roused.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
                self.dozing.set(false);
            }
        }
    }

    /// Looks over all connections once. Returns until when it may be left at that, where all are idle: whatever one of them
    /// begins to do, its task is woken for.
    fn look(&self, limits: &ConnectionLimits) -> Option<Instant> {
        let now = Instant::now();
        let draining_since = self.draining_since.get();
        let mut until = draining_since.is_none().then_some(now + limits.idle_timeout);
        for member in self.members.borrow().iter().flatten() {
            let phase = member.activity.phase();
            if let (Some(since), Phase::Idle(idle)) = (draining_since, phase)
                && since.max(idle) + LAST_CALL <= now
            {
                member.last_call_over.set(true);
                // It has been told to end, and has not even said which frames it would send.
                if member.activity.is_fresh() && since.max(idle) + 3 * LAST_CALL <= now {
                    member.is_over.set(true);
                }
                member.wake();
            }
            if member.rest.get() == Rest::Awake && member.activity.at_rest().is_some_and(|since| since + QUIET <= now) {
                member.rest.set(Rest::Due);
                member.wake();
            }
            let over_at = member.activity.over_at(limits);
            if over_at.is_some_and(|deadline| deadline <= now) {
                member.is_over.set(true);
                member.wake();
            }
            let is_calm = matches!(phase, Phase::Idle(_)) && member.rest.get() == Rest::Not;
            until = until.zip(over_at).filter(|_| is_calm).map(|(until, over_at)| until.min(over_at));
        }
        until
    }

    fn is_empty(&self) -> bool {
        self.members.borrow().len() == self.free.borrow().len()
    }
}

impl Member {
    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}

impl Place {
    /// The connection has idled or dawdled for too long.
    pub(super) fn is_over(&self) -> bool {
        self.member.is_over.get()
    }

    /// The connection has something to give up when it rests.
    pub(super) fn awake(&self) {
        self.member.rest.set(Rest::Awake);
    }

    /// The connection has been quiet for a while, and still is.
    pub(super) fn rests(&self) -> bool {
        if self.member.rest.get() != Rest::Due {
            return false;
        }
        let rests = self.member.activity.at_rest().is_some();
        self.member.rest.set(if rests { Rest::Not } else { Rest::Awake });
        rests
    }

    /// The process is about to end, and this connection had the time to say what it wanted.
    pub(super) fn had_last_call(&self) -> bool {
        self.member.last_call_over.get() || self.is_cut()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.roster.draining_since.get().is_some()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.roster.is_cut.get()
    }

    pub(super) fn roster(&self) -> &Rc<Roster> {
        &self.roster
    }

    /// The task to wake when there is something to look at. Called whenever it has been woken.
    pub(super) fn watch(&self, task: &Waker) {
        if self.roster.dozing.replace(false) {
            self.roster.roused.notify_one();
        }
        let mut watching = self.member.task.borrow_mut();
        if !watching.as_ref().is_some_and(|known| known.will_wake(task)) {
            *watching = Some(task.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.members.borrow_mut()[self.index] = None;
        self.roster.free.borrow_mut().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            header_bytes: 8192,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            handshake_timeout: Duration::from_secs(10),
        }
    }

    /// Seconds until a connection in this state is ended.
    async fn lifetime(prepare: fn(&Activity)) -> u64 {
        let (roster, activity, limits) = (Roster::new(), Activity::new(), limits());
        prepare(&activity);
        let place = roster.join(activity);
        let started = Instant::now();
        let over = poll_fn(|cx| {
            place.watch(cx.waker());
            if place.is_over() { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = over => started.elapsed().as_secs(),
            () = roster.look_after(&limits) => unreachable!("it goes on for good"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_own_deadline() {
        assert_eq!(lifetime(|_| {}).await, 120);
        assert_eq!(lifetime(|activity| assert!(activity.received())).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_wake_nobody_until_one_says_something() {
        let (roster, one, two) = (Roster::new(), Activity::new(), Activity::new());
        let places = [roster.join(one.clone()), roster.join(two)];
        let wakes = Cell::new(0);
        let limits = limits();
        let mut looking = Box::pin(roster.look_after(&limits));
        let mut counted = pin!(poll_fn(|cx| {
            wakes.set(wakes.get() + 1);
            looking.as_mut().poll(cx)
        }));
        let idle = tokio::time::sleep(Duration::from_secs(60));
        tokio::select! {
            () = counted.as_mut() => unreachable!("it goes on for good"),
            () = idle => assert!(wakes.get() <= 4, "{} wakes", wakes.get()),
        }
        let begun = Instant::now();
        assert!(one.received());
        let over = poll_fn(|cx| {
            places[0].watch(cx.waker());
            if places[0].is_over() { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = counted => unreachable!("it goes on for good"),
            () = over => assert_eq!(begun.elapsed().as_secs(), 10, "its head does not come"),
        }
        assert!(!places[1].is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_its_answer_is_idle() {
        let blocked = lifetime(|activity| {
            std::mem::forget(activity.serve(Some(0)));
            activity.blocked();
        });
        assert_eq!(blocked.await, 120);
        let taking = lifetime(|activity| {
            std::mem::forget(activity.serve(Some(0)));
            activity.blocked();
            activity.unblocked();
        });
        assert!(tokio::time::timeout(Duration::from_secs(3600), taking).await.is_err(), "it is served");
    }

    #[tokio::test(start_paused = true)]
    async fn a_last_call_is_for_those_who_are_silent() {
        let (roster, silent, busy) = (Roster::new(), Activity::new(), Activity::new());
        let (_serving, busy) = (busy.serve(Some(0)), roster.join(busy));
        let silent = roster.join(silent);
        assert!(silent.member.activity.is_fresh() && !busy.member.activity.is_fresh());
        tokio::time::sleep(Duration::from_secs(5)).await;
        let drained = Instant::now();
        roster.drain();
        assert!(busy.member.activity.is_draining() && !silent.had_last_call());
        let over = poll_fn(|cx| {
            silent.watch(cx.waker());
            if silent.had_last_call() { Poll::Ready(()) } else { Poll::Pending }
        });
        let limits = limits();
        tokio::select! {
            () = over => {}
            () = roster.look_after(&limits) => unreachable!("it goes on for good"),
        }
        assert!(drained.elapsed() >= LAST_CALL && drained.elapsed() <= LAST_CALL + 2 * RAREST);
        assert!(!busy.had_last_call());
        assert!(roster.join(Activity::new()).member.activity.is_draining());
        roster.cut();
        assert!(busy.had_last_call() && busy.is_cut());
        roster.has_been_cut().await;
    }

    #[tokio::test]
    async fn draining_wakes_everyone_and_places_are_used_again() {
        let roster = Roster::new();
        let (one, two) = (roster.join(Activity::new()), roster.join(Activity::new()));
        assert!(!one.is_draining());
        drop(one);
        let three = roster.join(Activity::new());
        assert_eq!(roster.members.borrow().len(), 2);
        let drained = poll_fn(|cx| {
            three.watch(cx.waker());
            if three.is_draining() { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::join!(drained, async { roster.drain() });
        assert!(two.is_draining());
        drop((two, three));
        assert!(roster.is_empty());
    }
}
