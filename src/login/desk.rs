//! Decides login attempts: asks the throttle, has passwords checked, and tells everyone who waits.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::hashing::Hashing;
use crate::auth::password::{HashMemory, Password, PasswordHash};
use crate::auth::throttle::{
    AttemptDigest, AttemptId, Decision, Outcome, Policy, Source, Throttle, Ticket, Woken, retry_after_seconds,
};
use crate::auth::users::{PasswordCheck, User};
use crate::clock::epoch;
use crate::gate::Trust;

/// Sources that have logged in are favoured for this long.
const FAVOURED_FOR: Duration = Duration::from_secs(60 * 60);
/// Favoured sources that are remembered.
const FAVOURED: usize = 10_000;
/// What a client is told to wait when the hashing queue is full, in seconds.
const QUEUE_RETRY_AFTER: u64 = 1;

/// What became of an attempt.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    Granted {
        user: Arc<User>,
        credential: String,
    },
    /// The right password, past its date.
    Expired,
    /// Unknown user, wrong password, disabled user: nobody is told which.
    Denied,
    /// Seconds to wait.
    Throttled {
        retry_after: u64,
    },
    Overloaded {
        retry_after: u64,
    },
}

/// Shared by all workers. Its lock is held for moments, never while a password is hashed.
pub(crate) struct Desk {
    started: Instant,
    digest: AttemptDigest,
    state: Mutex<State>,
    hashing: Hashing<Job>,
}

struct State {
    throttle: Throttle,
    /// Who waits for a verdict.
    answers: HashMap<AttemptId, oneshot::Sender<Verdict>>,
    /// Attempts that wait behind another of the same account and source.
    queued: HashMap<AttemptId, Attempt>,
    /// Attempts that share a leader's hash.
    followers: HashMap<AttemptId, Vec<AttemptId>>,
    favoured: HashMap<Source, Instant>,
}

struct Attempt {
    name: Vec<u8>,
    password: Password,
    source: Source,
}

struct Job {
    ticket: Ticket,
    attempt: Attempt,
}

/// A check that has come to an end, whose parties have not been told.
struct Settled {
    ticket: Ticket,
    outcome: Outcome,
    verdict: Verdict,
}

impl Desk {
    /// `trust`: the users as they stand when a password is checked. Call it within a tokio runtime: what comes of a check is
    /// told there.
    pub(crate) fn start(
        policy: Policy,
        threads: usize,
        queue: usize,
        trust: watch::Receiver<Arc<Trust>>,
    ) -> io::Result<Arc<Self>> {
        Self::start_with(policy, threads, queue, move |memory, name, password| {
            let users = Arc::clone(&trust.borrow().users);
            let mut verify = |hash: &PasswordHash, password: &[u8]| hash.verify_in(memory, password);
            users.check_with(name, password, epoch(), &mut verify)
        })
    }

    /// `check` says what comes of a name and a password.
    fn start_with(
        policy: Policy,
        threads: usize,
        queue: usize,
        check: impl Fn(&mut HashMemory, &[u8], &[u8]) -> PasswordCheck + Clone + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let digest = AttemptDigest::generate().map_err(|_| io::Error::other("the system has no random bytes"))?;
        let desk = Arc::new(Self {
            started: Instant::now(),
            digest,
            state: Mutex::new(State::new(policy)),
            hashing: Hashing::new(queue),
        });
        let (results, mut checked) = mpsc::channel(threads.max(1));
        desk.hashing.spawn(threads, move |memory: &mut HashMemory, job: Job| {
            let Attempt { name, password, .. } = &job.attempt;
            let check = || check(memory, name, password.as_bytes());
            // A panic is reported by its hook; the ticket must come back, and nobody gets in.
            let check = catch_unwind(AssertUnwindSafe(check)).unwrap_or(PasswordCheck::Denied);
            // Without the desk nobody waits for it.
            drop(results.blocking_send((job, check)));
        })?;
        // Hashing threads do not take the desk's lock: one that has to give way would keep it, and with a worker that wants it
        // all its requests would wait. And the desk owns the queue that they wait at: it must not be kept alive by them.
        let weak = Arc::downgrade(&desk);
        tokio::spawn(async move {
            while let (Some((job, check)), Some(desk)) = (checked.recv().await, weak.upgrade()) {
                desk.checked(job, check);
            }
        });
        Ok(desk)
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        self.lock().throttle.set_policy(policy);
    }

    /// Accounts and sources that are remembered.
    pub(crate) fn entries(&self) -> usize {
        let now = self.started.elapsed();
        self.lock().throttle.len(now)
    }

    /// The most of them.
    pub(crate) fn entries_limit(&self) -> usize {
        self.lock().throttle.limit()
    }

