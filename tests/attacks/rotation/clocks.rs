//! Clocks that are wrong and run fast, for the program alone. And a kubelet that is late.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::Setup;

/// A time that runs `rate` times as fast as the real one, and began with it.
#[derive(Clone, Copy)]
pub(super) struct Fast {
    began: f64,
    pub(super) rate: f64,
}

impl Fast {
    pub(super) fn new(rate: f64) -> Self {
        Self { began: real(), rate }
    }

    /// Seconds since the epoch, as a clock without an error shows them.
    pub(super) fn now(self) -> f64 {
        self.began + (real() - self.began) * self.rate
    }

    /// How long a span of this time takes.
    pub(super) fn span(self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds / self.rate)
    }

    /// A process that starts at once gets this time, wrong by `error` seconds.
    pub(super) fn of(self, setup: Setup, library: &Path, error: f64) -> Setup {
        setup.clock(library, self.now() - real() + error, self.rate)
    }
}

fn real() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is past 1970").as_secs_f64()
}

/// Copies a ring into a directory as kubelet does, always this late; ends when it is dropped.
pub(super) struct Kubelet(JoinHandle<()>);

impl Kubelet {
    /// `mounted` is an empty directory.
    pub(super) fn mount(file: PathBuf, mounted: PathBuf, late: Duration) -> Self {
        let first = fs::read(&file).expect("a ring");
        publish(&mounted, 0, &first);
        Self(tokio::spawn(async move {
            let (mut last, mut version, mut waiting) = (first, 0, VecDeque::new());
            loop {
                let content = fs::read(&file).expect("a ring");
                if content != last {
                    waiting.push_back((Instant::now() + late, content.clone()));
                    last = content;
                }
                while waiting.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                    let (_, content) = waiting.pop_front().expect("there is a first one");
                    version += 1;
                    publish(&mounted, version, &content);
                }
                sleep(Duration::from_millis(2)).await;
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A new directory, then one rename of the link to it, then the old directory goes.
fn publish(mounted: &Path, version: u32, ring: &[u8]) {
    let data = mounted.join("..data");
    let old = fs::read_link(&data).ok();
    let payload = format!("..{version}");
    fs::create_dir(mounted.join(&payload)).expect("a directory");
    fs::write(mounted.join(&payload).join("keys.jwks"), ring).expect("a file");
    symlink(&payload, mounted.join("..data_tmp")).expect("a link");
    fs::rename(mounted.join("..data_tmp"), &data).expect("a rename");
    match old {
        Some(old) => fs::remove_dir_all(mounted.join(old)).expect("the old version"),
        None => symlink("..data/keys.jwks", mounted.join("keys.jwks")).expect("a link"),
    }
}
