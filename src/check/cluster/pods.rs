//! The pods that hold a sidecar: time to end, service account, mounts by subPath.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{MOST, items, said, text};
use crate::check::finding::Finding;
use crate::check::{ends_within, termination};
use crate::config::Shutdown;
use crate::store::kubernetes::{Cluster, Fault, is_in_pod};

const PODS: &str = "pods";
/// Who reads more names has stopped reading.
const SHOWN: usize = 5;

/// What could be seen of a namespace's pods.
pub(super) struct Pods {
    /// With a sidecar in them, of the asker's service account if it is one.
    pub(super) with_sidecar: Vec<Value>,
    /// All others of the same service account; `None` where they may not be listed.
    others: Option<Vec<Value>>,
    /// Why nothing, or not all, was seen.
    why_not: Option<String>,
}

/// Lists the pods or, where that is not allowed, looks for the one that this process runs in.
pub(super) async fn find(cluster: &Cluster, account: Option<&str>) -> Pods {
    let path = format!("/api/v1/namespaces/{}/pods", cluster.namespace());
    match cluster.get_json(&format!("{path}?limit={MOST}")).await {
        Ok(list) => {
            let is_of_account = |pod: &&Value| account.is_none_or(|account| account_of(pod) == account);
            let pods = items(&list, "/items").filter(is_of_account).cloned();
            let (with_sidecar, others) = pods.partition(|pod| sidecar(pod).is_some());
            let is_cut = text(&list, "/metadata/continue").is_some_and(|rest| !rest.is_empty());
            let why_not = is_cut.then(|| format!("only the first {MOST} pods were looked at"));
            Pods { with_sidecar, others: Some(others), why_not }
        }
        Err(fault) => {
            let why_not = Some(format!("pods were not looked at, as they may not be listed ({})", said(&fault)));
            let own = own_pod(cluster, &path).await.ok().flatten();
            Pods { with_sidecar: own.into_iter().collect(), others: None, why_not }
        }
    }
}

async fn own_pod(cluster: &Cluster, path: &str) -> Result<Option<Value>, Fault> {
    let name = std::env::var("HOSTNAME").ok().filter(|name| crate::config::is_secret_name(name));
    match name.filter(|_| is_in_pod()) {
        Some(name) => cluster.get_json(&format!("{path}/{name}")).await.map(Some),
        None => Ok(None),
    }
}

pub(super) fn findings(pods: &Pods, account: Option<&str>, shutdown: &Shutdown) -> Vec<Finding> {
    let mut findings: Vec<Finding> = pods.why_not.iter().map(|why| Finding::note(PODS, why)).collect();
    if pods.with_sidecar.is_empty() {
        if pods.others.is_some() {
            findings.push(Finding::note(PODS, "none with a container `vestibule` was found"));
        }
        findings.push(termination(shutdown, true));
        return findings;
    }
    let named = |is_bad: &dyn Fn(&Value) -> bool| names(pods.with_sidecar.iter().filter(|pod| is_bad(pod)));
    let needed = ends_within(shutdown);
    let grace = |pod: &Value| pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30);
    findings.push(match named(&|pod| grace(pod) < needed) {
        Some(names) => Finding::warning(
            "shutdown",
            format!("ending may take {needed} s, and pods are killed sooner: {names}"),
            format!(
                "set terminationGracePeriodSeconds to {needed} at least, or shorten shutdown.delay or shutdown.grace"
            ),
        ),
        None => Finding::ok("shutdown", format!("ending may take {needed} s, and pods have that long")),
    });
    if account.is_none()
        && let Some(names) = named(&|pod| account_of(pod) == "default")
    {
        findings.push(Finding::warning(
            PODS,
            format!("run as the service account `default`, which every pod has that names none: {names}"),
            "give them a service account of their own (`serviceAccountName`)",
        ));
    }
    findings.extend(shared(pods));
    findings.extend(shared_by_workloads(pods));
    if let Some(names) = named(&|pod| has_sub_path(pod)) {
        findings.push(Finding::warning(
            "mounts",
            format!("the sidecar mounts a Secret or ConfigMap by subPath, which never follows updates: {names}"),
            "mount the whole Secret or ConfigMap as a directory instead of subPath",
        ));
    }
    if let Some(names) = named(&|pod| others_hold_the_token(pod)) {
        findings.push(Finding::warning(
            PODS,
            format!("the service account's token is mounted into the application's containers as well: {names}"),
            "set `automountServiceAccountToken: false`, and mount a projected token into the sidecar alone",
        ));
    }
    findings
}

