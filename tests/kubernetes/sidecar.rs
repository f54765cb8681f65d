//! A `serve` whose users and keys are Secrets, with the rights of deploy/rbac.yaml alone.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Front, KEYS, Kubeconfig, Namespace, USERS, entry};
use crate::shell::Shell;
use crate::support::{
    App, Commands as _, Jwk, Kept, Ran, Setup, Vestibule, claims, default_users, eventually, eventually_after, get,
};

/// Between two tries to reach the API server, at most.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Both Secrets as a release begins: users, and keys without any data.
pub(crate) async fn secrets(ns: &Namespace) {
    ns.create_secret(USERS, &[("users.yaml", default_users().to_string())]).await;
    ns.create_secret(KEYS, &[] as &[(&str, &str)]).await;
}

/// Outside of a pod, by a kubeconfig.
pub(crate) fn sidecar(kubeconfig: &Kubeconfig) -> Setup {
    let setup = Setup::new().store(json!({"kubernetes": {}}));
    let file = setup.path("kubeconfig");
    kubeconfig.write(&file);
    setup.variable("KUBECONFIG", file.to_str().expect("a path of ASCII"))
}

/// One with its application, once it is ready.
pub(crate) struct Running {
    pub(crate) vestibule: Vestibule,
    _app: App,
}

impl Running {
    pub(crate) async fn start(setup: Setup) -> Self {
        let app = App::start().await;
        let vestibule = setup.upstream(&app.url).start().await;
        Self { vestibule, _app: app }
    }

    /// In a namespace without Secrets, which this makes, with an account of its own.
    pub(crate) async fn in_namespace(ns: &Namespace) -> Self {
        secrets(ns).await;
        Self::start(sidecar(&ns.account().await.kubeconfig().await)).await
    }

    /// The same by way of what answers in the API server's place.
    pub(crate) async fn behind_front(ns: &Namespace) -> (Self, Front) {
        secrets(ns).await;
        let kubeconfig = ns.account().await.kubeconfig().await;
        let front = Front::start(&kubeconfig).await;
        (Self::start(sidecar(&front.kubeconfig(&kubeconfig))).await, front)
    }

    /// The status of a request with this token.
    pub(crate) async fn status(&self, token: &str) -> u16 {
        self.vestibule.client().send(get("/").bearer(token)).await.status
    }

    /// Waits until requests with this token are answered so.
    pub(crate) async fn comes_to(&self, token: &str, status: u16) {
        eventually(&format!("answers of {status}"), async || (self.status(token).await == status).then_some(())).await;
    }

    /// The status of a login.
    pub(crate) async fn login(&self, user: &str, password: &str) -> u16 {
        self.vestibule.client().login(user, password).await.status
    }

    /// What `/readyz` says, where it is 200.
    pub(crate) async fn notes(&self) -> String {
        let (status, text) = self.vestibule.admin("/readyz").await;
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Waits until `/readyz` has nothing more to say than that it is ready, which may take some tries of the store.
    pub(crate) async fn nothing_is_noted(&self) {
        eventually_after(LONGEST_PAUSE, "no notes", async || (self.notes().await == "ready\n").then_some(())).await;
    }

    pub(crate) async fn noted(&self, what: &str) {
        eventually(&format!("a note of {what:?}"), async || self.notes().await.contains(what).then_some(())).await;
    }
}

/// The keys as they stand in the Secret.
pub(crate) async fn ring(ns: &Namespace) -> Vec<Jwk> {
    let Some(text) = entry(&ns.secret(KEYS).await, "keys.jwks") else { return Vec::new() };
    let set: Value = serde_json::from_slice(&text).expect("a JWK Set");
    set["keys"].as_array().expect("a list of keys").iter().cloned().map(Jwk).collect()
}

/// A token of a sidecar that is one rotation ahead: its patch does not come by way of `front`, which drops all events from now
/// on.
pub(crate) async fn token_ahead(ns: &Namespace, front: &Front) -> String {
    front.drop_events(true);
    let mut keys = ring(ns).await;
    let ahead = Jwk::fresh("HS512", "ahead");
    let token = ahead.token(&claims("admin"));
    keys.push(ahead);
    ns.set(KEYS, &[("keys.jwks", Jwk::ring(&keys))]).await;
    token
}

/// Disables the user `admin`, or enables it again.
pub(crate) async fn disable_admin(ns: &Namespace, is_disabled: bool) {
    ns.set(USERS, &[("users.yaml", users_with("admin", &json!({"disabled": is_disabled})))]).await;
}

/// The default users with one changed.
pub(crate) fn users_with(user: &str, members: &Value) -> String {
    let mut users = default_users();
    for (name, value) in members.as_object().expect("members of a user") {
        users["users"][user][name.as_str()] = value.clone();
    }
    users.to_string()
}

/// Both Secrets as a place for users and keys, with the entries that [`secrets`] makes.
#[derive(Clone)]
pub(crate) struct InSecrets {
    ns: Rc<Namespace>,
    shell: Shell,
}

impl InSecrets {
    pub(crate) fn of(ns: &Rc<Namespace>) -> Self {
        Self { ns: Rc::clone(ns), shell: Shell::admin(ns) }
    }
}

impl Kept for InSecrets {
    async fn write_users(&self, document: &str) {
        self.ns.set(USERS, &[("users.yaml", document)]).await;
    }

    async fn write_keys(&self, document: &str) {
        self.ns.set(KEYS, &[("keys.jwks", document)]).await;
    }

    async fn read_keys(&self) -> Vec<Jwk> {
        ring(&self.ns).await
    }

    async fn keys_command(&self, words: &str) -> Ran {
        self.shell.run_beside(&format!("keys {words} --secret {KEYS}")).await
    }
}
