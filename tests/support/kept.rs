//! Where users and keys are kept, so that one test is run on directories and on Secrets.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::vestibule::replace;
use super::{Jwk, Ran, run_beside};

/// The users and keys of one process or several.
pub(crate) trait Kept: Clone + 'static {
    /// Replaces the users' document.
    async fn write_users(&self, document: &str);

    /// Replaces the ring's document.
    async fn write_keys(&self, document: &str);

    /// The keys as they stand.
    async fn read_keys(&self) -> Vec<Jwk>;

    /// Runs `keys` with these words.
    async fn keys_command(&self, words: &str) -> Ran;
}

/// A directory with `users/users.yaml` and `keys/keys.jwks`.
#[derive(Clone)]
pub(crate) struct InDirectory(pub(crate) PathBuf);

impl Kept for InDirectory {
    async fn write_users(&self, document: &str) {
        replace(&self.0.join("users/users.yaml"), document);
    }

    async fn write_keys(&self, document: &str) {
        replace(&self.0.join("keys/keys.jwks"), document);
    }

    async fn read_keys(&self) -> Vec<Jwk> {
        Jwk::read_ring(&self.0.join("keys/keys.jwks"))
    }

    async fn keys_command(&self, words: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.arg("keys").args(words.split(' ')).arg("--dir").arg(&self.0);
        command.env_clear().stdin(Stdio::null());
        run_beside(command).await
    }
}
