//! The kustomize component, beside deploy/manifests/beside.yaml.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::pods::{Case, cases, pod_of};
use super::{Made, by_number, run};
use crate::cluster::kubectl;
use crate::support::skipped;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
/// Whose names the component has.
const INSTANCE: &str = "vestibule";
/// What the component does otherwise than these say: it does not read the template's annotations.
const READ: [&str; 3] = ["vestibule.dev/inject", "vestibule.dev/instance", "vestibule.dev/service-account"];

/// A pod as the component's head asks for it: the first port of the first container is called `http`, probes have
/// numbers, each container its own `preStop`, the pod time enough to end. Account and Secrets have the component's names.
pub(super) fn asked(case: &Case) -> Result<Value, &'static str> {
    if !is_looked_at(case) {
        return Err("it looks at Deployments, StatefulSets and DaemonSets");
    }
    let mut pod = case.pod.clone();
    let port = &pod["spec"]["containers"][0]["ports"][0];
    if port["name"] != "http" || !port["hostPort"].is_null() {
        return Err("the first container's first port is another, or one of the node: the build ends with an error");
    }
    let annotations = pod["metadata"]["annotations"].as_object_mut().expect("annotations");
    if annotations.keys().any(|name| name.starts_with("vestibule.dev/") && !READ.contains(&name.as_str())) {
        return Err("it reads no settings from annotations");
    }
    annotations.remove("vestibule.dev/service-account");
    annotations.insert("vestibule.dev/instance".to_owned(), INSTANCE.into());
    let spec = pod["spec"].as_object_mut().expect("a spec");
    spec.remove("serviceAccountName");
    let seconds = spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30);
    spec.insert("terminationGracePeriodSeconds".to_owned(), seconds.max(35).into());
    for container in spec["containers"].as_array_mut().expect("containers") {
        by_number(container, "http");
        if container["lifecycle"]["preStop"].is_null() {
            container["lifecycle"]["preStop"] = json!({"sleep": {"seconds": 5}});
        }
    }
    Ok(pod)
}

fn is_looked_at(case: &Case) -> bool {
    ["Deployment", "StatefulSet", "DaemonSet"].contains(&case.manifest["kind"].as_str().unwrap_or_default())
}

pub(super) fn make(case: &Case, asked: &Value) -> Made {
    let built = run(Command::new(kubectl()).arg("kustomize").arg(overlay(&case.manifest, asked).path()));
    let manifest: Value = serde_saphyr::from_str(&built).unwrap_or_else(|error| panic!("{error}: {built}"));
    let text = fs::read_to_string(Path::new(DEPLOY).join("manifests/beside.yaml")).expect("manifests");
    let objects = text.split("\n---\n").map(|document| serde_saphyr::from_str(document).expect("YAML"));
    let beside = objects.filter(|object: &Value| object["kind"] == "ConfigMap").find_map(|object| {
        let text = object["data"]["vestibule.yaml"].as_str()?;
        serde_saphyr::from_str::<Value>(text).ok()
    });
    let mut configuration = beside.expect("a ConfigMap");
    // Where the application listens, its owner writes into it.
    assert_eq!(configuration["upstream"], "http://127.0.0.1:8080");
    let port = &asked["spec"]["containers"][0]["ports"][0]["containerPort"];
    configuration["upstream"] = format!("http://127.0.0.1:{port}").into();
    Made { pod: pod_of(&manifest), configuration: Some(configuration) }
}

/// The workload with this pod, and what adds the component to it.
fn overlay(manifest: &Value, pod: &Value) -> TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let mut manifest = manifest.clone();
    manifest["metadata"]["annotations"]["vestibule.dev/inject"] = "true".into();
    manifest["spec"]["template"]["spec"] = pod["spec"].clone();
    manifest["spec"]["template"]["metadata"]["annotations"] = pod["metadata"]["annotations"].clone();
    let kustomization = json!({"resources": ["workload.yaml"], "components": ["component"]});
    // A component is named by a relative path.
    fs::create_dir(folder.path().join("component")).expect("a directory");
    for entry in fs::read_dir(Path::new(DEPLOY).join("kustomize/component")).expect("the component") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), folder.path().join("component").join(entry.file_name())).expect("a copy");
    }
    fs::write(folder.path().join("workload.yaml"), manifest.to_string()).expect("a file");
    fs::write(folder.path().join("kustomization.yaml"), kustomization.to_string()).expect("a file");
    folder
}

/// What it is not for would lose its account, or be open past the sidecar.
#[test]
fn the_component_ends_the_build_for_pods_of_another_shape() {
    if Command::new(kubectl()).args(["version", "--client"]).output().is_err() {
        skipped("kubectl: run tests/kubernetes/build");
        return;
    }
    let built = |manifest: &Value, pod: &Value| {
        let output =
            Command::new(kubectl()).arg("kustomize").arg(overlay(manifest, pod).path()).output().expect("it starts");
        let is_built = output.status.success();
        assert_eq!(is_built, !output.stdout.is_empty());
        (is_built, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let cases = cases();
    let mut others = 0;
    for case in cases.iter().filter(|case| is_looked_at(case)) {
        let port = &case.pod["spec"]["containers"][0]["ports"][0];
        if port["name"] == "http" && port["hostPort"].is_null() {
            continue;
        }
        others += 1;
        let mut pod = case.pod.clone();
        pod["spec"].as_object_mut().expect("a spec").remove("serviceAccountName");
        let (is_built, stderr) = built(&case.manifest, &pod);
        assert!(!is_built && stderr.contains("/spec/template/spec/containers/0/ports"), "{}: {stderr}", case.name);
    }
    assert!(others >= 8, "{others}");

    let case = cases.iter().find(|case| case.name == "probes-by-name").expect("a case");
    let pod = asked(case).expect("a pod that it is for");
    assert!(built(&case.manifest, &pod).0);
    for (field, value) in [
        ("/serviceAccountName", json!("shop")),
        ("/hostNetwork", json!(true)),
        ("/hostPID", json!(true)),
        ("/shareProcessNamespace", json!(true)),
        ("/containers/0/ports/0/hostPort", json!(80)),
    ] {
        let (parent, name) = field.rsplit_once('/').expect("a path");
        let mut pod = pod.clone();
        let parent = pod["spec"].pointer_mut(parent).expect("it is there");
        parent[name] = value;
        let (is_built, stderr) = built(&case.manifest, &pod);
        assert!(!is_built && stderr.contains(field), "{field}: {stderr}");
    }
}
