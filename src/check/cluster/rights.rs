//! The rights of the sidecar's service account: what it lacks, and what it has and does not need.

use serde_json::{Value, json};

use super::{Names, items, said, text};
use crate::check::finding::Finding;
use crate::store::kubernetes::{Cluster, Fault};

const RIGHTS: &str = "rights";
/// What reading and following takes, and what rotating takes besides.
const READING: [&str; 3] = ["get", "list", "watch"];
const WRITING: &str = "patch";
/// Who reads more rights has stopped reading.
const SHOWN: usize = 10;

/// As whom the API server knows us.
pub(super) struct Asker {
    pub(super) name: String,
    pub(super) account: Option<Account>,
}

/// A service account.
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
}

pub(super) async fn asker(cluster: &Cluster) -> Result<Asker, Fault> {
    let group = "authentication.k8s.io/v1";
    let question = json!({"apiVersion": group, "kind": "SelfSubjectReview"});
    let told = cluster.post_json(&format!("/apis/{group}/selfsubjectreviews"), &question).await?;
    let name = text(&told, "/status/userInfo/username").unwrap_or("(nobody)").to_owned();
    let parts = name.strip_prefix("system:serviceaccount:").and_then(|parts| parts.split_once(':'));
    let account = parts.map(|(namespace, name)| Account { namespace: namespace.to_owned(), name: name.to_owned() });
    Ok(Asker { name, account })
}

/// Also returns the Secrets that are known not to be writable.
pub(super) async fn findings(cluster: &Cluster, names: &Names, asker: &Asker) -> (Vec<Finding>, Vec<String>) {
    let namespace = cluster.namespace();
    let Some(account) = &asker.account else {
        let note = format!(
            "not looked at: {} is no service account; `--as system:serviceaccount:{namespace}:NAME` looks at a sidecar's",
            asker.name
        );
        return (vec![Finding::note(RIGHTS, note)], Vec::new());
    };
    let mut findings = Vec::new();
    let mut read_only = Vec::new();
    let reading = names.all().flat_map(|name| READING.map(|verb| (verb, name)));
    for (verb, name) in reading.chain(names.written.iter().map(|name| (WRITING, name))) {
        match is_allowed(cluster, verb, name).await {
            Ok(true) => {}
            Ok(false) => {
                if verb == WRITING {
                    read_only.push(name.clone());
                }
                findings.push(Finding::error(
                    RIGHTS,
                    format!("{} may not `{verb}` Secret {namespace}/{name}", asker.name),
                    format!(
                        "allow `{verb}` on `secrets` with resourceNames [{name}] in a Role of namespace {namespace}"
                    ),
                ));
            }
            Err(fault) => {
                return (vec![Finding::note(RIGHTS, format!("not looked at: {}", said(&fault)))], Vec::new());
            }
        }
    }
    if account.name == "default" {
        findings.push(Finding::warning(
            RIGHTS,
            format!("the service account is {}/default, which every pod has that names none", account.namespace),
            "give the sidecar's pod a service account of its own (`serviceAccountName`)",
        ));
    }
    findings.extend(match rules(cluster).await {
        Ok(rules) => {
            let excess = excess(&rules, names);
            let shown = excess.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
            let more = excess.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let wide = (!excess.is_empty()).then(|| {
                Finding::warning(
                    RIGHTS,
                    format!("{} may do what no sidecar needs: {shown}{more}", asker.name),
                    "take it out of the Roles and ClusterRoles that are bound to it",
                )
            });
            let incomplete = rules.pointer("/status/incomplete") == Some(&Value::Bool(true));
            let note = "the API server does not tell all rights: there may be more than a sidecar needs";
            wide.into_iter().chain(incomplete.then(|| Finding::note(RIGHTS, note))).collect::<Vec<_>>()
        }
        Err(fault) => {
            vec![Finding::note(RIGHTS, format!("whether there are too many was not looked at: {}", said(&fault)))]
        }
    });
    if findings.is_empty() {
        findings.push(Finding::ok(RIGHTS, format!("{} may do what it needs and no more", asker.name)));
    }
    (findings, read_only)
}

