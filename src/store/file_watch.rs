//! Tells that files or directories may have changed: inotify for speed, fingerprints as a safety net.

use std::collections::BTreeSet;
use std::path::{PathBuf, absolute};
use std::sync::OnceLock;
use std::time::{Duration, Instant as StdInstant};

use rustix::io::Errno;
use tokio::time::{Instant, sleep_until};

use crate::store::file_watch::inotify::Inotify;
use crate::store::file_watch::trail::{Interest, Look};

mod inotify;
mod trail;

/// A burst of events is over after this much silence, or at the latest after `LONGEST_BURST`.
const QUIET: Duration = Duration::from_millis(25);
const LONGEST_BURST: Duration = Duration::from_millis(250);

/// How often fingerprints are compared, whatever inotify says.
const POLL: Duration = Duration::from_secs(2);

/// Watches files and directories, there or not there yet, through symlinks and kubelet's swaps.
///
/// Make it before the first read, read again after each [`FileWatch::changed`], and compare what
/// was read: a change is never missed, but a wake may find nothing new.
pub struct FileWatch {
    targets: Vec<PathBuf>,
    inotify: Result<Inotify, Errno>,
    interest: Interest,
    /// Where the trails lead through.
    directories: BTreeSet<PathBuf>,
    seen: Look,
    warning: Option<String>,
    next_poll: Instant,
    /// Since when a change is known that `changed` has not yet reported.
    burst: Option<Instant>,
}

impl FileWatch {
    /// Watches each of `paths`: a directory stands for the entries in it, not for what lies deeper.
    /// Never fails: see [`FileWatch::warning`]. Call it within a tokio runtime with time and I/O enabled.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        // A path that cannot be made absolute is empty, and an empty one is never there.
        let targets: Vec<_> = paths.into_iter().map(|path| absolute(&path).unwrap_or(path)).collect();
        let mut watch = Self {
            seen: Look::default(),
            targets,
            inotify: Inotify::new(),
            interest: Interest::default(),
            directories: BTreeSet::new(),
            warning: None,
            next_poll: first_poll(),
            burst: None,
        };
        watch.arm_and_look();
        watch
    }

    /// Why changes are noticed only within seconds, one line with the mend; `None` where they are
    /// noticed at once. May differ after each [`FileWatch::changed`].
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Returns when something may have changed since the last return, or since the start; bursts
    /// make one wake. Cancel safe. Stats the watched paths on the calling thread.
    pub async fn changed(&mut self) {
        loop {
            if let Some(since) = self.burst {
                let end = since + LONGEST_BURST;
                tokio::select! {
                    () = self.told(), if Instant::now() < end => continue,
                    () = sleep_until(end.min(Instant::now() + QUIET)) => break,
                }
            }
            tokio::select! {
                () = self.told() => self.burst = Some(Instant::now()),
                () = sleep_until(self.next_poll) => self.poll(),
            }
        }
        self.arm_and_look();
        self.burst = None;
    }

    fn poll(&mut self) {
        while self.next_poll <= Instant::now() {
            self.next_poll += POLL;
        }
        if self.warning.is_some() {
            self.arm();
        }
        if Look::at(&self.targets, &self.directories) != self.seen {
            self.burst = Some(Instant::now());
        }
    }

    /// What changes after the look makes an event, and what changed before it is yet to be read.
    fn arm_and_look(&mut self) {
        self.arm();
        self.seen = Look::at(&self.targets, &self.directories);
    }

    /// Watches the directories that the targets now lead through.
    fn arm(&mut self) {
        (self.directories, self.interest) = trail::of(&self.targets);
        let armed = match &mut self.inotify {
            Err(error) => Err(*error),
            Ok(inotify) => inotify.watch(&self.directories),
        };
        self.warning = armed.err().map(explain);
    }

    /// Waits for an event about the targets.
    async fn told(&self) {
        match &self.inotify {
            Ok(inotify) => inotify.told(|path| self.interest.concerns(path)).await,
            Err(_) => std::future::pending().await,
        }
    }
}

/// All watches of the process look at the same moments: it wakes once for them all.
fn first_poll() -> Instant {
    static BEGAN: OnceLock<StdInstant> = OnceLock::new();
    let since = BEGAN.get_or_init(StdInstant::now).elapsed();
    let part = Duration::from_nanos((since.as_nanos() % POLL.as_nanos()) as u64);
    Instant::now() + (POLL - part)
}

fn explain(error: Errno) -> String {
    let cause = match error {
        Errno::NOSPC => "the node's limit of inotify watches is reached, raise fs.inotify.max_user_watches".to_owned(),
        Errno::MFILE => {
            "the node's limit of inotify instances is reached, raise fs.inotify.max_user_instances".to_owned()
        }
        error => format!("inotify fails ({})", error.kind()),
    };
    format!("changed files are noticed only every {} s: {cause}", POLL.as_secs())
}

#[cfg(test)]
mod tests;
