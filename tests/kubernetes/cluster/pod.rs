//! What a container of a pod finds: the service account's files in their place, and where the API server is.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tempfile::TempDir;

use super::kubeconfig::Kubeconfig;
use crate::support::{Setup, publish, skipped};

/// Gives a process its own view of the file system, with the first argument's folder where kubelet mounts the service
/// account's files, and becomes the command that follows. The process id stays.
const ENTER: &str = r#"
    mount -t tmpfs -o mode=755 tmpfs /var/run &&
    mkdir -p /var/run/secrets/kubernetes.io/serviceaccount &&
    mount --bind "$1" /var/run/secrets/kubernetes.io/serviceaccount &&
    shift && exec "$@""#;

/// A pod's file system and variables, for any number of processes.
pub(crate) struct Pod {
    dir: TempDir,
    host: String,
    port: u16,
    namespace: String,
    versions: AtomicUsize,
}

impl Pod {
    /// With the token, the authority, the address and the namespace of a kubeconfig; `None`, said loudly, where mounts
    /// are not permitted.
    pub(crate) fn new(kubeconfig: &Kubeconfig) -> Option<Self> {
        let pod = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            host: kubeconfig.address.ip().to_string(),
            port: kubeconfig.address.port(),
            namespace: kubeconfig.namespace.clone().expect("a pod has a namespace"),
            versions: AtomicUsize::new(1),
        };
        pod.publish(kubeconfig.token().expect("a pod has a token"), &kubeconfig.ca);
        if !pod.command("true").status().is_ok_and(|status| status.success()) {
            skipped("a mount namespace: root, or `unshare --map-root-user --mount`");
            return None;
        }
        Some(pod)
    }

    /// Replaces token and authority as kubelet does, all at once by a link.
    pub(crate) fn publish(&self, token: &str, ca: &str) {
        let version = self.versions.fetch_add(1, Ordering::Relaxed);
        let files = [("token", token), ("ca.crt", ca), ("namespace", &self.namespace)];
        publish(&self.dir.path().join("mounted"), &format!("version{version}"), &files);
    }

    /// The folder of the service account's files, from outside.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// A `serve` in the pod, with the Secrets of its namespace as its store.
    pub(crate) fn sidecar(&self) -> Setup {
        self.hold(Setup::new().store(json!({"kubernetes": {}})))
    }

    /// Lets a `serve` run in the pod.
    pub(crate) fn hold(&self, setup: Setup) -> Setup {
        self.variables()
            .into_iter()
            .fold(setup.through(&self.wrapper()), |setup, (name, value)| setup.variable(name, &value))
    }

    /// Any command in the pod.
    pub(crate) fn command(&self, program: &str) -> Command {
        let wrapper = self.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(program).envs(self.variables());
        command
    }

    fn wrapper(&self) -> Vec<OsString> {
        let unprivileged = (!rustix::process::geteuid().is_root()).then_some("--map-root-user");
        let enter = ["--mount", "sh", "-c", ENTER, "sh"];
        let parts = ["unshare"].into_iter().chain(unprivileged).chain(enter);
        parts.map(OsString::from).chain([self.files().into_os_string()]).collect()
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        [("KUBERNETES_SERVICE_HOST", self.host.clone()), ("KUBERNETES_SERVICE_PORT", self.port.to_string())]
    }
}