/// Who else could do with the sidecar's rights what the sidecar can.
fn shared(pods: &Pods) -> Option<Finding> {
    let accounts: BTreeSet<&str> = pods.with_sidecar.iter().map(account_of).collect();
    let others = pods.others.iter().flatten().filter(|pod| accounts.contains(account_of(pod)));
    let names = names(others)?;
    Some(Finding::warning(
        PODS,
        format!("pods without a sidecar run as the same service account, with all its rights: {names}"),
        "give the sidecar's pods a service account of their own",
    ))
}

/// Workloads that are each other's key to the Secrets.
fn shared_by_workloads(pods: &Pods) -> Option<Finding> {
    let mut workloads: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for pod in &pods.with_sidecar {
        workloads.entry(account_of(pod)).or_default().insert(workload_of(pod));
    }
    workloads.retain(|account, workloads| *account != "default" && workloads.len() > 1);
    if workloads.is_empty() {
        return None;
    }
    let told = workloads.iter().map(|(account, workloads)| format!("{account} by {}", listed(workloads.iter())));
    Some(Finding::warning(
        PODS,
        format!(
            "several workloads run as one service account, and each can read and rotate what the others can: {}",
            listed(told)
        ),
        "give each workload a service account of its own, with a Role for its own Secrets",
    ))
}

/// The container that is the sidecar: by its name or its image's.
pub(super) fn sidecar(pod: &Value) -> Option<&Value> {
    let is_ours = |container: &&Value| {
        let image = text(container, "/image").unwrap_or_default();
        let image = image.rsplit('/').next().unwrap_or_default();
        text(container, "/name") == Some("vestibule") || image.split([':', '@']).next() == Some("vestibule")
    };
    containers(pod).find(is_ours)
}

/// Native sidecars are init containers.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    items(pod, "/spec/containers").chain(items(pod, "/spec/initContainers"))
}

pub(super) fn name(pod: &Value) -> &str {
    text(pod, "/metadata/name").unwrap_or("(without a name)")
}

/// The names of pods; `None` where there is no pod.
fn names<'a>(pods: impl Iterator<Item = &'a Value>) -> Option<String> {
    let mut pods = pods.peekable();
    pods.peek().is_some().then(|| listed(pods.map(name)))
}

fn listed(all: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::new();
    let mut more = 0;
    for (number, one) in all.enumerate() {
        if number >= SHOWN {
            more += 1;
            continue;
        }
        let parted = if number > 0 { ", " } else { "" };
        text.push_str(parted);
        text.push_str(one.as_ref());
    }
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// What made the pod, such as `Deployment shop`; a pod that nobody made is its own.
fn workload_of(pod: &Value) -> String {
    let controls = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let Some(owner) = items(pod, "/metadata/ownerReferences").find(controls) else {
        return format!("Pod {}", name(pod));
    };
    let (kind, name) = (text(owner, "/kind").unwrap_or_default(), text(owner, "/name").unwrap_or_default());
    // A Deployment's ReplicaSets differ by the hash of their template, two in the middle of a rollout.
    let hash = text(pod, "/metadata/labels/pod-template-hash").unwrap_or_default();
    match name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')) {
        Some(name) if kind == "ReplicaSet" && !hash.is_empty() => format!("Deployment {name}"),
        _ => format!("{kind} {name}"),
    }
}

fn account_of(pod: &Value) -> &str {
    text(pod, "/spec/serviceAccountName").unwrap_or("default")
}

fn has_sub_path(pod: &Value) -> bool {
    let is_watched =
        |volume: &&Value| volume.get("secret").or(volume.get("configMap")).or(volume.get("projected")).is_some();
    let watched: Vec<&str> =
        items(pod, "/spec/volumes").filter(is_watched).filter_map(|volume| text(volume, "/name")).collect();
    let by_sub_path = |mount: &Value| {
        let sub_path = text(mount, "/subPath").or(text(mount, "/subPathExpr")).unwrap_or_default();
        !sub_path.is_empty() && text(mount, "/name").is_some_and(|name| watched.contains(&name))
    };
    sidecar(pod).is_some_and(|container| items(container, "/volumeMounts").any(by_sub_path))
}

