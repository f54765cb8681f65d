//! The door for `bench/fleet` into what follows users and keys: nothing here decides anything.

pub use crate::app::lone_store::LoneStore;
