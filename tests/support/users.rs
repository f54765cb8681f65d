//! Users and the hashes of their passwords, cheap enough that a test is not about hashing.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The least that argon2 allows.
const MEMORY_KIB: u32 = 8;
const SALT: &[u8] = b"0123456789abcdef";

/// The password of a default user; `two` has another one besides, `two-new`.
pub(crate) fn password_of(user: &str) -> String {
    format!("{user}-password")
}

/// An argon2id hash as cheap as can be: microseconds.
pub(crate) fn argon2(password: &str) -> String {
    argon2_with(password, MEMORY_KIB, 1)
}

/// An argon2id hash that takes some tenths of a second to check, and as long to make.
pub(crate) fn slow_argon2(password: &str) -> String {
    argon2_with(password, 65_536, 6)
}

/// An argon2id hash of any cost.
pub(crate) fn argon2_with(password: &str, memory_kib: u32, passes: u32) -> String {
    let mut output = [0; 32];
    let params = Params::new(memory_kib, passes, 1, Some(output.len())).expect("parameters within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), SALT, &mut output)
        .expect("salt and output are long enough");
    phc(memory_kib, passes, &output)
}

/// A hash that takes most of a second to check, and is nobody's password. While it is in the table,
/// every failing login takes as long.
pub(crate) fn slow_hash() -> String {
    phc(65_536, 8, &[7; 32])
}

fn phc(memory_kib: u32, passes: u32, output: &[u8]) -> String {
    let (salt, output) = (STANDARD_NO_PAD.encode(SALT), STANDARD_NO_PAD.encode(output));
    format!("$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${output}")
}

/// What `cred` says of a stored hash: base64url of the first 12 bytes of its SHA-256.
pub(crate) fn credential(stored: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, stored.as_bytes());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12])
}

/// A bcrypt hash of the least cost, as `htpasswd -B` writes it.
pub(crate) fn bcrypt(password: &str) -> String {
    bcrypt_with(password, 4)
}

/// A bcrypt hash of any cost from 4, the binary logarithm of its rounds.
pub(crate) fn bcrypt_with(password: &str, cost: u32) -> String {
    ::bcrypt::hash(password, cost).expect("a cost that bcrypt has").replacen("$2b$", "$2y$", 1)
}

pub(crate) fn htpasswd_line(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt(password))
}

/// `admin` (Administrator), `reader` (no API group), `off` (disabled), `expired` (its password is), `two` (two
/// passwords, the younger one `two-new`).
pub(crate) fn default_users() -> serde_json::Value {
    let password = |user: &str| serde_json::json!({"hash": argon2(&password_of(user))});
    serde_json::json!({"users": {
        "admin": {"groups": ["Administrator"], "passwords": [password("admin")]},
        "reader": {"groups": ["Readers"], "passwords": [password("reader")]},
        "off": {"groups": ["Administrator"], "disabled": true, "passwords": [password("off")]},
        "expired": {
            "groups": ["Administrator"],
            "passwords": [{"hash": argon2(&password_of("expired")), "expiresAt": "2020-01-01T00:00:00Z"}],
        },
        "two": {"groups": ["Administrator"], "passwords": [password("two"), {"hash": argon2("two-new")}]},
    }})
}