fn others_hold_the_token(pod: &Value) -> bool {
    const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let holds =
        |container: &&Value| items(container, "/volumeMounts").any(|mount| text(mount, "/mountPath") == Some(TOKEN));
    let own = sidecar(pod).and_then(|container| text(container, "/name"));
    // A sidecar without rights has none to share.
    sidecar(pod).as_ref().is_some_and(holds)
        && containers(pod).filter(|container| text(container, "/name") != own).any(|container| holds(&container))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::check::Severity;

    const SHUTDOWN: Shutdown = Shutdown { delay: Duration::from_secs(5), grace: Duration::from_secs(25) };

    fn pod(name: &str, grace: u64) -> Value {
        json!({
            "metadata": {
                "name": name, "labels": {"pod-template-hash": "7d9"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "shop-7d9", "controller": true}],
            },
            "spec": {
                "terminationGracePeriodSeconds": grace,
                "serviceAccountName": "shop",
                "containers": [{"name": "app", "image": "app"}, {"name": "x", "image": "registry.example.org/vestibule:1@sha256:0"}],
            },
        })
    }

    fn warned(pods: Vec<Value>, others: Vec<Value>) -> Vec<String> {
        let pods = Pods { with_sidecar: pods, others: Some(others), why_not: None };
        let found = findings(&pods, None, &SHUTDOWN).into_iter();
        found.filter(|found| found.severity == Severity::Warning).map(|found| found.message).collect()
    }

    #[test]
    fn a_pod_that_is_right_needs_no_word() {
        assert!(warned(vec![pod("a", 35)], Vec::new()).is_empty());
        assert!(sidecar(&pod("a", 35)).is_some());
        assert!(
            sidecar(&json!({"spec": {"containers": [{"name": "vestibule-ish", "image": "vestibules"}]}})).is_none()
        );
    }

    #[test]
    fn each_fault_of_a_pod_is_named() {
        assert_eq!(
            warned(vec![pod("a", 30), pod("b", 60)], Vec::new()),
            ["ending may take 35 s, and pods are killed sooner: a"]
        );
        let mut default = pod("a", 60);
        default["spec"]["serviceAccountName"] = Value::Null;
        assert!(warned(vec![default], Vec::new())[0].ends_with("that names none: a"));
        let other = json!({"metadata": {"name": "job"}, "spec": {"serviceAccountName": "shop", "containers": []}});
        assert!(warned(vec![pod("a", 60)], vec![other])[0].ends_with("with all its rights: job"));
        let mut mounted = pod("a", 60);
        mounted["spec"]["volumes"] =
            json!([{"name": "v", "secret": {"secretName": "s"}}, {"name": "e", "emptyDir": {}}]);
        mounted["spec"]["containers"][1]["volumeMounts"] = json!([{"name": "e", "subPath": "x", "mountPath": "/e"}]);
        assert!(warned(vec![mounted.clone()], Vec::new()).is_empty());
        mounted["spec"]["containers"][1]["volumeMounts"] = json!([{"name": "v", "subPath": "x", "mountPath": "/e"}]);
        assert!(warned(vec![mounted], Vec::new())[0].contains("by subPath"));
        let token = json!([{"name": "t", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
        let mut held = pod("a", 60);
        held["spec"]["containers"][0]["volumeMounts"] = token.clone();
        assert!(warned(vec![held.clone()], Vec::new()).is_empty());
        held["spec"]["containers"][1]["volumeMounts"] = token;
        assert!(warned(vec![held], Vec::new())[0].contains("token is mounted"));
    }

    #[test]
    fn workloads_that_share_an_account_are_named() {
        let of = |name: &str, owners: Value| {
            let mut pod = pod(name, 60);
            pod["metadata"]["ownerReferences"] = owners;
            pod
        };
        let made_by = |kind: &str, name: &str| json!([{"kind": kind, "name": name, "controller": true}]);
        let old = of("old", made_by("ReplicaSet", "shop-7d8"));
        let mut rollout = old.clone();
        rollout["metadata"]["labels"]["pod-template-hash"] = json!("7d8");
        assert!(warned(vec![pod("a", 60), pod("b", 60), rollout], Vec::new()).is_empty());
        let mut default = vec![of("c", made_by("StatefulSet", "db")), of("d", Value::Null)];
        for (pods, named) in [
            (vec![pod("a", 60), of("c", made_by("StatefulSet", "db"))], "shop by Deployment shop, StatefulSet db"),
            (vec![of("c", Value::Null), of("d", json!([{"kind": "Node", "name": "n"}]))], "shop by Pod c, Pod d"),
            (vec![pod("a", 60), old], "shop by Deployment shop, ReplicaSet shop-7d8"),
        ] {
            let warned = warned(pods, Vec::new());
            assert!(warned.len() == 1 && warned[0].ends_with(named), "{named}: {warned:?}");
        }
        // That every pod has it is told already.
        for pod in &mut default {
            pod["spec"]["serviceAccountName"] = Value::Null;
        }
        assert_eq!(warned(default, Vec::new()).len(), 1);
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let many: Vec<Value> = (0..7).map(|number| pod(&format!("p{number}"), 30)).collect();
        assert!(warned(many, Vec::new())[0].ends_with("p0, p1, p2, p3, p4 and 2 more"));
    }
}
