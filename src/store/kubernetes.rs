//! Secrets of a Kubernetes cluster: read, followed and patched, each by its name.

mod api_error;
mod backoff;
mod connection;
mod follow;
mod identity;
mod known;
mod order;
mod secret;
mod skew;
mod stack;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::Value;

pub use self::api_error::{ApiError, Fault, Verb};
use self::connection::{Answer, Connection, Opened};
pub use self::follow::Follower;
pub use self::identity::{ConnectError, Identity};
pub use self::known::Followed;
use self::secret::List;
pub use self::secret::SecretVersion;
pub use self::skew::Skew;

/// Its absence says that a clock has not been compared yet.
const UNKNOWN_SKEW: i64 = i64::MIN;

/// The Secrets of one namespace, at an API server. Clones share one connection.
///
/// Each request has 10 s, each answer 8 MiB at most; nothing is tried twice by itself. Needs a tokio runtime with I/O and time.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

struct Shared {
    connection: Connection,
    namespace: String,
    /// Milliseconds by which this machine's clock is ahead of the API server's.
    skew: AtomicI64,
}

impl Cluster {
    /// As the pod's service account, in the pod's own namespace or another. Its token and the CA's certificates are read
    /// from their files again as these change.
    pub async fn in_pod(namespace: Option<&str>) -> Result<Self, ConnectError> {
        Self::connect(Identity::Pod, namespace).await
    }

    /// As a kubeconfig says (`file`, else `$KUBECONFIG`, else `~/.kube/config`): its current context or another, whose
    /// namespace counts where none is given. `as_user` and `as_groups` impersonate. May run an exec plugin.
    pub async fn from_kubeconfig(
        file: Option<&Path>,
        context: Option<&str>,
        namespace: Option<&str>,
        as_user: Option<&str>,
        as_groups: &[String],
    ) -> Result<Self, ConnectError> {
        let identity = Identity::Kubeconfig {
            file: file.map(Path::to_owned),
            context: context.map(str::to_owned),
            as_user: as_user.map(str::to_owned),
            as_groups: as_groups.to_vec(),
        };
        Self::connect(identity, namespace).await
    }

    /// As `serve` does: in a pod as its service account, elsewhere as the kubeconfig says.
    pub async fn infer(namespace: Option<&str>) -> Result<Self, ConnectError> {
        match is_in_pod() {
            true => Self::in_pod(namespace).await,
            false => Self::from_kubeconfig(None, None, namespace, None, &[]).await,
        }
    }

    async fn connect(identity: Identity, namespace: Option<&str>) -> Result<Self, ConnectError> {
        let (connection, default_namespace) = Connection::new(identity).await?;
        let namespace = namespace.map_or(default_namespace, str::to_owned);
        Ok(Self(Arc::new(Shared { connection, namespace, skew: AtomicI64::new(UNKNOWN_SKEW) })))
    }

    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The API server's address, as errors name it.
    pub fn server(&self) -> String {
        self.0.connection.server()
    }

    /// As the API server's last answer's `Date` said, within half a second; `None` before the first answer.
    pub fn clock_skew(&self) -> Option<Skew> {
        Some(self.0.skew.load(Ordering::Relaxed)).filter(|skew| *skew != UNKNOWN_SKEW).map(Skew::new)
    }

    /// The Secret as it stands, of no cache.
    pub async fn read(&self, name: &str) -> Result<SecretVersion, ApiError> {
        let request = Request::get(self.path(name)).body(Vec::new());
        let answer = self.ask(name, Verb::Get, request).await?;
        self.version(name, Verb::Get, &answer)
    }

    /// Sets entries to new bytes, and removes those that are `None`, where the Secret still is `base`: a JSON merge patch
    /// (RFC 7386) that carries its `resourceVersion` and `uid`. A lost race is [`Fault::Conflict`]: read and plan again.
    /// After [`Fault::Unavailable`] nobody knows: the patch may have been applied.
    pub async fn patch(
        &self,
        base: &SecretVersion,
        changes: &BTreeMap<String, Option<Vec<u8>>>,
    ) -> Result<SecretVersion, ApiError> {
        let name = base.name();
        let request = Request::patch(self.path(name))
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .body(secret::merge_patch(base, changes));
        let answer = self.ask(name, Verb::Patch, request).await?;
        self.version(name, Verb::Patch, &answer)
    }

    /// Asks for anything but Secrets by `GET`: the answer's JSON. `path` has its query.
    pub async fn get_json(&self, path: &str) -> Result<Value, Fault> {
        self.ask_json(Request::get(path).body(Vec::new())).await
    }

