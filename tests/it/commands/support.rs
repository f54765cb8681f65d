//! A directory of its own, in which the program runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::Commands;

/// A directory as `dev` makes it, without users and keys.
pub(super) struct Home(TempDir);

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

impl Commands for Home {
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments.split_ascii_whitespace()).current_dir(self.root()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("VESTIBULE_") {
                command.env_remove(name);
            }
        }
        command
    }
}
