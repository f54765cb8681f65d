//! How much this process may take on, from what the machine and the container allow.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// What the process needs besides its connections.
const BASE_BYTES: u64 = 16 << 20;
/// Of one hash in progress at the highest cost that is accepted: users may be changed to it at any time.
const HASH_BYTES: u64 = 64 << 20;
/// Of one busy connection, both sides: TLS, buffers, tasks.
const CONNECTION_BYTES: u64 = 64 << 10;
/// A client's socket and, while a request runs, the application's.
const FILES_PER_CONNECTION: u64 = 2;
/// Listeners, logs, stores, certificates.
const OTHER_FILES: u64 = 64;

const FEWEST: u64 = 64;
const MOST: u64 = 100_000;
/// Without any memory limit.
const UNLIMITED: u64 = 10_000;

/// As many threads as the CPU limit allows.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many clients may be connected at once.
pub(super) fn connections(config: &Config) -> usize {
    let connections = config.limits.connections.map_or_else(
        || by_memory(memory_limit(), config.authorize.hashing.threads as u64),
        |connections| connections as u64,
    );
    let by_files =
        getrlimit(Resource::Nofile).current.map(|files| files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION);
    usize::try_from(connections.min(by_files.unwrap_or(MOST)).max(1)).unwrap_or(usize::MAX)
}

fn by_memory(limit: Option<u64>, hashing_threads: u64) -> u64 {
    limit.map_or(UNLIMITED, |limit| {
        let taken = BASE_BYTES + hashing_threads * HASH_BYTES;
        (limit.saturating_sub(taken) / CONNECTION_BYTES).clamp(FEWEST, MOST)
    })
}

/// The container's memory limit in bytes, by cgroup v2 or v1.
fn memory_limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|text| text.trim().parse().ok())
        // cgroup v1 says "no limit" with a number near 2^63.
        .filter(|limit| *limit < 1 << 50)
}

/// Every connection takes descriptors: the soft limit is a default for programs that use select(2).
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it stays as it was, fewer connections are accepted.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_the_memory_that_hashing_leaves() {
        for (limit, threads, connections) in [
            (None, 1, 10_000),
            (Some(128 << 20), 1, 768),
            (Some(256 << 20), 2, 1792),
            (Some(64 << 20), 1, FEWEST),
            (Some(1 << 40), 1, MOST),
        ] {
            assert_eq!(by_memory(limit, threads), connections, "{limit:?} {threads}");
        }
    }
}
