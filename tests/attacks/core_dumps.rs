//! What the system shows of a process that holds secrets: its arguments, its environment, and a core dump.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::alone;
use crate::support::*;

const PASSWORD: &str = "Zq7-typed-horse-battery";
/// More than a pipe takes (pipe(7)).
const PIPEFUL: usize = 1 << 20;

/// How a command is held while the secret is in its memory.
enum Held {
    /// It serves until it is ended.
    Serving,
    /// It has been given this, and reads on.
    Reading(String),
    /// It has something to print that nobody takes.
    Printing,
}

#[tokio::test]
async fn no_command_shows_a_secret_to_the_system() {
    let _alone = alone().await;
    let vestibule = Setup::new().users(&default_users()).start().await;
    let token = vestibule.token("admin").await;
    let dir = vestibule.path("");
    let at = format!("--dir {}", dir.display());
    let dev = dir.join("dev");
    fs::create_dir(&dev).expect("a directory");
    let dev = format!("dev --dir {} --listen 127.0.0.1:0 --admin 127.0.0.1:0", dev.display());
    let control = dumps_core(&dir);
    for (arguments, held) in [
        (dev, Held::Serving),
        (format!("users add ann --generate {at}"), Held::Printing),
        (format!("users passwd ann --generate {at}"), Held::Printing),
        (format!("users add bob --password-stdin {at}"), Held::Reading(PASSWORD.to_owned())),
        (format!("users passwd ann --password-stdin {at}"), Held::Reading(PASSWORD.to_owned())),
        (format!("users import - {at}"), Held::Reading(htpasswd_line("carl", PASSWORD))),
        (format!("token issue admin {at}"), Held::Printing),
        (format!("token inspect {at}"), Held::Reading(token)),
    ] {
        let mut running = Running::start(&dir, &arguments, &held);
        running.settles(&arguments).await;
        running.shows_what_it_was_given(&arguments);
        assert!(!running.dumps_core(), "{arguments}: secrets are on the disk");
    }
    told(control);
}

/// The control shows that the machine writes core dumps at all.
#[tokio::test]
async fn no_core_dump_is_written() {
    let _alone = alone().await;
    let mut vestibule = Setup::new().start().await;
    vestibule.allow_core_dumps();
    let control = dumps_core(&vestibule.path(""));
    vestibule.signal(Signal::ABORT);
    let ended = vestibule.ended().await;
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!ended.core_dumped(), "passwords and keys are on the disk");
    told(control);
}

/// A command, held in the middle of its work; killed when it is dropped.
struct Running {
    child: Child,
    _pipe: Option<OwnedFd>,
}

impl Running {
    fn start(dir: &Path, arguments: &str, held: &Held) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments.split(' ')).env_clear().env("VARIABLE", "value").current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pipe = None;
        match held {
            Held::Serving => {}
            Held::Reading(_) => drop(command.stdin(Stdio::piped())),
            Held::Printing => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                fill(&writer);
                command.stdout(writer);
                pipe = Some(OwnedFd::from(reader));
            }
        }
        let mut child = command.spawn().expect("the binary is there");
        if let Held::Reading(text) = held {
            let mut stdin = child.stdin.take().expect("a pipe");
            stdin.write_all(text.as_bytes()).expect("it reads");
            pipe = Some(OwnedFd::from(stdin));
        }
        Self { child, _pipe: pipe }
    }

    /// It sleeps and goes on sleeping: it has come as far as it can.
    async fn settles(&mut self, arguments: &str) {
        let mut asleep = 0;
        eventually("it has nothing left to do", async || {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{arguments}: {ended:?}");
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
            // The state stands behind the name, in brackets (proc_pid_stat(5)).
            let state = stat.rsplit_once(") ").expect("proc_pid_stat(5)").1.as_bytes()[0];
            asleep = if state == b'S' { asleep + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(5)).await;
            (asleep == 40).then_some(())
        })
        .await;
    }

    /// Arguments and environment are those that it was started with, and nothing else.
    fn shows_what_it_was_given(&self, arguments: &str) {
        let shown = |name: &str| match fs::read(format!("/proc/{}/{name}", self.child.id())) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            // Who may not even look has seen no secret; root may.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
            Err(error) => panic!("{arguments}: {name}: {error}"),
        };
        let given = format!("{}\0{}\0", env!("CARGO_BIN_EXE_vestibule"), arguments.replace(' ', "\0"));
        assert_eq!(shown("cmdline"), Some(given));
        assert!(shown("environ").is_none_or(|shown| shown == "VARIABLE=value\0"), "{arguments}");
    }

    fn dumps_core(mut self) -> bool {
        abort(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Leaves no room in a pipe.
fn fill(pipe: &std::io::PipeWriter) {
    let pipe = pipe.try_clone().expect("a descriptor");
    let full = File::from(OwnedFd::from(pipe));
    // The flag is the pipe's, and the command's too.
    let flags = rustix::fs::fcntl_getfl(&full).expect("a pipe");
    rustix::fs::fcntl_setfl(&full, flags | rustix::fs::OFlags::NONBLOCK).expect("a pipe");
    let piece = [0; 4096];
    let mut written = 0;
    while (&full).write(&piece).is_ok() {
        written += piece.len();
        assert!(written <= PIPEFUL, "a pipe is bounded");
    }
    rustix::fs::fcntl_setfl(&full, flags).expect("a pipe");
}

/// Whether a process that allows it leaves a core dump in `dir`.
fn dumps_core(dir: &Path) -> bool {
    abort(&mut Command::new("sleep").arg("20").current_dir(dir).spawn().expect("sleep is there"))
}

/// Aborts a child that may write as much as it likes; whether it has left a core dump.
fn abort(child: &mut Child) -> bool {
    let pid = Pid::from_child(child);
    let limit = rustix::process::getrlimit(Resource::Core);
    let limit = Rlimit { current: limit.maximum, maximum: limit.maximum };
    prlimit(Some(pid), Resource::Core, limit).expect("a limit of a child");
    kill_process(pid, Signal::ABORT).expect("the process is there");
    let ended = child.wait().expect("it ends");
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()));
    ended.core_dumped()
}

fn told(control: bool) {
    if !control {
        eprintln!("SKIPPED: this machine writes no core dumps, so that it cannot be told whether one was prevented");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "core dumps are needed");
    }
}