async fn is_allowed(cluster: &Cluster, verb: &str, name: &str) -> Result<bool, Fault> {
    let attributes = json!({
        "namespace": cluster.namespace(), "verb": verb, "group": "", "resource": "secrets", "name": name,
    });
    let told = review(cluster, "SelfSubjectAccessReview", &json!({"resourceAttributes": attributes})).await?;
    Ok(told.pointer("/status/allowed") == Some(&Value::Bool(true)))
}

async fn rules(cluster: &Cluster) -> Result<Value, Fault> {
    review(cluster, "SelfSubjectRulesReview", &json!({"namespace": cluster.namespace()})).await
}

async fn review(cluster: &Cluster, kind: &str, spec: &Value) -> Result<Value, Fault> {
    let group = "authorization.k8s.io/v1";
    let question = json!({"apiVersion": group, "kind": kind, "spec": spec});
    cluster.post_json(&format!("/apis/{group}/{}s", kind.to_ascii_lowercase()), &question).await
}

/// Each right that goes beyond what a sidecar needs, in words.
fn excess(rules: &Value, names: &Names) -> Vec<String> {
    let mut excess = Vec::new();
    for rule in items(rules, "/status/resourceRules") {
        let strings = |member| items(rule, member).filter_map(Value::as_str).collect::<Vec<_>>();
        let (verbs, groups) = (strings("/verbs"), strings("/apiGroups"));
        let (resources, objects) = (strings("/resources"), strings("/resourceNames"));
        // Everybody may ask who he is and what he may do.
        if groups.iter().all(|group| ["authorization.k8s.io", "authentication.k8s.io"].contains(group)) {
            continue;
        }
        let is_core = groups.iter().any(|group| ["", "*"].contains(group));
        let said = |verbs: &[&str]| verbs.iter().map(|verb| format!("`{verb}`")).collect::<Vec<_>>().join(", ");
        for resource in resources {
            let all = format!("{} on all {resource}", said(&verbs));
            match objects.as_slice() {
                [] if is_core && resource == "secrets" => excess.push(format!("{} of the namespace", all)),
                [] => excess.push(all),
                objects if is_core && resource == "secrets" => {
                    for object in objects {
                        let beyond: Vec<&str> =
                            verbs.iter().copied().filter(|verb| !names.need(verb, object)).collect();
                        if !beyond.is_empty() {
                            excess.push(format!("{} on Secret {object}", said(&beyond)));
                        }
                    }
                }
                objects => excess.push(format!("{} on {resource} {}", said(&verbs), objects.join(", "))),
            }
        }
    }
    excess
}

impl Names {
    fn need(&self, verb: &str, name: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|own| own == name);
        let is_written = is_in(&self.written);
        (READING.contains(&verb) && (is_written || is_in(&self.read))) || (verb == WRITING && is_written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_sidecar_needs_is_named() {
        let names = Names { read: vec!["users".to_owned()], written: vec!["keys".to_owned()] };
        let rule = |verbs: Value, groups: Value, resources: Value, objects: Value| json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": objects});
        let core = || json!([""]);
        for (rule, expected) in [
            (rule(json!(["get", "list", "watch"]), core(), json!(["secrets"]), json!(["users", "keys"])), &[][..]),
            (rule(json!(["patch"]), core(), json!(["secrets"]), json!(["keys"])), &[]),
            (
                rule(
                    json!(["create"]),
                    json!(["authorization.k8s.io"]),
                    json!(["selfsubjectaccessreviews"]),
                    json!([]),
                ),
                &[],
            ),
            (rule(json!(["patch"]), core(), json!(["secrets"]), json!(["users"])), &["`patch` on Secret users"]),
            (
                rule(json!(["get", "delete", "*"]), core(), json!(["secrets"]), json!(["keys", "other"])),
                &["`delete`, `*` on Secret keys", "`get`, `delete`, `*` on Secret other"],
            ),
            (
                rule(json!(["list"]), core(), json!(["secrets"]), Value::Null),
                &["`list` on all secrets of the namespace"],
            ),
            (rule(json!(["*"]), json!(["*"]), json!(["*"]), json!([])), &["`*` on all *"]),
            (
                rule(json!(["get"]), core(), json!(["pods", "configmaps"]), json!(["a"])),
                &["`get` on pods a", "`get` on configmaps a"],
            ),
        ] {
            assert_eq!(excess(&json!({"status": {"resourceRules": [rule]}}), &names), expected, "{rule}");
        }
        assert!(excess(&json!({}), &names).is_empty());
    }
}
