//! What the system says of a running process: memory, processor time, open files (proc(5)).

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::Vestibule;

impl Vestibule {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Resident memory in bytes (`VmRSS`).
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that was ever resident, in bytes (`VmHWM`).
    pub(crate) fn resident_peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Processor time that all threads have used, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The command's name may hold spaces; it ends with the last bracket.
        let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks"));
        Duration::from_millis(ticks.sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// How many file descriptors are open.
    pub(crate) fn open_files(&self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process runs").count() as u64
    }

    /// Lets it open no more than this many files from now on (`RLIMIT_NOFILE`).
    pub(crate) fn limit_open_files(&self, most: u64) {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let limit = Rlimit { current: Some(most), maximum: limit.maximum };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("a limit of a child");
    }

    fn status(&self, name: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("proc(5)");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kilobytes * 1024
    }

    fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid())).expect("the process runs")
    }
}
