//! Signing keys that follow each other while tokens are made and used: several processes, clocks that differ, rings
//! that arrive late, writers that race.

mod kubelet;
mod policies;
mod revoked;
mod rotators;
mod shared;
mod traffic;

pub(crate) use shared::{command, run};
