//! Behaviour over real sockets: the binary as its users run it.

mod dev;
