//! Vestibule from outside: the real binary, real sockets, real TLS; one process for each test.
//! Behaviour over real sockets: the binary as its users run it.

mod dev;
mod smoke;
mod support;
