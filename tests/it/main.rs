//! Vestibule from outside: the real binary, real sockets, real TLS; one process for each test.

mod access;
mod admin;
mod commands;
mod configuration;
mod corpora;
mod dev;
mod documentation;
mod forwarding;
mod headers;
mod http2;
mod limits;
mod login;
mod reload;
mod requests;
mod shutdown;
mod smoke;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with tests/attacks, which uses the rest")]
mod support;
mod tokens;
mod tunnels;
mod upstream_faults;
