//! Vestibule from outside: the real binary, real sockets, real TLS; one process for each test.

mod admin;
mod corpora;
mod forwarding;
mod headers;
mod http2;
mod limits;
mod reload;
mod requests;
mod shutdown;
mod smoke;
#[allow(dead_code, unused_imports, reason = "not every tool is used by tests that are there yet")]
mod support;
mod tunnels;
mod upstream_faults;
