//! File systems of a test's own, gone when it ends.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::skipped;

/// Unmounted when it is dropped.
pub(super) struct Mount(PathBuf);

impl Mount {
    /// An empty file system in memory of this many KiB; `None`, said loudly, where that is not allowed.
    pub(super) fn memory(at: &Path, kib: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let size = format!("size={kib}k,mode=0755");
        Self::at(at, &["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// The same files as at `from`, not to be written here.
    pub(super) fn read_only(from: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let mount = Self::at(at, &["--bind", from.to_str().expect("text")])?;
        assert!(mounted(&["-o", "remount,ro,bind", at.to_str().expect("text")]));
        Some(mount)
    }

    fn at(at: &Path, arguments: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !mounted(&[arguments, &[at.to_str().expect("text")]].concat()) {
            skipped("root, who may mount file systems");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Writes a file until there is no room; returns it.
    pub(super) fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).expect("room for a name");
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that is about to be killed may still look at it.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

fn mounted(arguments: &[&str]) -> bool {
    Command::new("mount").args(arguments).status().is_ok_and(|status| status.success())
}
