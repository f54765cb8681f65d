//! Users and the hashes of their passwords, cheap enough that a test is not about hashing.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

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

/// An argon2id hash of a chosen cost.
pub(crate) fn argon2_with(password: &str, memory_kib: u32, passes: u32) -> String {
    let mut output = [0; 32];
    let params = Params::new(memory_kib, passes, 1, Some(output.len())).expect("parameters within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), SALT, &mut output)
        .expect("salt and output are long enough");
    format!(
        "$argon2id$v=19$m={memory_kib},t={passes},p=1${}${}",
        STANDARD_NO_PAD.encode(SALT),
        STANDARD_NO_PAD.encode(output)
    )
}

/// A bcrypt hash of the least cost, as `htpasswd -B` writes it.
pub(crate) fn bcrypt(password: &str) -> String {
    ::bcrypt::hash(password, 4).expect("4 is bcrypt's least cost").replacen("$2b$", "$2y$", 1)
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
