//! One version of a Secret, from the API server's JSON and back to a patch of it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

/// A Secret as it was at one moment. What it holds is wiped from memory at its end, and is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretVersion {
    name: String,
    uid: String,
    resource_version: String,
    kind: String,
    immutable: bool,
    data: BTreeMap<String, Vec<u8>>,
}

impl SecretVersion {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another one for a Secret of the same name that was deleted and made anew.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    pub fn resource_version(&self) -> &str {
        &self.resource_version
    }

    /// Its type, such as `Opaque` or `kubernetes.io/tls`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    pub fn is_immutable(&self) -> bool {
        self.immutable
    }

    /// The entries by name, decoded.
    pub fn data(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.data
    }

    /// `None` where it is no Secret.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Object>(json).ok()?.into_secret()
    }
}

impl Drop for SecretVersion {
    fn drop(&mut self) {
        self.data.values_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretVersion")
            .field("name", &self.name)
            .field("uid", &self.uid)
            .field("resource_version", &self.resource_version)
            .field("entries", &self.data.keys())
            .finish_non_exhaustive()
    }
}

/// What the API server answers or sends in a watch: a Secret, or the bare metadata of a bookmark.
#[derive(Deserialize)]
pub(super) struct Object {
    #[serde(default)]
    metadata: Metadata,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Option<BTreeMap<String, Encoded>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    name: String,
    uid: String,
    #[serde(rename = "resourceVersion")]
    resource_version: String,
    /// An annotation of `kubectl apply` holds the whole Secret: only names are kept.
    annotations: Option<BTreeMap<String, IgnoredAny>>,
}

/// A list of Secrets, of which there is one at most.
#[derive(Deserialize)]
pub(super) struct List {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    items: Option<Vec<Object>>,
}

impl List {
    /// The Secret, if it is there, and the version at which the list was made.
    pub(super) fn from_json(json: &[u8]) -> Option<(Option<SecretVersion>, String)> {
        let list: Self = serde_json::from_slice(json).ok()?;
        let secret = list.items.unwrap_or_default().into_iter().next().map(Object::into_secret);
        match secret {
            Some(None) => None,
            secret => Some((secret.flatten(), list.metadata.resource_version)),
        }
    }
}

impl Object {
    pub(super) fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    pub(super) fn has_annotation(&self, name: &str) -> bool {
        self.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(name))
    }

    pub(super) fn into_secret(self) -> Option<SecretVersion> {
        let Metadata { name, uid, resource_version, .. } = self.metadata;
        if name.is_empty() || uid.is_empty() || resource_version.is_empty() {
            return None;
        }
        let data =
            self.data.unwrap_or_default().into_iter().map(|(name, mut entry)| (name, std::mem::take(&mut *entry.0)));
        let (kind, immutable) = (self.kind, self.immutable.unwrap_or(false));
        Some(SecretVersion { data: data.collect(), name, uid, resource_version, kind, immutable })
    }
}

/// An entry, decoded without a copy in between.
struct Encoded(Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Encoded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Encoded, E> {
                // The decoder's own error quotes a byte.
                let bytes = STANDARD.decode(text).map_err(|_| E::custom("not base64"))?;
                Ok(Encoded(Zeroizing::new(bytes)))
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Encoded, E> {
                Ok(Encoded(Zeroizing::default()))
            }
        }
        deserializer.deserialize_any(Base64).map_err(|_| D::Error::custom("an entry is not base64"))
    }
}

/// A merge patch of these entries, good for this version of the Secret alone.
pub(super) fn merge_patch(base: &SecretVersion, changes: &BTreeMap<String, Option<Vec<u8>>>) -> Vec<u8> {
    let entries = changes.iter().map(|(name, content)| (name.clone(), content.as_deref().map_or(Value::Null, encoded)));
    let patch = json!({
        "metadata": {"resourceVersion": base.resource_version, "uid": base.uid},
        "data": entries.collect::<serde_json::Map<_, _>>(),
    });
    into_wiped_bytes(patch)
}

fn encoded(content: &[u8]) -> Value {
    Value::String(STANDARD.encode(content))
}

fn into_wiped_bytes(mut document: Value) -> Vec<u8> {
    let bytes = document.to_string().into_bytes();
    for entry in document["data"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        if let Value::String(text) = entry {
            text.zeroize();
        }
    }
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn secret(uid: &str, resource_version: &str, entries: &[(&str, &str)]) -> SecretVersion {
        SecretVersion {
            name: "vestibule-keys".to_owned(),
            uid: uid.to_owned(),
            resource_version: resource_version.to_owned(),
            kind: "Opaque".to_owned(),
            immutable: false,
            data: entries.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect(),
        }
    }

    #[test]
    fn reads_what_the_api_server_sends() {
        let json = r#"{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "vestibule-keys", "namespace": "shop",
            "uid": "u1", "resourceVersion": "120", "annotations": {"a": "b"}, "managedFields": [{"manager": "x"}]},
            "data": {"keys.jwks": "e30=", "empty": "", "none": null}, "type": "Opaque", "immutable": true}"#;
        let read = SecretVersion::from_json(json.as_bytes()).expect("a Secret");
        assert_eq!((read.name(), read.uid(), read.resource_version()), ("vestibule-keys", "u1", "120"));
        assert!(read.is_immutable() && read.kind() == "Opaque");
        let entries: Vec<_> = read.data().iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
        assert_eq!(entries, [("empty", &b""[..]), ("keys.jwks", &b"{}"[..]), ("none", &b""[..])]);
        let without = r#"{"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}}"#;
        assert!(SecretVersion::from_json(without.as_bytes()).expect("a Secret without data").data().is_empty());
    }

    #[test]
    fn what_is_no_secret_is_none() {
        for json in [
            "",
            "{}",
            "[]",
            r#"{"metadata": {"name": "n", "uid": "u"}}"#,
            r#"{"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}, "data": {"a": "?"}}"#,
            r#"{"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}, "data": {"a": 7}}"#,
        ] {
            assert_eq!(SecretVersion::from_json(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn a_list_has_one_or_none() {
        let none = br#"{"kind": "SecretList", "metadata": {"resourceVersion": "9"}, "items": null}"#;
        assert_eq!(List::from_json(none), Some((None, "9".to_owned())));
        let one = br#"{"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "n", "uid": "u", "resourceVersion": "8"}}]}"#;
        let (secret, version) = List::from_json(one).expect("a list");
        assert_eq!((secret.expect("it is there").resource_version(), version.as_str()), ("8", "9"));
        assert_eq!(List::from_json(br#"{"items": [{}]}"#), None);
    }

    #[test]
    fn a_patch_carries_the_version_that_it_was_planned_on() {
        let changes = BTreeMap::from([("keys.jwks".to_owned(), Some(b"{}".to_vec())), ("old".to_owned(), None)]);
        let patch: Value = serde_json::from_slice(&merge_patch(&secret("u1", "120", &[]), &changes)).expect("JSON");
        let expected =
            json!({"metadata": {"resourceVersion": "120", "uid": "u1"}, "data": {"keys.jwks": "e30=", "old": null}});
        assert_eq!(patch, expected);
    }

    #[test]
    fn contents_are_not_printed() {
        let printed = format!("{:?}", secret("u1", "120", &[("users.yaml", "hunter2")]));
        assert!(printed.contains("users.yaml") && !printed.contains("hunter2"), "{printed}");
    }
}
