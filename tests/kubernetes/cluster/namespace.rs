//! A namespace of a test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{process, thread};

use serde_json::json;

use super::{Api, Cluster, Hold};

/// The Secrets that a configuration names where it says nothing else.
pub(crate) const USERS: &str = "vestibule-users";
pub(crate) const KEYS: &str = "vestibule-keys";

/// A name is a DNS label: at most 63 characters.
const LONGEST: usize = 40;

/// Empty at first: no Secrets, no service account.
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) cluster: &'static Cluster,
    hold: Arc<Hold>,
}

impl Namespace {
    pub(super) async fn create(cluster: &'static Cluster, hold: Arc<Hold>) -> Self {
        if let Cluster::Own(own) = cluster {
            own.recover().await;
        }
        let name = fresh_name();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        cluster.admin().create("/api/v1/namespaces", &namespace).await;
        Self { name, cluster, hold }
    }

    /// A second namespace for the same test.
    pub(crate) async fn another(&self) -> Self {
        Self::create(self.cluster, Arc::clone(&self.hold)).await
    }

    pub(crate) fn admin(&self) -> Api {
        self.cluster.admin()
    }

    /// A path of this namespace, such as `secrets/vestibule-users`, in the core API.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// Deletes it with all that is in it, as the namespace controller does, of which there is none here.
    pub(crate) async fn delete(&self) {
        let admin = self.admin();
        let path = format!("/api/v1/namespaces/{}", self.name);
        admin.delete(&path).await;
        if matches!(self.cluster, Cluster::Named(_)) {
            return;
        }
        for collection in ["rolebindings", "roles"] {
            admin.delete(&format!("{}/{collection}", self.rbac())).await;
        }
        for collection in ["serviceaccounts", "secrets"] {
            admin.delete(&self.path(collection)).await;
        }
        let mut namespace = admin.get(&path).await;
        namespace["spec"]["finalizers"] = json!([]);
        let answer = admin.send("PUT", &format!("{path}/finalize"), Some(&namespace)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The path of this namespace in the RBAC API.
    pub(super) fn rbac(&self) -> String {
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        match self.cluster {
            Cluster::Own(own) if thread::panicking() => {
                eprintln!("--- log of the API server, the last lines ---\n{}", own.log());
            }
            Cluster::Own(_) => {}
            // Ours goes with all that is in it.
            Cluster::Named(admin) => {
                let (admin, path) = (admin.clone(), format!("/api/v1/namespaces/{}", self.name));
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let deletion = thread::spawn(move || drop(runtime.block_on(admin.try_send("DELETE", &path, None))));
                drop(deletion.join());
            }
        }
    }
}

/// After the test, which is what its thread is called.
fn fresh_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let thread = thread::current();
    let test = thread.name().unwrap_or("test").to_ascii_lowercase();
    let label: String = test.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
    let label = &label[..label.len().min(LONGEST)];
    format!("{}-{}-{number}", label.trim_matches('-'), process::id())
}
