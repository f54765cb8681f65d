//! Vestibule from outside: the real binary, real sockets, real TLS; one process for each test.

mod access;
mod commands;
mod configuration;
mod dev;
mod forwarding;
mod headers;
mod limits;
mod login;
mod reload;
mod requests;
mod smoke;
mod support;
mod tokens;
mod tunnels;
mod upstream_faults;
