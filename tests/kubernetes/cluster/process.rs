//! Processes and folders that are gone when the tests are, however they end.
//!
//! Each has a shell that reads a pipe, of which this process alone holds the other end. When that end is closed, by a
//! drop or because this process was killed, the shell kills, or removes, what it watches.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// `$$` is the program's process id as well: the shell becomes the program.
const WATCHED: &str = r#"exec 3<&0; { read -r _ <&3; kill -KILL $$; } >/dev/null 2>&1 & exec "$@" 3<&- </dev/null"#;
/// Programs that are killed at the same moment may still write.
const SWEPT: &str = r#"read -r _; for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" && break; sleep 0.2; done"#;

/// A program that runs until this is dropped.
pub(super) struct Watched {
    child: Child,
    pipe: Option<ChildStdin>,
}

/// A temporary folder that goes even when this process is killed.
pub(super) struct Folder {
    path: PathBuf,
    #[expect(dead_code, reason = "its end removes the folder")]
    pipe: Option<ChildStdin>,
}

impl Watched {
    /// Starts a program; what it says is appended to `log`.
    pub(super) fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self, String> {
        let log = open_log(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let also = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new("sh");
        command.args(["-c", WATCHED, "sh"]).arg(program).args(arguments);
        // No proxy and no credentials of whoever runs the tests.
        command.env_clear().stdin(Stdio::piped()).stdout(log).stderr(also);
        let mut child = command.spawn().map_err(|error| format!("sh: {error}"))?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a child that has not been waited for");
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Waited for only after the shell has killed it: until then nobody else can have its number.
        drop(self.pipe.take());
        drop(self.child.wait());
    }
}

impl Folder {
    pub(super) fn new() -> Result<Self, String> {
        let path = TempDir::with_prefix("vestibule-").map_err(|error| format!("no temporary folder: {error}"))?.keep();
        let mut command = Command::new("setsid");
        // A session of its own: it outlives a group of processes that is killed whole.
        command.args(["sh", "-c", SWEPT, "sh"]).arg(&path);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut sweeper = command.spawn().map_err(|error| format!("setsid: {error}"))?;
        Ok(Self { path, pipe: sweeper.stdin.take() })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::time::Duration;
    use std::{env, thread};

    use super::*;
    use crate::support::eventually;

    /// Set for the process that is to be killed.
    const VICTIM: &str = "VESTIBULE_TESTS_VICTIM";

    #[tokio::test]
    async fn nothing_is_left_of_a_process_that_is_killed() {
        let tests = env::current_exe().expect("a path");
        let mut victim = Command::new(tests)
            .args(["--exact", "--nocapture", "cluster::process::tests::victim"])
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests start");
        let lines = BufReader::new(victim.stdout.take().expect("a pipe")).lines();
        let told = lines.map(|line| line.expect("text")).find_map(|line| {
            let (program, folder) = line.split_once("holds ")?.1.split_once(' ')?;
            Some((PathBuf::from(program), PathBuf::from(folder)))
        });
        let (program, folder) = told.expect("what it holds");
        assert!(program.exists() && folder.exists());
        victim.kill().expect("it runs");
        victim.wait().expect("a child");
        eventually("the program's end", async || (!program.exists()).then_some(())).await;
        eventually("the folder's end", async || (!folder.exists()).then_some(())).await;
    }

    #[test]
    fn victim() {
        if env::var_os(VICTIM).is_none() {
            return;
        }
        let folder = Folder::new().expect("a folder");
        let seconds = ["600".to_owned()];
        let program = Watched::start(Path::new("sleep"), &seconds, &folder.path("log")).expect("a program");
        println!("holds /proc/{} {}", program.pid(), folder.path.display());
        thread::sleep(Duration::from_secs(60));
    }
}
