//! A `serve` whose users and keys are Secrets, with the rights of deploy/rbac.yaml alone.

use serde_json::{Value, json};

use crate::cluster::{KEYS, Kubeconfig, Namespace, USERS, entry};
use crate::support::{App, Jwk, Setup, Vestibule, default_users, eventually, get};

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

    /// The status of a request with this token.
    pub(crate) async fn status(&self, token: &str) -> u16 {
        self.vestibule.client().send(get("/").bearer(token)).await.status
    }

    /// Waits until requests with this token are answered so.
    pub(crate) async fn comes_to(&self, token: &str, status: u16) {
        eventually(&format!("answers of {status}"), async || (self.status(token).await == status).then_some(())).await;
    }

    /// Makes a change and waits until it is in force.
    pub(crate) async fn takes<T>(&self, what: &str, change: impl Future<Output = T>) {
        let series = format!("vestibule_reloads_total{{what=\"{what}\",result=\"ok\"}}");
        let before = self.vestibule.metrics().await.value(&series);
        change.await;
        eventually(&format!("a reload of {what}"), async || {
            (self.vestibule.metrics().await.value(&series) > before).then_some(())
        })
        .await;
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

/// The default users with one changed.
pub(crate) fn users_with(user: &str, members: &Value) -> String {
    let mut users = default_users();
    for (name, value) in members.as_object().expect("members of a user") {
        users["users"][user][name.as_str()] = value.clone();
    }
    users.to_string()
}