    /// Waits for the verdict on one attempt. Dropped before, it counts as abandoned.
    pub(crate) async fn attempt(&self, name: &[u8], password: Password, source: Source) -> Verdict {
        let key = self.digest.key(name, source);
        let fingerprint = self.digest.fingerprint(name, password.as_bytes());
        let (id, verdict) = {
            let mut state = self.lock();
            let decision = state.throttle.begin(key, fingerprint, self.started.elapsed());
            let attempt = Attempt { name: name.to_owned(), password, source };
            let (sender, verdict) = oneshot::channel();
            let id = match &decision {
                Decision::Check(ticket) => ticket.attempt(),
                Decision::Join { attempt, .. } | Decision::Queue(attempt) => *attempt,
                Decision::Refuse { retry_after } => {
                    return Verdict::Throttled { retry_after: retry_after_seconds(*retry_after) };
                }
            };
            state.answers.insert(id, sender);
            match decision {
                Decision::Check(ticket) => {
                    let favoured = state.is_favoured(source);
                    if let Some(settled) = self.submit(Job { ticket, attempt }, favoured) {
                        self.settle(&mut state, [settled]);
                    }
                }
                Decision::Join { attempt, leader } => state.follow(leader, attempt),
                Decision::Queue(_) => drop(state.queued.insert(id, attempt)),
                Decision::Refuse { .. } => {}
            }
            (id, verdict)
        };
        let leaving = Leaving { desk: self, id, decided: false };
        let verdict = verdict.await;
        leaving.decided();
        // A job that panicked tells nobody anything: fail closed.
        verdict.unwrap_or(Verdict::Denied)
    }

    /// A password has been checked.
    fn checked(&self, job: Job, check: PasswordCheck) {
        let (outcome, verdict) = match check {
            PasswordCheck::Granted { user, credential } => {
                (Outcome::Granted, Verdict::Granted { user, credential: credential.as_str().to_owned() })
            }
            PasswordCheck::Expired => (Outcome::Granted, Verdict::Expired),
            PasswordCheck::Denied => (Outcome::Denied, Verdict::Denied),
        };
        let mut state = self.lock();
        if matches!(verdict, Verdict::Granted { .. }) {
            state.favour(job.attempt.source);
        }
        self.settle(&mut state, [Settled { ticket: job.ticket, outcome, verdict }]);
    }

    /// Has a password checked; where the queue has no room, this or another attempt is settled without.
    fn submit(&self, job: Job, favoured: bool) -> Option<Settled> {
        let given_back = self.hashing.submit(job.attempt.source, favoured, job)?;
        let verdict = Verdict::Overloaded { retry_after: QUEUE_RETRY_AFTER };
        Some(Settled { ticket: given_back.ticket, outcome: Outcome::Unchecked, verdict })
    }

    /// Tells everyone whose verdict this is, and takes up those who waited behind them. One settled attempt may settle
    /// the next, as many as there are in a line: a loop, as clients choose how many.
    fn settle(&self, state: &mut State, settled: impl Into<VecDeque<Settled>>) {
        let mut settled = settled.into();
        while let Some(Settled { ticket, outcome, verdict }) = settled.pop_front() {
            let leader = ticket.attempt();
            for attempt in state.followers.remove(&leader).unwrap_or_default() {
                state.answer(attempt, verdict.clone());
            }
            state.answer(leader, verdict);
            let woken = state.throttle.finish(ticket, outcome, self.started.elapsed());
            self.wake(state, woken, &mut settled);
        }
    }

    fn wake(&self, state: &mut State, woken: Vec<Woken>, settled: &mut VecDeque<Settled>) {
        for Woken { attempt, decision } in woken {
            let queued = state.queued.remove(&attempt);
            match (decision, queued) {
                (Decision::Check(ticket), Some(attempt)) => {
                    let favoured = state.is_favoured(attempt.source);
                    settled.extend(self.submit(Job { ticket, attempt }, favoured));
                }
                (Decision::Join { leader, .. }, _) => state.follow(leader, attempt),
                (Decision::Refuse { retry_after }, _) => {
                    state.answer(attempt, Verdict::Throttled { retry_after: retry_after_seconds(retry_after) });
                }
                (Decision::Check(_) | Decision::Queue(_), _) => {
                    // Woken attempts were queued, with what is needed to check them, and are never queued again.
                    state.answer(attempt, Verdict::Denied);
                }
            }
        }
    }

