//! Attacks, faults and races, from outside: the real binary, real sockets, real TLS. Each test has the machine for
//! itself, tells what it measured with [`figures::figure`], and takes its full counts from `tests/long`.

mod core_dumps;
mod descriptors;
mod flood;
mod http1_floods;
mod http2_floods;
mod http2_tables;
mod leaks;
mod others;
mod reload;
mod rotation;
mod secrets;
mod shutdown;
mod slow_clients;
mod statistics;
mod store_faults;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with tests/it, which uses the rest")]
mod support;
mod throttle;
mod tickets;
mod timing;
mod tokens;

use tokio::sync::{Mutex, MutexGuard};

use support::figures;

/// Held by a test from its first line to its last: no other one runs meanwhile.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}
