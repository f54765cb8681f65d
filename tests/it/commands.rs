//! The commands on a directory: the real program, its exit codes, and what it prints where.

mod check;
mod keys;
mod support;
mod token;
mod usage;
mod users;
