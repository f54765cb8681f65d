//! Runs the program with a kubeconfig of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Kubeconfig, Namespace};
use crate::support::Commands;

/// A home with a kubeconfig and nothing else.
#[derive(Clone)]
pub(crate) struct Shell(Arc<TempDir>);

impl Shell {
    pub(crate) fn new(kubeconfig: &Kubeconfig) -> Self {
        let shell = Self(Arc::new(tempfile::tempdir().expect("a directory")));
        kubeconfig.write(&shell.path("kubeconfig"));
        shell
    }

    /// As an administrator, in the namespace.
    pub(crate) fn admin(namespace: &Namespace) -> Self {
        Self::new(&namespace.admin().kubeconfig.in_namespace(&namespace.name))
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    pub(crate) fn write(&self, inside: &str, content: &str) {
        fs::write(self.path(inside), content).expect("a file");
    }

    /// The program by another name; of its own variables it has none.
    pub(crate) fn called(&self, program: &Path, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command.args(arguments.split_ascii_whitespace());
        command.current_dir(self.0.path()).env_clear().env("HOME", self.0.path());
        command.env("KUBECONFIG", self.path("kubeconfig")).stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

impl Commands for Shell {
    fn command(&self, arguments: &str) -> Command {
        self.called(Path::new(env!("CARGO_BIN_EXE_vestibule")), arguments)
    }
}

/// Lets a user of any name do this, by a Role of these rules.
pub(crate) async fn allow(namespace: &Namespace, user: &str, rules: &Value) {
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
    bind(namespace, user, &subject, rules).await;
}

/// Gives a service account more rights, by a Role of this name.
pub(crate) async fn allow_account(namespace: &Namespace, account: &str, role: &str, rules: &Value) {
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace.name});
    bind(namespace, role, &subject, rules).await;
}

async fn bind(namespace: &Namespace, role: &str, subject: &Value, rules: &Value) {
    let api = "rbac.authorization.k8s.io/v1";
    let path = format!("/apis/{api}/namespaces/{}", namespace.name);
    let metadata = json!({"name": role});
    let binding = json!({
        "apiVersion": api, "kind": "RoleBinding", "metadata": metadata, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
    });
    let role = json!({"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": rules});
    namespace.admin().create(&format!("{path}/roles"), &role).await;
    namespace.admin().create(&format!("{path}/rolebindings"), &binding).await;
}