    fn leave(&self, id: AttemptId) {
        let mut state = self.lock();
        state.answers.remove(&id);
        state.queued.remove(&id);
        let departure = state.throttle.leave(id, self.started.elapsed());
        if let Some(orphaned) = departure.orphaned {
            state.followers.remove(&orphaned);
            // Nobody wants the answer any more; a job that has begun runs to its end and changes nothing.
            drop(self.hashing.withdraw(|job| job.ticket.attempt() == orphaned));
        }
        let mut settled = VecDeque::new();
        self.wake(&mut state, departure.woken, &mut settled);
        self.settle(&mut state, settled);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(policy: Policy) -> Self {
        Self {
            throttle: Throttle::new(policy),
            answers: HashMap::new(),
            queued: HashMap::new(),
            followers: HashMap::new(),
            favoured: HashMap::new(),
        }
    }

    fn follow(&mut self, leader: AttemptId, attempt: AttemptId) {
        let followers = self.followers.entry(leader).or_default();
        if followers.len() == followers.capacity() {
            // Those that have left must not add up while the hash is waited for.
            followers.retain(|follower| self.answers.contains_key(follower));
        }
        followers.push(attempt);
    }

    fn answer(&mut self, attempt: AttemptId, verdict: Verdict) {
        if let Some(waiting) = self.answers.remove(&attempt) {
            // Whoever has left meanwhile needs no answer.
            drop(waiting.send(verdict));
        }
    }

    fn favour(&mut self, source: Source) {
        if self.favoured.len() >= FAVOURED && !self.favoured.contains_key(&source) {
            self.favoured.retain(|_, since| since.elapsed() < FAVOURED_FOR);
            if self.favoured.len() >= FAVOURED {
                return;
            }
        }
        self.favoured.insert(source, Instant::now());
    }

    fn is_favoured(&self, source: Source) -> bool {
        self.favoured.get(&source).is_some_and(|since| since.elapsed() < FAVOURED_FOR)
    }
}

/// Tells the desk when a client leaves before the verdict.
struct Leaving<'a> {
    desk: &'a Desk,
    id: AttemptId,
    decided: bool,
}

impl Leaving<'_> {
    fn decided(mut self) {
        self.decided = true;
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.decided {
            self.desk.leave(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderName;

    use super::*;
    use crate::auth::access::{AccessPolicy, Mode};
    use crate::gate::{Access, IdentityHeaders, Publisher, TunnelLife};

    /// A desk at which nobody hashes: what is queued stays queued.
    fn idle_desk(queue: usize) -> Arc<Desk> {
        let access = Access {
            policy: AccessPolicy::new(Vec::new(), Vec::new(), Mode::Enforce).expect("no rules are good rules"),
            headers: Arc::new(IdentityHeaders {
                user: HeaderName::from_static("x-user"),
                groups: HeaderName::from_static("x-groups"),
                forward_token: false,
            }),
            tunnels: TunnelLife::Token,
        };
        let trust = Publisher::new(access).subscribe();
        Desk::start(Policy::default(), 0, queue, trust).expect("no thread is started")
    }

    fn attempt(desk: &Arc<Desk>, name: &str, password: usize, source: u8) -> tokio::task::JoinHandle<Verdict> {
        let (desk, name) = (Arc::clone(desk), name.to_owned());
        let source = Source::from(IpAddr::from([192, 0, 2, source]));
        tokio::spawn(async move {
            desk.attempt(name.as_bytes(), Password::new(password.to_string().into_bytes()), source).await
        })
    }

    #[tokio::test]
    async fn a_long_line_behind_a_full_queue_is_told_without_a_deep_stack() {
        let desk = idle_desk(2);
        let _other = attempt(&desk, "other", 0, 1);
        let line: Vec<_> = (0..2000).map(|password| attempt(&desk, "victim", password, 1)).collect();
        while desk.lock().answers.len() < 2001 {
            tokio::task::yield_now().await;
        }
        let _newcomer = attempt(&desk, "newcomer", 0, 2);
        for one in line {
            assert!(matches!(one.await.expect("no panic"), Verdict::Overloaded { .. }));
        }
    }

    #[tokio::test]
    async fn a_check_that_panics_lets_nobody_in_and_the_next_one_is_made() {
        let check = |_: &mut HashMemory, name: &[u8], _: &[u8]| {
            assert!(name != b"clumsy", "a check's own affair");
            PasswordCheck::Expired
        };
        let desk = Desk::start_with(Policy::default(), 1, 10, check).expect("a thread");
        // More than there are threads, each with another who waits behind it.
        for source in 1..4 {
            let both = [attempt(&desk, "clumsy", 0, source), attempt(&desk, "clumsy", 1, source)];
            let [first, second] = both.map(|one| async { one.await.expect("no panic of its own") });
            let (first, second) = tokio::join!(first, second);
            assert!(matches!(first, Verdict::Denied), "{first:?}");
            assert!(matches!(second, Verdict::Throttled { .. }), "it counts as a failure: {second:?}");
        }
        let next = attempt(&desk, "careful", 0, 1).await.expect("no panic");
        assert!(matches!(next, Verdict::Expired), "{next:?}");
        assert_eq!(desk.entries(), 3);
        let state = desk.lock();
        assert!(state.answers.is_empty() && state.queued.is_empty() && state.followers.is_empty());
    }

    #[tokio::test]
    async fn those_that_share_a_hash_and_leave_do_not_add_up() {
        let desk = idle_desk(2);
        let _leader = attempt(&desk, "victim", 0, 1);
        while desk.lock().answers.is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..1000 {
            let sharer = attempt(&desk, "victim", 0, 1);
            tokio::task::yield_now().await;
            sharer.abort();
            assert!(sharer.await.is_err(), "nobody hashes");
        }
        let state = desk.lock();
        let followers: usize = state.followers.values().map(Vec::len).sum();
        assert!(state.answers.len() == 1 && followers < 10, "{followers} followers");
    }
}
