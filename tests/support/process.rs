//! What the system says of a running process: memory, processor time, open files (proc(5)).

use std::fs;
use std::process::Command;
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
        cpu_of(&self.proc("stat")).1
    }

    /// Processor time of the threads whose names begin so; it counts in steps of about 10 ms.
    pub(crate) fn cpu_of_threads(&self, name: &str) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process runs");
        let stats = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        stats.map(|stat| cpu_of(&stat)).filter(|(thread, _)| thread.starts_with(name)).map(|(_, cpu)| cpu).sum()
    }

    /// The name of each thread, and how nice it is.
    pub(crate) fn niceness(&self) -> Vec<(String, i32)> {
        self.threads().into_iter().map(|(_, name, nice)| (name, nice)).collect()
    }

    /// Takes the hashing threads' low priority from them; `false`: nobody but root may, or util-linux is not there.
    pub(crate) fn renice_hashing(&self) -> bool {
        let mut hashing = self.threads().into_iter().filter(|(_, name, _)| name.starts_with("hashing"));
        hashing.all(|(id, ..)| {
            let output = Command::new("renice").args(["-n", "0", "-p", &id]).output();
            output.is_ok_and(|output| output.status.success())
        })
    }

    /// Id, name and niceness.
    fn threads(&self) -> Vec<(String, String, i32)> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process runs");
        let described = threads.filter_map(|thread| {
            let thread = thread.ok()?;
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            let (name, fields) = name_and_fields(&stat);
            // The third field is the first behind the name; this is the 19th.
            let nice = fields[19 - 3].parse().expect("proc_pid_stat(5)");
            Some((thread.file_name().to_string_lossy().into_owned(), name.to_owned(), nice))
        });
        described.collect()
    }

    /// How many file descriptors are open. It lets nobody but root look, and tells its number itself.
    pub(crate) async fn open_files(&self) -> u64 {
        match fs::read_dir(format!("/proc/{}/fd", self.pid())) {
            Ok(files) => files.count() as u64,
            Err(_) => self.metrics().await.value("process_open_fds") as u64,
        }
    }

    /// Lets it write a core dump of any size (`RLIMIT_CORE`).
    pub(crate) fn allow_core_dumps(&self) {
        let limit = rustix::process::getrlimit(Resource::Core);
        let limit = Rlimit { current: limit.maximum, maximum: limit.maximum };
        prlimit(Some(self.pid()), Resource::Core, limit).expect("a limit of a child");
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

/// The name and what stands behind it in a `stat` (proc_pid_stat(5)).
fn name_and_fields(stat: &str) -> (&str, Vec<&str>) {
    // The name may hold spaces; it ends with the last bracket.
    let (before, fields) = stat.rsplit_once(')').expect("proc_pid_stat(5)");
    let (_, name) = before.split_once('(').expect("proc_pid_stat(5)");
    (name, fields.split_whitespace().collect())
}

/// The name and the processor time in a `stat` (proc_pid_stat(5)).
fn cpu_of(stat: &str) -> (String, Duration) {
    let (name, fields) = name_and_fields(stat);
    let ticks = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks"));
    let milliseconds = ticks.sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second();
    (name.to_owned(), Duration::from_millis(milliseconds))
}
