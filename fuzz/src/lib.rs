//! Fuzz targets, each with a property that its inputs must not break. `fuzz/run` runs them, `cargo test` their corpora.

mod authorization;
mod client_address;
mod config;
mod hash;
mod headers;
mod htpasswd;
mod json;
mod kept_heads;
mod keys;
mod login;
mod path;
mod ring;
mod rotation;
mod socket_table;
mod token;
mod users;

/// Panics where an input breaks the property.
pub type Target = fn(&[u8]);

/// All of them by name, which is the name of their corpus too.
pub const TARGETS: &[(&str, Target)] = &[
    ("authorization", authorization::run),
    ("client_address", client_address::run),
    ("config", config::run),
    ("hash", hash::run),
    ("headers", headers::run),
    ("htpasswd", htpasswd::run),
    ("kept_heads", kept_heads::run),
    ("login", login::run),
    ("path", path::run),
    ("ring", ring::run),
    ("rotation", rotation::run),
    ("socket_table", socket_table::run),
    ("token", token::run),
    ("users", users::run),
];

pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(own, _)| *own == name).map(|(_, target)| *target)
}

/// The parts of an input: text, parted by lines of four equals signs. None: not text.
fn parts(data: &[u8]) -> Option<impl Iterator<Item = &str>> {
    Some(std::str::from_utf8(data).ok()?.split("\n====\n"))
}
