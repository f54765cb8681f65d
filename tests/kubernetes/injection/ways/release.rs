//! The Deployment of the chart vestibule, whose values are made from a pod.

use std::fs;

use serde_json::{Map, Value, json};

use super::super::chart::helm;
use super::super::pods::{Case, pod_of};
use super::{Made, annotation, by_number, run};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/vestibule");
const APPLICATION: &str = "application";

/// A pod as the chart can make it: the application's container comes first, is called `application`, and has its port
/// before others; probes have numbers; there is a ConfigMap.
pub(super) fn asked(case: &Case) -> Result<Value, &'static str> {
    if case.manifest["kind"] != "Deployment" {
        return Err("the chart makes Deployments");
    }
    let mut pod = case.pod.clone();
    let wanted = match annotation(&pod, "port") {
        "" => "http".to_owned(),
        port => port.to_owned(),
    };
    let number = wanted.parse::<u64>().ok();
    let is_wanted =
        |port: &Value| port["name"] == wanted.as_str() || number.is_some_and(|number| port["containerPort"] == number);
    let place = |container: &Value| container["ports"].as_array().and_then(|ports| ports.iter().position(is_wanted));
    let containers = pod["spec"]["containers"].as_array_mut().expect("containers");
    let found = containers.iter().enumerate().find_map(|(index, container)| Some((index, place(container)?)));
    let Some((index, port)) = found else {
        return Err("the port is a native sidecar's, and the chart's own pods have none in front of the application");
    };
    let mut application = containers.remove(index);
    let ports = application["ports"].as_array_mut().expect("ports");
    let port = ports.remove(port);
    ports.insert(0, port.clone());
    if let Some(name) = port["name"].as_str() {
        by_number(&mut application, name);
    }
    let called = std::mem::replace(&mut application["name"], APPLICATION.into());
    containers.insert(0, application);
    let annotations = pod["metadata"]["annotations"].as_object_mut().expect("annotations");
    let meant = annotations.get_mut("kubectl.kubernetes.io/default-container");
    if let Some(container) = meant.filter(|container| **container == called) {
        *container = APPLICATION.into();
    }
    let named = ["service-account", "instance"].iter().any(|name| !annotation(&pod, name).is_empty());
    if !named && pod["spec"]["serviceAccountName"].is_null() {
        pod["spec"]["serviceAccountName"] = case.name.as_str().into();
    }
    if annotation(&pod, "instance").is_empty() && annotation(&pod, "config").is_empty() {
        pod["metadata"]["annotations"]["vestibule.dev/config"] = "vestibule".into();
    }
    if annotation(&pod, "store") == "mounted" {
        pod["spec"]["automountServiceAccountToken"] = false.into();
    }
    Ok(pod)
}

pub(super) fn make(asked: &Value) -> Made {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("values.yaml");
    fs::write(&file, values(asked).to_string()).expect("a file");
    let mut helm = helm().expect("Helm has rendered the policies");
    let rendered = run(helm.args(["template", "api", CHART, "--kube-version=1.36", "--values"]).arg(&file));
    let documents = rendered.split("\n---\n").map(|document| serde_saphyr::from_str(document).expect("YAML"));
    let objects: Vec<Value> = documents.collect();
    let one = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect(kind);
    let text = one("ConfigMap")["data"]["vestibule.yaml"].as_str().expect("a configuration");
    Made { pod: pod_of(one("Deployment")), configuration: Some(serde_saphyr::from_str(text).expect("YAML")) }
}

