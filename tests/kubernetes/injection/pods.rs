//! The pods of tests/pods: what goes in, and what is to come out, whoever adds the sidecar.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cluster::Namespace;
use crate::support::Answer;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pods");
/// What the API server adds to a name that it makes itself.
const AUTOMATIC: &str = "kube-api-access-";

/// A manifest, and the pod that the API server makes of its template.
pub(super) struct Case {
    pub(super) name: String,
    /// The workload, or a pod by itself.
    pub(super) manifest: Value,
    /// The pod of the manifest's template, as the workload's controller posts it.
    pub(super) pod: Value,
    pub(super) folder: PathBuf,
}

/// A pod that is refused.
pub(super) struct Refused {
    pub(super) name: String,
    pub(super) pod: Value,
    /// The whole reason.
    pub(super) says: String,
    /// Whether it depends on what the API server adds by itself, which is not in a manifest.
    pub(super) is_policys: bool,
}

/// All folders of tests/pods, by name.
pub(super) fn cases() -> Vec<Case> {
    let mut folders: Vec<_> = fs::read_dir(FOLDER)
        .expect(FOLDER)
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders.iter().map(|folder| Case::read(folder)).collect()
}

/// All of tests/pods/refused.yaml.
pub(super) fn refused() -> Vec<Refused> {
    let table = read(&Path::new(FOLDER).join("refused.yaml"));
    let huge = "x".repeat(200_000);
    let cases = table["refused"].as_array().expect("a list").iter().map(|case| {
        let mut pod = table["pod"].clone();
        merge(&mut pod, &case["change"]);
        let pod = serde_json::from_str(&pod.to_string().replace("HUGE", &huge)).expect("JSON");
        let text = |member: &str| case[member].as_str().expect(member).to_owned();
        Refused { name: text("name"), pod, says: text("says"), is_policys: case["by"] == "policy" }
    });
    cases.collect()
}

/// A pod of the service account `default` with these annotations and one port, `http`.
pub(super) fn plain(annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain", "annotations": annotations},
        "spec": {"containers": [
            {"name": "plain", "image": "registry.example/plain:1", "ports": [{"name": "http", "containerPort": 8080}]},
        ]},
    })
}

/// What the API server would make of a pod.
pub(super) async fn dry_run(ns: &Namespace, pod: &Value) -> Answer {
    ns.admin().send("POST", &ns.path("pods?dryRun=All&fieldValidation=Strict"), Some(pod)).await
}

/// Makes the service accounts that these pods name, and `default`.
pub(super) async fn accounts(ns: &Namespace, pods: impl IntoIterator<Item = &Value>) {
    let mut names = BTreeSet::from(["default"]);
    for pod in pods {
        let annotations = &pod["metadata"]["annotations"];
        let named = [
            &pod["spec"]["serviceAccountName"],
            &annotations["vestibule.dev/service-account"],
            &annotations["vestibule.dev/instance"],
        ];
        names.extend(named.into_iter().filter_map(Value::as_str));
    }
    for name in names {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        let answer = ns.admin().send("POST", &ns.path("serviceaccounts"), Some(&account)).await;
        // Names that none can have are among those that are refused; the API server makes `default` where it is whole.
        assert!([201, 409, 422].contains(&answer.status), "{}", answer.text());
    }
}

pub(super) fn has_sidecar(pod: &Value) -> bool {
    pod["spec"]["initContainers"].as_array().is_some_and(|list| list.iter().any(|one| one["name"] == "vestibule"))
}

/// A pod without what differs each time: what the API server makes up, and where it was made.
pub(super) fn settled(pod: &Value) -> Value {
    let mut metadata = serde_json::Map::new();
    for member in ["labels", "annotations"] {
        if !pod["metadata"][member].is_null() {
            metadata.insert(member.to_owned(), pod["metadata"][member].clone());
        }
    }
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"].clone()}).to_string();
    while let Some((before, after)) = pod.split_once(AUTOMATIC)
        && let Some((_, rest)) = after.split_once('"')
    {
        pod = format!("{before}KUBE-API-ACCESS\"{rest}");
    }
    let mut pod: Value = serde_json::from_str(&pod.replace("KUBE-API-ACCESS", "kube-api-access-x")).expect("JSON");
    // Their order means nothing, and depends on when the API server adds its own.
    if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
        volumes.sort_by_key(|volume| volume["name"].to_string());
    }
    pod
}

/// The pod that a workload's controller makes of its template.
pub(super) fn pod_of(manifest: &Value) -> Value {
    let template = match manifest["kind"].as_str() {
        Some("Pod") => manifest,
        Some("CronJob") => &manifest["spec"]["jobTemplate"]["spec"]["template"],
        Some(_) => &manifest["spec"]["template"],
        None => panic!("no kind: {manifest}"),
    };
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = manifest["metadata"]["name"].clone();
    if pod["spec"]["restartPolicy"].is_null() {
        pod["spec"]["restartPolicy"] = "Always".into();
    }
    // Of the set's first pod; they count over the template's own.
    for claim in manifest["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let (name, set) = (&claim["metadata"]["name"], &manifest["metadata"]["name"]);
        let claim = format!("{}-{}-0", name.as_str().expect("a name"), set.as_str().expect("a name"));
        let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": claim}});
        match pod["spec"]["volumes"].as_array_mut() {
            Some(volumes) => {
                volumes.retain(|volume| volume["name"] != *name);
                volumes.push(volume);
            }
            None => pod["spec"]["volumes"] = json!([volume]),
        }
    }
    pod
}

impl Case {
    fn read(folder: &Path) -> Self {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name of ASCII").to_owned();
        let manifest = read(&folder.join("input.yaml"));
        Self { name, pod: pod_of(&manifest), manifest, folder: folder.to_owned() }
    }

    pub(super) fn expected(&self) -> Value {
        read(&self.folder.join("expected.yaml"))
    }

    pub(super) fn expect(&self, pod: &Value) {
        fs::write(self.folder.join("expected.yaml"), serde_saphyr::to_string(pod).expect("YAML")).expect("a file");
    }
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("made one above").remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}
