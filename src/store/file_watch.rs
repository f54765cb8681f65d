//! Tells that files or directories may have changed: inotify for speed, fingerprints as a safety net.

use std::collections::BTreeSet;
use std::path::{PathBuf, absolute};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::store::file_watch::trail::{Interest, Look};

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
    watcher: Result<RecommendedWatcher, notify::Error>,
    events: Arc<Notify>,
    interest: watch::Sender<Interest>,
    armed: BTreeSet<PathBuf>,
    seen: Look,
    warning: Option<String>,
    next_poll: Instant,
    /// Since when a change is known that `changed` has not yet reported.
    burst: Option<Instant>,
}

impl FileWatch {
    /// Watches each of `paths`: a directory stands for the entries in it, not for what lies deeper.
    /// Never fails: see [`FileWatch::warning`]. Call it within a tokio runtime with time enabled.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        // A path that cannot be made absolute is empty, and an empty one is never there.
        let targets: Vec<_> = paths.into_iter().map(|path| absolute(&path).unwrap_or(path)).collect();
        let events = Arc::new(Notify::new());
        let (interest, interested) = watch::channel(Interest::default());
        let watcher = notify::recommended_watcher({
            let events = Arc::clone(&events);
            move |event| {
                if tells(&event, &interested.borrow()) {
                    events.notify_one();
                }
            }
        });
        let mut watch = Self {
            seen: Look::default(),
            targets,
            watcher,
            events,
            interest,
            armed: BTreeSet::new(),
            warning: None,
            next_poll: Instant::now() + POLL,
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
                    () = self.events.notified(), if Instant::now() < end => continue,
                    () = sleep_until(end.min(Instant::now() + QUIET)) => break,
                }
            }
            tokio::select! {
                () = self.events.notified() => self.burst = Some(Instant::now()),
                () = sleep_until(self.next_poll) => self.poll(),
            }
        }
        self.arm_and_look();
        self.burst = None;
    }

    fn poll(&mut self) {
        self.next_poll = Instant::now() + POLL;
        if self.warning.is_some() {
            self.arm();
        }
        if Look::at(&self.targets) != self.seen {
            self.burst = Some(Instant::now());
        }
    }

    /// What changes after the look makes an event, and what changed before it is yet to be read.
    fn arm_and_look(&mut self) {
        self.arm();
        self.seen = Look::at(&self.targets);
    }

    /// Watches the directories that the targets now lead through.
    fn arm(&mut self) {
        let (directories, interest) = trail::of(&self.targets);
        self.interest.send_replace(interest);
        self.warning = match &mut self.watcher {
            Err(error) => Some(explain(error)),
            Ok(watcher) => {
                // One of the same name may be another directory now, and the old one's watch stays.
                for directory in &self.armed {
                    let _ = watcher.unwatch(directory);
                }
                let mut warning = None;
                for directory in &directories {
                    match watcher.watch(directory, RecursiveMode::NonRecursive) {
                        // One that has just gone makes an event in its parent, watched as well.
                        Err(error) if !matches!(error.kind, notify::ErrorKind::PathNotFound) => {
                            warning = Some(explain(&error));
                        }
                        _ => {}
                    }
                }
                warning
            }
        };
        self.armed = directories;
    }
}

/// Whether an event of inotify is about the targets, or may hide one that is.
fn tells(event: &notify::Result<notify::Event>, interest: &Interest) -> bool {
    let Ok(event) = event else { return true };
    match event.kind {
        // Reading the files, as the consumer does, is no change.
        EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => false,
        _ => event.need_rescan() || event.paths.iter().any(|path| interest.concerns(path)),
    }
}

fn explain(error: &notify::Error) -> String {
    let cause = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the node's limit of inotify watches is reached, raise fs.inotify.max_user_watches".to_owned()
        }
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "the node's limit of inotify instances is reached, raise fs.inotify.max_user_instances".to_owned()
        }
        notify::ErrorKind::Io(error) => format!("inotify fails ({})", error.kind()),
        _ => "inotify fails".to_owned(),
    };
    format!("changed files are noticed only every {} s: {cause}", POLL.as_secs())
}

#[cfg(test)]
mod tests;
