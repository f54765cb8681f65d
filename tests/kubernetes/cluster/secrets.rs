//! Secrets, as an administrator changes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Namespace, named};

/// The bytes of one entry of a Secret; `None` where it has no such entry.
pub(crate) fn entry(secret: &Value, name: &str) -> Option<Vec<u8>> {
    secret["data"][name].as_str().map(|text| STANDARD.decode(text).expect("base64"))
}

impl Namespace {
    /// Makes a Secret of type `Opaque`; without entries it has no `data` at all, as the chart makes it.
    pub(crate) async fn create_secret(&self, name: &str, entries: &[(&str, impl AsRef<[u8]>)]) -> Value {
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name},
        });
        if !entries.is_empty() {
            secret["data"] = encoded(entries).into();
        }
        self.admin().create(&self.path("secrets"), &secret).await
    }

    /// The Secret as it stands; panics where there is none.
    pub(crate) async fn secret(&self, name: &str) -> Value {
        self.admin().get(&named(&self.name, name)).await
    }

    /// Sets entries and leaves the others as they are.
    pub(crate) async fn set(&self, name: &str, entries: &[(&str, impl AsRef<[u8]>)]) -> Value {
        self.patch_secret(name, &json!({"data": encoded(entries)})).await
    }

    /// Takes an entry away.
    pub(crate) async fn unset(&self, name: &str, entry: &str) -> Value {
        self.patch_secret(name, &json!({"data": {entry: null}})).await
    }

    /// Any merge patch of a Secret.
    pub(crate) async fn patch_secret(&self, name: &str, patch: &Value) -> Value {
        self.admin().patch(&named(&self.name, name), patch).await
    }

    pub(crate) async fn delete_secret(&self, name: &str) {
        self.admin().delete(&named(&self.name, name)).await;
    }

    /// A Secret's `resourceVersion`.
    pub(crate) async fn version(&self, name: &str) -> String {
        let secret = self.secret(name).await;
        secret["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()
    }
}

fn encoded(entries: &[(&str, impl AsRef<[u8]>)]) -> Map<String, Value> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), STANDARD.encode(value).into())).collect()
}