    /// Asks a question that is put by `POST`, such as a review: the answer's JSON.
    pub async fn post_json(&self, path: &str, question: &Value) -> Result<Value, Fault> {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.ask_json(request.body(question.to_string().into_bytes())).await
    }

    /// Reads the credentials again, for all clones and at most once in 5 s: what to do when they were refused.
    pub async fn renew(&self) {
        self.0.connection.renew().await;
    }

    /// Follows the Secret by a task that ends with the last clone of what is returned.
    pub fn follow(&self, name: &str) -> Follower {
        Follower::new(self.clone(), name)
    }

    /// The Secret, if it is there, and the version to watch from. Of no cache.
    async fn list(&self, name: &str) -> Result<(Option<SecretVersion>, String), ApiError> {
        let request =
            Request::get(format!("{}?fieldSelector=metadata.name%3D{name}", self.collection())).body(Vec::new());
        let answer = self.ask(name, Verb::List, request).await?;
        let not_a_list = || self.error(name, Verb::List, Fault::Unavailable("the answer is no list".to_owned()));
        List::from_json(&answer.body).ok_or_else(not_a_list)
    }

    /// A watch of the Secret, with further parameters of the query.
    async fn watch(&self, name: &str, parameters: &str) -> Result<Opened, Fault> {
        let selected = format!("{}?watch=true&fieldSelector=metadata.name%3D{name}", self.collection());
        let opened = self.0.connection.open(&format!("{selected}&allowWatchBookmarks=true&{parameters}")).await?;
        self.note_skew(opened.skew_ms);
        Ok(opened)
    }

    fn collection(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.0.namespace)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.collection())
    }

    /// Sends a request, and collects the answer if it is a good one.
    async fn ask(&self, name: &str, verb: Verb, request: http::Result<Request<Vec<u8>>>) -> Result<Answer, ApiError> {
        let failed = |fault| self.error(name, verb, fault);
        // What fits into no URI is no namespace and no name.
        let request = request.map_err(|_| failed(Fault::Invalid("no Secret can have that name".to_owned())))?;
        match self.answered(request).await {
            Ok(answer) => Ok(answer),
            Err(fault) => Err(failed(self.judged(fault).await)),
        }
    }

    /// An API server that has just started answers before it has read its roles, and refuses what it allows a moment later:
    /// as long as it says that it is not ready, a 403 is no proof of a missing right.
    async fn judged(&self, fault: Fault) -> Fault {
        if !matches!(fault, Fault::Forbidden { .. }) {
            return fault;
        }
        // Anybody it knows may ask this, before it has read any role (`--authorization-always-allow-paths`).
        let Ok(request) = Request::get("/readyz").body(Vec::new()) else { return fault };
        match self.0.connection.ask(request).await {
            Ok(answer) if answer.status.is_server_error() => {
                Fault::Unavailable("it is not ready, and may not know its roles yet (403)".to_owned())
            }
            _ => fault,
        }
    }

    async fn ask_json(&self, request: http::Result<Request<Vec<u8>>>) -> Result<Value, Fault> {
        let request = request.map_err(|_| Fault::Invalid("a name in it is none".to_owned()))?;
        let answer = self.answered(request).await?;
        serde_json::from_slice(&answer.body).map_err(|_| Fault::Unavailable("the answer is no JSON".to_owned()))
    }

    async fn answered(&self, request: Request<Vec<u8>>) -> Result<Answer, Fault> {
        let answer = self.0.connection.ask(request).await?;
        self.note_skew(answer.skew_ms);
        match Fault::of_answer(answer.status, answer.retry_after, &answer.body) {
            None => Ok(answer),
            Some(fault) => Err(fault),
        }
    }

    fn version(&self, name: &str, verb: Verb, answer: &Answer) -> Result<SecretVersion, ApiError> {
        SecretVersion::from_json(&answer.body)
            .ok_or_else(|| self.error(name, verb, Fault::Unavailable("the answer is no Secret".to_owned())))
    }

    fn note_skew(&self, skew_ms: Option<i64>) {
        if let Some(skew) = skew_ms {
            self.0.skew.store(skew, Ordering::Relaxed);
        }
    }

    fn error(&self, name: &str, verb: Verb, fault: Fault) -> ApiError {
        ApiError::new(self.namespace(), name, verb, fault, self.server())
    }
}

/// Whether this process runs in a pod.
pub(crate) fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}
