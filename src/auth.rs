//! Who may log in, sign and ask: pure decisions, to which the time is an argument.

pub mod access;
pub mod claims;
pub mod client_address;
pub(crate) mod json;
pub mod keys;
pub mod names;
pub mod password;
pub mod path;
pub mod rotation;
pub mod throttle;
pub mod token;
pub mod users;
pub mod uuid;
