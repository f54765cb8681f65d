//! Runs the program with a kubeconfig of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Kubeconfig, Namespace};

/// A home with a kubeconfig and nothing else.
#[derive(Clone)]
pub(super) struct Shell(Arc<TempDir>);

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl Shell {
    pub(super) fn new(kubeconfig: &Kubeconfig) -> Self {
        let shell = Self(Arc::new(tempfile::tempdir().expect("a directory")));
        kubeconfig.write(&shell.path("kubeconfig"));
        shell
    }

    /// As an administrator, in the namespace.
    pub(super) fn admin(namespace: &Namespace) -> Self {
        Self::new(&namespace.admin().kubeconfig.in_namespace(&namespace.name))
    }

    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    pub(super) fn write(&self, inside: &str, content: &str) {
        fs::write(self.path(inside), content).expect("a file");
    }

    /// A command that is not run yet; of the program's own variables it has none.
    pub(super) fn command(&self, arguments: &str) -> Command {
        self.called(Path::new(env!("CARGO_BIN_EXE_vestibule")), arguments)
    }

    /// The same by another name.
    pub(super) fn called(&self, program: &Path, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command.args(arguments.split_ascii_whitespace());
        command.current_dir(self.0.path()).env_clear().env("HOME", self.0.path());
        command.env("KUBECONFIG", self.path("kubeconfig")).stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    pub(super) fn run(&self, arguments: &str) -> Ran {
        self.run_with(arguments, b"")
    }

    pub(super) fn run_with(&self, arguments: &str, stdin: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // It may end without having read everything.
        let _ = child.stdin.take().expect("a pipe").write_all(stdin);
        Ran::of(child.wait_with_output().expect("the program ends"))
    }

    /// The same while what stands in front of the API server goes on in this process.
    pub(super) async fn run_beside(&self, arguments: &str) -> Ran {
        let (shell, arguments) = (self.clone(), arguments.to_owned());
        tokio::task::spawn_blocking(move || shell.run(&arguments)).await.expect("no panic")
    }

    /// Runs what must work; what it printed on standard output.
    #[track_caller]
    pub(super) fn done(&self, arguments: &str) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments}: {ran:?}");
        ran.out
    }

    #[track_caller]
    pub(super) fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.done(arguments)).expect("JSON")
    }
}

impl Ran {
    pub(super) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let ran =
            Self { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) };
        assert!(!ran.out.contains("$argon2id$v") && !ran.err.contains("$argon2id$v"), "a hash is printed: {ran:?}");
        ran
    }

    /// Failed with this code, one line on standard error that holds these words, and nothing else.
    #[track_caller]
    pub(super) fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("vestibule: ") && self.err.lines().count() == 1, "{self:?}");
        assert!(self.err.contains(words), "{words:?} in {self:?}");
        assert_eq!(self.out, "", "{self:?}");
    }
}

/// Lets a user of any name do this with Secrets, by a Role of these rules.
pub(super) async fn allow(namespace: &Namespace, user: &str, rules: &Value) {
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", namespace.name);
    let api = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": api, "kind": "Role", "metadata": {"name": user}, "rules": rules});
    let binding = json!({
        "apiVersion": api, "kind": "RoleBinding", "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    namespace.admin().create(&format!("{path}/roles"), &role).await;
    namespace.admin().create(&format!("{path}/rolebindings"), &binding).await;
}