fn values(pod: &Value) -> Value {
    let (spec, application) = (&pod["spec"], &pod["spec"]["containers"][0]);
    let or = |name: &str, default: &str| match annotation(pod, name) {
        "" => default.to_owned(),
        value => value.to_owned(),
    };
    let instance = annotation(pod, "instance");
    let named = |name: &str, ending: &str| match instance {
        "" => or(name, &format!("vestibule-{ending}")),
        instance => or(name, &format!("{instance}-{ending}")),
    };
    let users = named("users", "users");
    let users: Vec<_> = users.split(',').collect();
    let account = spec["serviceAccountName"].as_str().map_or_else(|| or("service-account", instance), str::to_owned);
    let port = &application["ports"][0];
    let (listen, admin) = (or("listen-port", "10443"), or("admin-port", "10444"));
    let mut values = json!({
        "fullnameOverride": or("config", instance),
        "store": or("store", "kubernetes"),
        "users": {"secret": users[0], "extraSecrets": users[1..]},
        "keys": {"secret": named("keys", "keys")},
        "tls": {"source": "secret", "secret": named("certificate", "tls")},
        "serviceAccount": {"create": false, "name": account},
        "config": {
            "listen": format!("0.0.0.0:{listen}"),
            "admin": format!("0.0.0.0:{admin}"),
            "upstream": format!("{}://127.0.0.1:{}", or("protocol", "http"), port["containerPort"]),
        },
        "sidecar": {"resources": {
            "requests": {"cpu": or("cpu-request", "10m"), "memory": or("memory-request", "32Mi")},
            "limits": {"memory": or("memory-limit", "128Mi")},
        }},
        "terminationGracePeriodSeconds": spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30).max(35),
        "podLabels": pod["metadata"]["labels"],
        "podAnnotations": pod["metadata"]["annotations"],
        "podSecurityContext": without(&["runAsNonRoot", "seccompProfile"], &spec["securityContext"]),
        "extraVolumes": list(&spec["volumes"]),
        "application": application_of(spec, application),
    });
    if !annotation(pod, "cpu-limit").is_empty() {
        values["sidecar"]["resources"]["limits"]["cpu"] = annotation(pod, "cpu-limit").into();
    }
    let passed_on = [
        "imagePullSecrets",
        "nodeSelector",
        "affinity",
        "tolerations",
        "topologySpreadConstraints",
        "priorityClassName",
        "runtimeClassName",
        "schedulerName",
        "hostAliases",
        "dnsPolicy",
        "dnsConfig",
    ];
    for field in passed_on {
        if !spec[field].is_null() {
            values[field] = spec[field].clone();
        }
    }
    values
}

fn application_of(spec: &Value, container: &Value) -> Value {
    let image = container["image"].as_str().expect("an image");
    let mut image = match image.split_once('@') {
        Some((repository, digest)) => json!({"repository": repository, "digest": digest}),
        None => {
            let (repository, tag) = image.rsplit_once(':').expect("a tag");
            json!({"repository": repository, "tag": tag})
        }
    };
    if !container["imagePullPolicy"].is_null() {
        image["pullPolicy"] = container["imagePullPolicy"].clone();
    }
    let defaults = ["allowPrivilegeEscalation", "capabilities", "runAsNonRoot", "seccompProfile"];
    let (ports, port) = (container["ports"].as_array().expect("ports"), &container["ports"][0]);
    let mut application = json!({
        "enabled": true,
        "image": image,
        "port": port["containerPort"],
        "portName": port["name"].as_str().unwrap_or("vestibule"),
        "extraPorts": ports[1..],
        "securityContext": without(&defaults, &container["securityContext"]),
        "initContainers": list(&spec["initContainers"]),
        "extraContainers": spec["containers"].as_array().expect("containers")[1..],
    });
    let passed_on = [
        "command",
        "args",
        "env",
        "envFrom",
        "resources",
        "startupProbe",
        "readinessProbe",
        "livenessProbe",
        "lifecycle",
        "volumeMounts",
    ];
    for field in passed_on.into_iter().filter(|field| !container[field].is_null()) {
        application[field] = container[field].clone();
    }
    application
}

/// A section of the values without what it has by default: null takes a default away.
fn without(defaults: &[&str], given: &Value) -> Value {
    let mut section: Map<_, _> = defaults.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    section.extend(given.as_object().cloned().unwrap_or_default());
    section.into()
}

fn list(value: &Value) -> Value {
    if value.is_null() { json!([]) } else { value.clone() }
}
