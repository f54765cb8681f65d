//! The admission policies of charts/vestibule-injector, on the pods of tests/pods.

mod chart;
mod command;
mod figures;
mod pods;
mod values;
mod ways;

use serde_json::{Value, json};

use self::chart::Policies;
use self::pods::{accounts, cases, dry_run, has_sidecar, plain, refused, settled};
use crate::cluster::{Namespace, namespace};
use crate::support::eventually;

/// Writes what the API server makes of each pod in place of what it should: for a change that is meant.
const UPDATE: &str = "UPDATE_PODS";

#[tokio::test]
async fn pods_of_all_shapes_get_the_sidecar() {
    let Some(ns) = namespace().await else { return };
    let cases = cases();
    accounts(&ns, cases.iter().map(|case| &case.pod)).await;
    let Some(policies) = Policies::install(&ns, &json!({})).await else { return };
    let mut wrong = Vec::new();
    for case in &cases {
        let answer = dry_run(&ns, &case.pod).await;
        assert_eq!(answer.status, 201, "{}: {}", case.name, answer.text());
        let made = settled(&answer.json());
        if std::env::var_os(UPDATE).is_some() {
            case.expect(&made);
        } else {
            differences(&case.name, &made, &case.expected(), &mut wrong);
        }
        // As it comes out it may go in, such as from `kubectl get -o yaml`.
        let mut again = made.clone();
        again["metadata"]["name"] = "again".into();
        let answer = dry_run(&ns, &again).await;
        assert_eq!(answer.status, 201, "{} again: {}", case.name, answer.text());
        differences(&format!("{} again", case.name), &settled(&answer.json()), &made, &mut wrong);
    }
    policies.uninstall().await;
    assert!(cases.len() >= 20, "{}", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_cannot_be_protected_is_refused_and_told_why() {
    let Some(ns) = namespace().await else { return };
    let refused = refused();
    accounts(&ns, refused.iter().map(|case| &case.pod)).await;
    let Some(policies) = Policies::install(&ns, &json!({})).await else { return };
    let said = format!(
        "pods \"refused\" is forbidden: ValidatingAdmissionPolicy '{0}' with binding '{0}' denied request: ",
        ns.name
    );
    let mut wrong = Vec::new();
    for case in &refused {
        let answer = dry_run(&ns, &case.pod).await;
        let status = if answer.status == 201 { json!({}) } else { answer.json() };
        let message = status["message"].as_str().unwrap_or("admitted");
        if message.strip_prefix(&said) != Some(&case.says) {
            wrong.push(format!("{}:\n  expected {}\n  told     {message}", case.name, case.says));
        }
    }
    policies.uninstall().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A reason without such a pod would be a guard that nothing shows to be there.
#[test]
fn each_reason_has_a_pod_that_is_refused_for_it() {
    let Some(rendered) = chart::render("test", "1.36.0", &json!({})) else { return };
    let objects = rendered.expect("the chart is rendered");
    let policy = objects.iter().find(|object| object["kind"] == "ValidatingAdmissionPolicy").expect("a policy");
    let said: Vec<_> = refused().into_iter().map(|case| case.says).collect();
    let mut reasons = 0;
    for variable in policy["spec"]["variables"].as_array().expect("variables") {
        let expression = chart::text(&variable["expression"]).replace("\\'", "\u{2019}");
        // Every other part is a text; reasons are the long ones with blanks in them.
        for text in expression.split('\'').skip(1).step_by(2).filter(|text| text.len() > 30 && text.contains(' ')) {
            let text = text.replace('\u{2019}', "'");
            assert!(said.iter().any(|said| said.contains(&text)), "no pod is refused for: {text}");
            reasons += 1;
        }
    }
    assert!(reasons > 40, "{reasons}");
}

#[tokio::test]
async fn other_pods_are_not_touched() {
    let Some(ns) = namespace().await else { return };
    let other = ns.another().await;
    let mut pods: Vec<_> = cases().into_iter().map(|case| case.pod).collect();
    for pod in &mut pods {
        pod["metadata"]["annotations"] = json!({"prometheus.io/scrape": "true", "example/vestibule.dev": "x"});
    }
    accounts(&ns, &pods).await;
    accounts(&other, &pods).await;
    let Some(policies) = Policies::install(&ns, &json!({})).await else { return };
    let evaluations = async || {
        let labels = [("policy", ns.name.as_str())];
        ns.admin().metric("apiserver_mutating_admission_policy_check_total", &labels).await
            + ns.admin().metric("apiserver_validating_admission_policy_check_total", &labels).await
    };
    let before = evaluations().await;
    for pod in &pods {
        let (with, without) = (dry_run(&ns, pod).await, dry_run(&other, pod).await);
        assert_eq!((with.status, without.status), (201, 201), "{} {}", with.text(), without.text());
        assert_eq!(settled(&with.json()).to_string(), settled(&without.json()).to_string());
    }
    assert_eq!(evaluations().await, before, "no expression but the match conditions is evaluated for them");
    let declines = plain(&json!({"vestibule.dev/inject": "false", "vestibule.dev/port": "8080"}));
    let answer = dry_run(&ns, &declines).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(!has_sidecar(&answer.json()));
    let asks = plain(&json!({"vestibule.dev/inject": "true", "vestibule.dev/store": "mounted"}));
    assert!(has_sidecar(&dry_run(&ns, &asks).await.json()));
    assert!(evaluations().await > before, "the counter counts");
    policies.uninstall().await;
}

#[tokio::test]
async fn a_namespace_may_require_the_sidecar() {
    let Some(ns) = namespace().await else { return };
    let cases = cases();
    accounts(&ns, cases.iter().map(|case| &case.pod)).await;
    let Some(policies) = Policies::install(&ns, &json!({})).await else { return };
    let label = async |value: Value| {
        let labels = json!({"metadata": {"labels": {"vestibule.dev/require": value}}});
        ns.admin().patch(&format!("/api/v1/namespaces/{}", ns.name), &labels).await;
    };
    let without = plain(&json!({}));
    let status = async |pod: &Value| dry_run(&ns, pod).await.status;
    label("true".into()).await;
    eventually("a refusal", async || (status(&without).await == 403).then_some(())).await;
    let message = dry_run(&ns, &without).await.json()["message"].to_string();
    let wanted = format!("namespace {} is labelled vestibule.dev/require, and this pod has no sidecar", ns.name);
    assert!(message.contains(&wanted), "{message}");
    assert_eq!(status(&plain(&json!({"vestibule.dev/inject": "false"}))).await, 403);
    // A container that is only called so.
    let mut decoy = plain(&json!({}));
    decoy["spec"]["initContainers"] = json!([{"name": "vestibule", "image": "vestibule:1", "args": ["serve"]}]);
    assert_eq!(status(&decoy).await, 403);
    // What is wrong is said as elsewhere.
    let answer = dry_run(&ns, &plain(&json!({"vestibule.dev/inject": "true", "vestibule.dev/store": "vault"}))).await;
    assert!(answer.json()["message"].to_string().contains("annotation vestibule.dev/store is not known"));
    for case in &cases {
        let mut pod = case.pod.clone();
        let answer = dry_run(&ns, &pod).await;
        assert_eq!(answer.status, 201, "{}: {}", case.name, answer.text());
        // With the sidecar in its manifest it needs no annotation.
        pod["spec"] = answer.json()["spec"].clone();
        pod["metadata"]["annotations"] = json!({});
        assert_eq!(status(&pod).await, 201, "{}", case.name);
    }
    label("yes".into()).await;
    assert_eq!(status(&without).await, 403, "a label that is misspelt does not open the namespace");
    for value in [json!("false"), Value::Null] {
        label("true".into()).await;
        eventually("a refusal", async || (status(&without).await == 403).then_some(())).await;
        label(value).await;
        eventually("a pod", async || (status(&without).await == 201).then_some(())).await;
    }
    policies.uninstall().await;
}

#[tokio::test]
async fn nothing_starts_unprotected_where_half_of_it_is_missing() {
    let Some(ns) = namespace().await else { return };
    let asked = plain(&json!({"vestibule.dev/inject": "true", "vestibule.dev/store": "mounted"}));
    accounts(&ns, [&asked]).await;
    let Some(policies) = Policies::install(&ns, &json!({})).await else { return };
    policies.remove("mutatingadmissionpolicybindings").await;
    let message = eventually("a refusal", async || {
        let answer = dry_run(&ns, &asked).await;
        (answer.status == 403).then(|| answer.json()["message"].to_string())
    })
    .await;
    assert!(message.contains("the sidecar was not added: the MutatingAdmissionPolicy"), "{message}");
    assert_eq!(dry_run(&ns, &plain(&json!({}))).await.status, 201);
    // Without the chart pods start as they did before.
    policies.uninstall().await;
    let made = eventually("a pod", async || {
        let answer = dry_run(&ns, &asked).await;
        (answer.status == 201).then(|| answer.json())
    })
    .await;
    assert!(!has_sidecar(&made));
}

#[tokio::test]
async fn the_sidecar_passes_the_strictest_pod_security() {
    let Some(ns) = namespace().await else { return };
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    ns.admin().patch(&format!("/api/v1/namespaces/{}", ns.name), &labels).await;
    for store in ["kubernetes", "mounted"] {
        let annotations = json!({"vestibule.dev/inject": "true", "vestibule.dev/store": store});
        let mut pod = plain(&annotations);
        pod["spec"]["serviceAccountName"] = "shop".into();
        pod["spec"]["containers"][0]["securityContext"] = json!({
            "runAsNonRoot": true, "runAsUser": 1000, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        });
        accounts(&ns, [&pod]).await;
        let Some(policies) = restricted(&ns).await else { return };
        let answer = dry_run(&ns, &pod).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(has_sidecar(&answer.json()));
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
        let answer = dry_run(&ns, &pod).await;
        assert!(answer.text().contains("violates PodSecurity"), "it is enforced: {}", answer.text());
        policies.uninstall().await;
    }
}

/// The chart in a namespace that lets no careless pod in: not even those that the wait for the policies tries.
async fn restricted(ns: &Namespace) -> Option<Policies> {
    let path = format!("/api/v1/namespaces/{}", ns.name);
    let label = async |value: Value| {
        let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": value}}});
        ns.admin().patch(&path, &labels).await;
    };
    label(Value::Null).await;
    let policies = Policies::install(ns, &json!({})).await?;
    label("restricted".into()).await;
    let careless = plain(&json!({}));
    eventually("a refusal", async || (dry_run(ns, &careless).await.status == 403).then_some(())).await;
    Some(policies)
}

/// Each field that two pods do not have in common, one a line.
fn differences(path: &str, made: &Value, expected: &Value, found: &mut Vec<String>) {
    match (made, expected) {
        (Value::Object(made), Value::Object(expected)) => {
            let mut names: Vec<_> = made.keys().chain(expected.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                differences(&format!("{path}.{name}"), &of(made), &of(expected), found);
            }
        }
        (Value::Array(made), Value::Array(expected)) if made.len() == expected.len() => {
            for (index, (made, expected)) in made.iter().zip(expected).enumerate() {
                differences(&format!("{path}[{index}]"), made, expected, found);
            }
        }
        _ if made == expected => {}
        _ => found.push(format!("{path}: {made}, expected {expected}")),
    }
}
