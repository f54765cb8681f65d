//! The values of charts/vestibule-injector: those that change the pods, and those that are refused.

use serde_json::{Value, json};

use super::chart::{Policies, lint, render};
use super::pods::{accounts, dry_run, plain};
use crate::cluster::namespace;

#[test]
fn older_clusters_are_refused_and_told_what_to_do() {
    for kubernetes in ["1.35.9", "1.29.0", "v1.35.4-gke.100"] {
        let Some(rendered) = render("test", kubernetes, &json!({})) else { return };
        let error = rendered.expect_err(kubernetes);
        for words in ["needs Kubernetes 1.36 or later", "vestibule inject", "kustomize", kubernetes] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
    for kubernetes in ["1.36.0", "v1.36.3-eks-1", "1.37.2", "2.0.0"] {
        assert!(render("test", kubernetes, &json!({})).expect("Helm is there").is_ok(), "{kubernetes}");
    }
}

#[test]
fn values_that_are_wrong_are_refused_by_name() {
    for (key, value, named) in [
        ("imag", json!({}), "imag"),
        ("image", json!({"repository": ""}), "image/repository"),
        ("image", json!({"repository": "vestibule' + 'x"}), "image/repository"),
        ("image", json!({"repository": "vestibule", "digest": "sha256:0"}), "image/digest"),
        ("image", json!({"repository": "vestibule", "pullPolicy": "Sometimes"}), "image/pullPolicy"),
        ("imagePullSecrets", json!([{"name": "registry"}]), "imagePullSecrets"),
        ("defaults.port", json!(8080), "defaults/port"),
        ("defaults.port", json!("HTTP"), "defaults/port"),
        ("defaults.listenPort", json!("10443"), "defaults/listenPort"),
        ("defaults.listenPort", json!(443), "defaults/listenPort"),
        ("defaults.store", json!("vault"), "defaults/store"),
        ("defaults.users", json!(["a", "b"]), "defaults/users"),
        ("defaults.secret", json!("x"), "secret"),
        ("listenAddress", json!("localhost"), "listenAddress"),
        ("resources.limits.memory", json!("128"), "resources/limits/memory"),
        ("resources.claims", json!([]), "claims"),
        ("user", json!(0), "user"),
        ("preStopSeconds", json!(0), "preStopSeconds"),
        ("namespaceSelector", json!({"matchLabel": {}}), "matchLabel"),
        ("defaults.adminPort", json!(10443), "defaults.listenPort and defaults.adminPort"),
        ("defaults.keys", json!("vestibule-users"), "defaults.users and defaults.keys"),
    ] {
        let Some(rendered) = render("test", "1.36.0", &json!({key: value})) else { return };
        let error = rendered.expect_err(&format!("{key}: {value}"));
        assert!(error.contains(named), "{key}: {value}: {error}");
    }
}

#[test]
fn helm_finds_nothing_wrong() {
    let Some(found) = lint() else { return };
    assert_eq!(found, Ok(()));
}

#[tokio::test]
async fn values_are_in_every_pod() {
    let Some(ns) = namespace().await else { return };
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let values = json!({
        "image": {"repository": "registry.example:5000/security/vestibule", "digest": digest, "pullPolicy": "Always"},
        "imagePullSecrets": ["mine", "registry"],
        "defaults.port": "web",
        "defaults.protocol": "h2c",
        "defaults.listenPort": 20443,
        "defaults.adminPort": 20444,
        "defaults.store": "mounted",
        "defaults.users": "people",
        "defaults.keys": "ring",
        "defaults.certificate": "gate.example.org",
        "listenAddress": "[::]",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
        "user": 2_147_483_647,
        "preStopSeconds": 20,
    });
    let mut pod = plain(&json!({"vestibule.dev/inject": "true"}));
    pod["spec"]["containers"][0]["ports"] = json!([{"name": "web", "containerPort": 8080}]);
    pod["spec"]["imagePullSecrets"] = json!([{"name": "registry"}]);
    accounts(&ns, [&pod]).await;
    let Some(policies) = Policies::install(&ns, &values).await else { return };
    let answer = dry_run(&ns, &pod).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    let (spec, sidecar) = (&made["spec"], &made["spec"]["initContainers"][0]);
    let volume = |name: &str| {
        let volumes = spec["volumes"].as_array().expect("volumes");
        volumes.iter().find(|volume| volume["name"] == name).unwrap_or(&Value::Null).clone()
    };
    for (found, wanted) in [
        (sidecar["image"].clone(), json!(format!("registry.example:5000/security/vestibule@{digest}"))),
        (sidecar["imagePullPolicy"].clone(), json!("Always")),
        (sidecar["ports"][0]["name"].clone(), json!("web")),
        (sidecar["ports"][0]["containerPort"].clone(), json!(20443)),
        (sidecar["ports"][1]["containerPort"].clone(), json!(20444)),
        (sidecar["resources"]["limits"].clone(), json!({"cpu": "2", "memory": "2Gi"})),
        (sidecar["resources"]["requests"].clone(), json!({"cpu": "1", "memory": "1Gi"})),
        (sidecar["securityContext"]["runAsUser"].clone(), json!(2_147_483_647)),
        (
            sidecar["args"].clone(),
            json!([
                "serve",
                "--listen=[::]:20443",
                "--admin=[::]:20444",
                "--upstream=h2c://127.0.0.1:8080",
                "--store-directory-users=/etc/vestibule/users",
                "--store-directory-keys=/etc/vestibule/keys",
                "--shutdown-delay=0s",
            ]),
        ),
        (volume("vestibule-users")["secret"]["secretName"].clone(), json!("people")),
        (volume("vestibule-keys")["secret"]["secretName"].clone(), json!("ring")),
        (volume("vestibule-tls")["secret"]["secretName"].clone(), json!("gate.example.org")),
        (spec["imagePullSecrets"].clone(), json!([{"name": "registry"}, {"name": "mine"}])),
        (spec["terminationGracePeriodSeconds"].clone(), json!(50)),
        (spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].clone(), json!(20)),
    ] {
        assert_eq!(found, wanted, "{spec}");
    }
    policies.uninstall().await;
}
