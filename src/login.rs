//! Logging in: attempts are throttled, passwords checked on threads of their own, tokens minted.

mod desk;
mod fair_queue;
mod hashing;
mod mint;

pub(crate) use desk::{Desk, Verdict};
pub(crate) use mint::{Grant, Minted, TokenSettings, mint};
