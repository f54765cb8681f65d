//! Files that are read again whenever they change: each version is looked at once, and a bad one changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use crate::metrics::{Metrics, ReloadResult, ReloadTarget};
use crate::store::file_watch::FileWatch;
use crate::telemetry::{EventName, Level, Logger};

/// What the files held when they were read, and what was made of it.
pub(super) struct Read<T> {
    version: Version,
    made: Result<T, String>,
}

/// Tells one version from another, good or bad.
#[derive(PartialEq, Eq)]
enum Version {
    /// A digest of the files' bytes.
    Bytes(Vec<u8>),
    /// Why there were none.
    Unreadable(String),
}

impl<T> Read<T> {
    /// Of these files' bytes `make` makes the value, or says in one line why not.
    pub(super) fn new<const N: usize>(
        files: Result<[Vec<u8>; N], String>,
        make: impl FnOnce([&[u8]; N]) -> Result<T, String>,
    ) -> Self {
        match files {
            Ok(files) => {
                // A private key may be among them.
                let files = files.map(Zeroizing::new);
                let files = files.each_ref().map(|bytes| bytes.as_slice());
                Self { version: Version::Bytes(digest(&files)), made: make(files) }
            }
            Err(error) => Self { version: Version::Unreadable(error.clone()), made: Err(error) },
        }
    }
}

/// Tells of reloads of one kind.
#[derive(Clone)]
pub(super) struct Follow {
    pub(super) what: ReloadTarget,
    /// What the log says of a good new version, and of a bad one.
    pub(super) good: &'static str,
    pub(super) bad: &'static str,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Logger,
}

impl Follow {
    /// Follows `files` for good. `read` blocks, on a thread of its own; `take` gets each new version that is good, the
    /// first time at once, as the files may have changed since the start, and may still say in one line why it is not.
    pub(super) async fn run<T: Send + 'static>(
        self,
        files: Vec<PathBuf>,
        read: impl Fn() -> Read<T> + Send + Sync + 'static,
        mut take: impl FnMut(&Self, T) -> Result<(), String>,
    ) {
        let read = Arc::new(read);
        let mut watch = FileWatch::new(files);
        let (mut seen, mut failing) = (None, false);
        loop {
            let reading = Arc::clone(&read);
            match tokio::task::spawn_blocking(move || reading()).await {
                Ok(Read { version, made }) => {
                    if seen.as_ref() != Some(&version) {
                        seen = Some(version);
                        let taken = made.and_then(|made| take(&self, made));
                        self.tell_failing(&mut failing, taken.is_err());
                        if let Err(error) = taken {
                            self.refused(&error);
                        }
                    }
                }
                // Its hook has logged where; the next version may be a better one.
                Err(error) if error.is_panic() => {
                    self.tell_failing(&mut failing, true);
                    self.refused("reading it panicked; this is a bug, please report it");
                }
                Err(_) => return,
            }
            watch.changed().await;
        }
    }

    pub(super) fn in_force(&self) {
        self.metrics.reload(self.what, ReloadResult::Ok);
        self.log
            .event(Level::Info, EventName::Reload, self.good)
            .field("what", self.what)
            .field("outcome", ReloadResult::Ok)
            .emit();
    }

    fn tell_failing(&self, failing: &mut bool, now: bool) {
        if *failing != now {
            *failing = now;
            self.metrics.reload_failing(self.what, now);
        }
    }

    fn refused(&self, error: &str) {
        self.metrics.reload(self.what, ReloadResult::Error);
        self.log
            .event(Level::Error, EventName::Reload, self.bad)
            .field("what", self.what)
            .field("outcome", ReloadResult::Error)
            .field("error", error)
            .emit();
    }
}

fn digest(files: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for file in files {
        context.update(&(file.len() as u64).to_le_bytes());
        context.update(file);
    }
    context.finish().as_ref().to_vec()
}
