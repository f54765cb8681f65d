//! Everything that a Vestibule process is started with, made in a directory of its own.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule::pki::LocalCa;

use super::vestibule::{Failed, Vestibule};
use super::{Jwk, default_users, now};

/// A directory with `users/users.yaml`, `keys/`, `tls.crt`, `tls.key`, `ca.crt` and `vestibule.yaml`; the latter is
/// written when the process starts.
pub(crate) struct Setup {
    pub(super) dir: TempDir,
    pub(super) ca: LocalCa,
    config: Value,
    raw_config: Option<String>,
    config_file: String,
    wrapper: Vec<OsString>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    pub(super) await_ready: bool,
}

impl Setup {
    /// The default users, no keys yet, a certificate for `localhost` and 127.0.0.1, ports that the system chooses, and
    /// an application that nobody has started.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ca = LocalCa::create(now()).expect("an authority");
        let path = |name: &str| dir.path().join(name);
        for directory in ["users", "keys"] {
            fs::create_dir(path(directory)).expect("a directory");
        }
        let config = json!({
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            // The discard port: nothing listens there.
            "upstream": "http://127.0.0.1:9",
            "tls": {"certificate": path("tls.crt"), "key": path("tls.key")},
            "store": {"directory": {"users": path("users"), "keys": path("keys")}},
            "shutdown": {"delay": "0s", "grace": "5s"},
        });
        let setup = Self {
            dir,
            ca,
            config,
            raw_config: None,
            config_file: "vestibule.yaml".to_owned(),
            wrapper: Vec::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
            await_ready: true,
        };
        setup.issue_certificate();
        fs::write(setup.path("ca.crt"), setup.ca.cert_pem()).expect("a file");
        setup.users(&default_users())
    }

    /// Lays YAML over the configuration: mappings are merged, all else is replaced.
    pub(crate) fn config(mut self, yaml: &str) -> Self {
        let over: Value = serde_saphyr::from_str(yaml).expect("YAML");
        lay_over(&mut self.config, over);
        self
    }

    /// The configuration as it stands.
    pub(crate) fn as_configured(&self) -> Value {
        self.config.clone()
    }

    /// Another store than the directory.
    pub(crate) fn store(mut self, store: Value) -> Self {
        self.config["store"] = store;
        self
    }

    /// The text of the configuration file, whatever it is. `DIR` in it stands for the directory.
    pub(crate) fn raw_config(mut self, text: &str) -> Self {
        self.raw_config = Some(text.replace("DIR", &self.dir.path().display().to_string()));
        self
    }

    /// Where the application is.
    pub(crate) fn upstream(mut self, url: impl Display) -> Self {
        self.config["upstream"] = url.to_string().into();
        self
    }

    /// Replaces `users/users.yaml`.
    pub(crate) fn users(self, users: &Value) -> Self {
        self.file("users/users.yaml", &users.to_string())
    }

    /// The key ring, instead of one that the process makes.
    pub(crate) fn keys(self, keys: &[Jwk]) -> Self {
        self.file("keys/keys.jwks", &Jwk::ring(keys))
    }

    /// Writes any file of the directory.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path(name), text).expect("a file");
        self
    }

    pub(crate) fn remove(self, name: &str) -> Self {
        fs::remove_file(self.path(name)).expect("a file to remove");
        self
    }

    /// Passes another file than the one that is written.
    pub(crate) fn config_file(mut self, name: &str) -> Self {
        self.config_file = name.to_owned();
        self
    }

    /// An argument after `serve --config FILE`.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it by another command, which runs in its place what follows.
    pub(crate) fn through(mut self, wrapper: &[impl AsRef<OsStr>]) -> Self {
        self.wrapper = wrapper.iter().map(|part| part.as_ref().to_owned()).collect();
        self
    }

    /// An environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// [`Setup::start`] returns as soon as it listens.
    pub(crate) fn without_readiness(mut self) -> Self {
        self.await_ready = false;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the process and waits until it listens, and is ready.
    pub(crate) async fn start(self) -> Vestibule {
        Vestibule::start(self).await
    }

    /// Starts the process, which ends by itself.
    pub(crate) async fn fails(self) -> Failed {
        Failed::run(self).await
    }

    /// Writes a new certificate and key of the same authority.
    fn issue_certificate(&self) {
        let issued = self.ca.issue_server(&["localhost", "127.0.0.1"], 30, now()).expect("a certificate");
        fs::write(self.path("tls.crt"), issued.cert_pem).expect("a file");
        fs::write(self.path("tls.key"), issued.key_pem).expect("a file");
        set_mode(&self.path("tls.key"), 0o600);
    }

    pub(super) fn command(&self) -> Command {
        let text = self.raw_config.clone().unwrap_or_else(|| self.config.to_string());
        fs::write(self.path("vestibule.yaml"), text).expect("a file");
        let binary = OsStr::new(env!("CARGO_BIN_EXE_vestibule"));
        let mut parts = self.wrapper.iter().map(OsString::as_os_str).chain([binary]);
        let mut command = Command::new(parts.next().expect("at least the binary"));
        command.args(parts).arg("serve").arg("--config").arg(self.path(&self.config_file)).args(&self.arguments);
        // The variables of whoever runs the tests are none of theirs.
        command.env_clear().envs(self.variables.iter().cloned()).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                lay_over(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

pub(crate) fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("permissions");
}
