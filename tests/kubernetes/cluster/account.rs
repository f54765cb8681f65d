//! Service accounts with the rights that are shipped, and their tokens.

use std::fs;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::control_plane::ISSUER;
use super::{Cluster, KEYS, Kubeconfig, Namespace, USERS, User};
use crate::support::now;

/// What is shipped: service account, Role and RoleBinding.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/rbac.yaml");

/// The API server accepts tokens for so long after `exp` (go-jose's default).
const LEEWAY: i64 = 60;
/// No test takes as long; shorter than ten minutes the API server makes none.
const HOUR: u32 = 3600;

/// A service account, bound to the Role of deploy/rbac.yaml.
pub(crate) struct Account<'a> {
    pub(crate) name: String,
    namespace: &'a Namespace,
    uid: String,
    binding: Value,
}

impl Namespace {
    /// The account of a sidecar that has nothing but the rights of deploy/rbac.yaml, with the default Secrets' names.
    pub(crate) async fn account(&self) -> Account<'_> {
        self.account_of("vestibule", &[USERS], KEYS).await
    }

    /// The same of these Secrets.
    pub(crate) async fn account_of(&self, name: &str, users: &[&str], keys: &str) -> Account<'_> {
        let text = fs::read_to_string(MANIFESTS).expect(MANIFESTS);
        let text = text.replace("${NAMESPACE}", &self.name).replace("${NAME}", name);
        let text = text.replace("${USERS}", &users.join(", ")).replace("${KEYS}", keys);
        let (core, rbac) = (self.path("serviceaccounts"), self.rbac());
        let mut made = Vec::new();
        for document in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).expect("YAML");
            let path = match object["kind"].as_str() {
                Some("ServiceAccount") => core.clone(),
                Some("Role") => format!("{rbac}/roles"),
                Some("RoleBinding") => format!("{rbac}/rolebindings"),
                other => panic!("deploy/rbac.yaml holds a {other:?}"),
            };
            made.push((self.admin().create(&path, &object).await["metadata"]["uid"].clone(), object));
        }
        let [(uid, _), _, (_, binding)] = made.try_into().expect("an account, a Role and a RoleBinding");
        let uid = uid.as_str().expect("a uid").to_owned();
        Account { name: name.to_owned(), namespace: self, uid, binding }
    }
}

impl Account<'_> {
    /// The user that RBAC and the audit log know it by.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace.name, self.name)
    }

    /// A token for an hour, by the API server.
    pub(crate) async fn token(&self) -> String {
        self.requested(json!({"expirationSeconds": HOUR})).await
    }

    /// The same, that is refused once this Secret is gone; up to 10 s later where the API server has just seen it.
    pub(crate) async fn token_bound_to(&self, secret: &Value) -> String {
        let metadata = &secret["metadata"];
        let bound = json!({"apiVersion": "v1", "kind": "Secret", "name": metadata["name"], "uid": metadata["uid"]});
        self.requested(json!({"expirationSeconds": HOUR, "boundObjectRef": bound})).await
    }

    async fn requested(&self, spec: Value) -> String {
        let path = self.namespace.path(&format!("serviceaccounts/{}/token", self.name));
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let made = self.namespace.admin().create(&path, &request).await;
        made["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// A token that is refused in so many seconds; up to 10 more where the API server has just seen it. Only where the
    /// cluster is ours.
    pub(crate) fn token_for(&self, seconds: i64) -> String {
        let now = i64::try_from(now()).expect("seconds since the epoch");
        let claims = json!({
            "iss": ISSUER, "aud": [ISSUER], "sub": self.user(),
            "iat": now - 120, "nbf": now - 120, "exp": now + seconds - LEEWAY,
            "kubernetes.io": {
                "namespace": self.namespace.name,
                "serviceaccount": {"name": self.name, "uid": self.uid},
            },
        });
        let key = EncodingKey::from_ec_der(self.namespace.cluster.own().account_key());
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).expect("a token")
    }

    /// A kubeconfig with a token for an hour, in the account's namespace.
    pub(crate) async fn kubeconfig(&self) -> Kubeconfig {
        let admin = self.namespace.admin().kubeconfig;
        admin.with_user(User::Token(self.token().await)).in_namespace(&self.namespace.name)
    }

    /// Takes all its rights away.
    pub(crate) async fn revoke(&self) {
        self.namespace.admin().delete(&format!("{}/rolebindings/{}", self.namespace.rbac(), self.name)).await;
    }

    /// Gives them back.
    pub(crate) async fn grant(&self) {
        let path = format!("{}/rolebindings", self.namespace.rbac());
        self.namespace.admin().create(&path, &self.binding).await;
    }

    /// Whether this is a cluster of ours, for which [`Account::token_for`] can sign.
    pub(crate) fn can_sign(&self) -> bool {
        matches!(self.namespace.cluster, Cluster::Own(_))
    }
}
