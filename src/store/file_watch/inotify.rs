//! Linux's events about directories: what changes in them, and nothing of what is only read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Opening and reading are no changes: the looks that are taken in between would wake their own taker.
const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Something has become of the watched directory itself, or events were lost.
const UPHEAVAL: ReadFlags =
    ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::UNMOUNT).union(ReadFlags::IGNORED);

/// Bytes of events that are read at a time.
const BATCH: usize = 4096;

/// One instance of inotify (inotify(7)).
pub(super) struct Inotify {
    events: AsyncFd<OwnedFd>,
    /// By watch descriptor: directories that are mounted in two places have one for both.
    watched: BTreeMap<i32, Vec<PathBuf>>,
}

impl Inotify {
    /// Call it within a tokio runtime with I/O enabled.
    pub(super) fn new() -> Result<Self, Errno> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "what took its place is unsafe, for types that change their descriptor; this is none"
        )]
        let events = AsyncFd::with_interest(descriptor, Interest::READABLE);
        let events = events.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(Self { events, watched: BTreeMap::new() })
    }

    /// Watches these directories and no others; of the same name or not, what counts is which directory it is now.
    ///
    /// # Errors
    ///
    /// Why one or more of them are not watched. One that is not there is no error.
    pub(super) fn watch(&mut self, directories: &BTreeSet<PathBuf>) -> Result<(), Errno> {
        let mut watched: BTreeMap<i32, Vec<PathBuf>> = BTreeMap::new();
        let mut result = Ok(());
        for directory in directories {
            match inotify::add_watch(&self.events, directory, CHANGES) {
                Ok(descriptor) => watched.entry(descriptor).or_default().push(directory.clone()),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => result = Err(error),
            }
        }
        for descriptor in self.watched.keys().filter(|descriptor| !watched.contains_key(descriptor)) {
            // The watch of a directory that is gone went with it.
            let _ = inotify::remove_watch(&self.events, *descriptor);
        }
        self.watched = watched;
        result
    }

    /// Waits for an event that concerns somebody. Cancel safe.
    pub(super) async fn told(&self, concerns: impl Fn(&Path) -> bool) {
        loop {
            let Ok(mut ready) = self.events.readable().await else {
                // The runtime is coming to its end.
                return std::future::pending().await;
            };
            match ready.try_io(|events| self.read(events.get_ref(), &concerns)) {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) | Err(_) => {}
                // inotify has no such errors; the fingerprints are looked at whatever happens here.
                Ok(Err(_)) => return std::future::pending().await,
            }
        }
    }

    /// Reads some events. Whoever is told looks at everything anew, so that the others of the batch may go.
    fn read(&self, events: &OwnedFd, concerns: &impl Fn(&Path) -> bool) -> io::Result<bool> {
        let mut batch = [MaybeUninit::uninit(); BATCH];
        let mut reader = Reader::new(events, &mut batch);
        let mut told = false;
        loop {
            let event = reader.next()?;
            let (flags, name) = (event.events(), event.file_name());
            told |= flags.contains(ReadFlags::QUEUE_OVERFLOW)
                || self.watched.get(&event.wd()).into_iter().flatten().any(|directory| {
                    flags.intersects(UPHEAVAL)
                        || match name {
                            None => concerns(directory),
                            Some(name) => concerns(&directory.join(OsStr::from_bytes(name.to_bytes()))),
                        }
                });
            if reader.is_buffer_empty() {
                return Ok(told);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Every look and every read of a store would wake its own process.
    #[tokio::test]
    async fn reading_makes_no_event() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("users.yaml"), "users: {}").unwrap();
        let mut inotify = Inotify::new().unwrap();
        inotify.watch(&[dir.path().to_owned()].into()).unwrap();
        let comes = || inotify.read(inotify.events.get_ref(), &|_| true).ok();
        fs::read(dir.path().join("users.yaml")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(comes(), None);
        fs::write(dir.path().join("users.yaml"), "").unwrap();
        assert_eq!(comes(), Some(true));
    }

    #[tokio::test]
    async fn what_is_watched_no_more_is_silent() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut inotify = Inotify::new().unwrap();
        let absent = one.path().join("absent");
        inotify.watch(&[one.path().to_owned(), absent].into()).unwrap();
        inotify.watch(&[two.path().to_owned()].into()).unwrap();
        fs::write(one.path().join("a"), "").unwrap();
        // The kernel says that the watch is gone; that is nobody's any more.
        assert_eq!(inotify.read(inotify.events.get_ref(), &|_| true).ok(), Some(false));
        fs::write(two.path().join("a"), "").unwrap();
        assert_eq!(inotify.read(inotify.events.get_ref(), &|path| path == two.path().join("a")).ok(), Some(true));
        drop(two);
        assert_eq!(inotify.read(inotify.events.get_ref(), &|_| false).ok(), Some(true), "it has gone itself");
    }
}
