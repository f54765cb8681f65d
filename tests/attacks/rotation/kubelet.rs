//! A kubelet that is late.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::publish;

/// Copies a ring into a directory as kubelet does, always this late; ends when it is dropped.
pub(super) struct Kubelet(JoinHandle<()>);

impl Kubelet {
    /// `mounted` is an empty directory.
    pub(super) fn mount(file: PathBuf, mounted: PathBuf, late: Duration) -> Self {
        let first = fs::read(&file).expect("a ring");
        publish_ring(&mounted, 0, &first);
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
                    publish_ring(&mounted, version, &content);
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

fn publish_ring(mounted: &Path, version: u32, ring: &[u8]) {
    let ring = std::str::from_utf8(ring).expect("a ring is JSON");
    publish(mounted, &version.to_string(), &[("keys.jwks", ring)]);
}
