//! What these tests share: commands that are run, versions of a ring, several processes on one ring.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{Jwk, Ran, Setup, Vestibule, run_beside};

/// A command of the program, not run yet.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(arguments).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command of the program to its end, and others meanwhile.
pub(crate) async fn run(arguments: &[&str]) -> Ran {
    run_beside(command(arguments)).await
}

/// `--dir` of a process's own directory.
pub(crate) fn dir_of(vestibule: &Vestibule) -> String {
    vestibule.path("").display().to_string()
}

/// Has a process use the ring of another directory.
pub(crate) fn with_keys(setup: Setup, keys: &Path) -> Setup {
    setup.config(&format!("store: {{directory: {{keys: {}}}}}", keys.display()))
}

/// Every version of a ring's file, in their order, from the moment that this is made.
pub(crate) struct Versions {
    seen: Arc<Mutex<Vec<Vec<Jwk>>>>,
    done: Arc<AtomicBool>,
    following: Option<JoinHandle<()>>,
}

impl Versions {
    /// Reads the file every other millisecond; panics where a version is not whole.
    pub(crate) fn follow(file: PathBuf) -> Self {
        let (seen, done) = (Arc::new(Mutex::new(vec![Jwk::read_ring(&file)])), Arc::new(AtomicBool::new(false)));
        let following = thread::spawn({
            let (seen, done) = (Arc::clone(&seen), Arc::clone(&done));
            move || {
                while !done.load(Ordering::Relaxed) {
                    let version = Jwk::read_ring(&file);
                    let mut seen = seen.lock().expect("nobody panics under this lock");
                    if seen.last() != Some(&version) {
                        seen.push(version);
                    }
                    drop(seen);
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { seen, done, following: Some(following) }
    }

    pub(crate) fn so_far(&self) -> Vec<Vec<Jwk>> {
        self.seen.lock().expect("nobody panics under this lock").clone()
    }

    /// All versions, the last one too.
    pub(crate) fn end(mut self) -> Vec<Vec<Jwk>> {
        thread::sleep(Duration::from_millis(20));
        self.done.store(true, Ordering::Relaxed);
        self.following.take().expect("it ends once").join().expect("every version is a ring");
        self.so_far()
    }
}

impl Drop for Versions {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}
