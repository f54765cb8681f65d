//! Runs the program in a directory of its own, and looks through all that it prints for secrets.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What stored hashes begin with; nothing that is printed may hold one.
const HASHES: [&str; 3] = ["$argon2id$v", "$2y$0", "$apr1$s"];

/// A directory as `dev` makes it, without users and keys.
pub(super) struct Home(TempDir);

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl Home {
    pub(super) fn new() -> Self {
        let home = Self(tempfile::tempdir().expect("a directory"));
        for part in ["users", "keys"] {
            fs::create_dir_all(home.path(part)).expect("a directory");
        }
        home
    }

    /// A path in the directory that the commands work on by default.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(".vestibule").join(inside)
    }

    /// Where the program runs.
    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, inside: &str, content: &str) {
        fs::write(self.path(inside), content).expect("a file");
    }

    pub(super) fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).expect("a file")
    }

    /// A command that is not run yet.
    pub(super) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments.split_ascii_whitespace()).current_dir(self.root()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("VESTIBULE_") {
                command.env_remove(name);
            }
        }
        command
    }

    pub(super) fn run(&self, arguments: &str) -> Ran {
        self.run_with(arguments, b"")
    }

    pub(super) fn run_with(&self, arguments: &str, stdin: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // It may end without having read everything.
        let _ = child.stdin.take().expect("a pipe").write_all(stdin);
        Ran::of(child.wait_with_output().expect("the program ends"))
    }

    /// Runs what must work; what it printed on standard output.
    pub(super) fn done(&self, arguments: &str) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments}: {ran:?}");
        ran.out
    }

    pub(super) fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.done(arguments)).expect("JSON")
    }

    /// A user with a generated password.
    pub(super) fn with_user(self, name: &str) -> Self {
        self.done(&format!("users add {name} --group Administrator --generate"));
        self
    }

    /// A key that signs.
    pub(super) fn with_key(self) -> Self {
        self.done("keys rotate");
        self
    }

    /// As kubelet mounts a Secret: files are symlinks into `..data`. Nobody writes there, not even root.
    pub(super) fn mounted(self, part: &str) -> Self {
        let dir = self.path(part);
        let data = dir.join("..2026");
        fs::create_dir(&data).expect("a directory");
        std::os::unix::fs::symlink("..2026", dir.join("..data")).expect("a link");
        for entry in fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            let name = entry.file_name();
            if entry.path().is_file() && !name.to_string_lossy().starts_with('.') {
                fs::rename(entry.path(), data.join(&name)).expect("a rename");
                std::os::unix::fs::symlink(Path::new("..data").join(&name), dir.join(&name)).expect("a link");
            }
        }
        self
    }
}

impl Ran {
    pub(super) fn of(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let ran =
            Self { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) };
        for hash in HASHES {
            assert!(!ran.out.contains(hash) && !ran.err.contains(hash), "a hash is printed: {ran:?}");
        }
        ran
    }

    /// Failed with this code, one line on standard error that holds these words, and nothing else.
    #[track_caller]
    pub(super) fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("vestibule: ") && self.err.lines().count() == 1, "{self:?}");
        assert!(self.err.contains(words), "{words:?} in {self:?}");
        assert_eq!(self.out, "", "{self:?}");
    }
}
