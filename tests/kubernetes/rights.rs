//! What the rights of deploy/rbac.yaml allow: a right too few or too many fails here.

use serde_json::{Value, json};

use crate::cluster::{Cluster, KEYS, USERS, named, namespace, selected};

const MANIFEST: &str = include_str!("control-plane/go.mod");

#[tokio::test]
async fn the_api_server_is_of_the_version_that_was_asked_for() {
    let Some(ns) = namespace().await else { return };
    let Cluster::Own(_) = ns.cluster else { return };
    let wanted = MANIFEST.lines().find_map(|line| line.strip_prefix("require k8s.io/kubernetes ")).expect("a version");
    let version = ns.admin().get("/version").await;
    assert_eq!(version["gitVersion"], wanted, "{version}");
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")), "{version}");
}

#[tokio::test]
async fn a_sidecar_may_do_this_and_nothing_else() {
    let Some(ns) = namespace().await else { return };
    let other = ns.another().await;
    for (place, secret) in [(&ns, USERS), (&ns, KEYS), (&ns, "theirs"), (&other, USERS), (&other, KEYS)] {
        place.create_secret(secret, &[("entry", "text")]).await;
    }
    let api = ns.account().await.kubeconfig().await.api();
    let of = |secret: &str| named(&ns.name, secret);
    let list = |secret: &str| selected(&ns.name, secret);
    let all = ns.path("secrets");
    let patch = json!({"metadata": {"annotations": {"tests": "were here"}}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "new"}});
    let whole = ns.secret(KEYS).await;
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});

    for (method, path, body, status) in [
        ("GET", of(USERS), None, 200),
        ("GET", of(KEYS), None, 200),
        ("GET", list(USERS), None, 200),
        ("GET", list(KEYS), None, 200),
        ("PATCH", of(KEYS), Some(&patch), 200),
        ("PATCH", of(USERS), Some(&patch), 403),
        ("PUT", of(KEYS), Some(&whole), 403),
        ("DELETE", of(KEYS), None, 403),
        ("DELETE", of(USERS), None, 403),
        ("DELETE", list(KEYS), None, 403),
        ("POST", all.clone(), Some(&secret), 403),
        ("GET", all.clone(), None, 403),
        ("GET", "/api/v1/secrets".to_owned(), None, 403),
        ("GET", format!("/api/v1/secrets?fieldSelector=metadata.name%3D{USERS}"), None, 403),
        ("GET", of("theirs"), None, 403),
        ("GET", list("theirs"), None, 403),
        ("PATCH", of("theirs"), Some(&patch), 403),
        ("GET", named(&other.name, USERS), None, 403),
        ("PATCH", named(&other.name, KEYS), Some(&patch), 403),
        ("GET", ns.path("configmaps"), None, 403),
        ("GET", ns.path("pods"), None, 403),
        ("POST", ns.path("serviceaccounts/vestibule/token"), Some(&token), 403),
    ] {
        let answer = api.send(method, &path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }

    for (path, status) in
        [(list(USERS), 200), (list(KEYS), 200), (list("theirs"), 403), (format!("{all}?limit=500"), 403)]
    {
        let watch = api.watch(&path).await;
        assert_eq!(watch.status, status, "a watch of {path}");
    }
}

#[tokio::test]
async fn no_rule_is_there_that_nothing_needs() {
    let Some(ns) = namespace().await else { return };
    let api = ns.account().await.kubeconfig().await.api();
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": ns.name},
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let told = api.create(path, &review).await;
    let rules = told["status"]["resourceRules"].as_array().expect("rules");
    // Everybody may ask what he may do, and who he is.
    let own = |rule: &&Value| {
        let groups = rule["apiGroups"].as_array().expect("groups");
        !groups.iter().all(|group| group == "authorization.k8s.io" || group == "authentication.k8s.io")
    };
    let mut found: Vec<_> = rules.iter().filter(own).cloned().collect();
    found.sort_by_key(|rule| rule["verbs"].as_array().map(Vec::len));
    let rule = |verbs: Value, names: Value| json!({"verbs": verbs, "apiGroups": [""], "resources": ["secrets"], "resourceNames": names});
    let wanted = [rule(json!(["patch"]), json!([KEYS])), rule(json!(["get", "list", "watch"]), json!([USERS, KEYS]))];
    assert_eq!(found, wanted, "{told}");
}

#[tokio::test]
async fn several_users_secrets_are_several_names() {
    let Some(ns) = namespace().await else { return };
    for secret in ["staff", "partners", "ring"] {
        ns.create_secret(secret, &[] as &[(&str, &str)]).await;
    }
    let account = ns.account_of("shop", &["staff", "partners"], "ring").await;
    let api = account.kubeconfig().await.api();
    for secret in ["staff", "partners", "ring"] {
        assert_eq!(api.get(&selected(&ns.name, secret)).await["items"].as_array().map(Vec::len), Some(1));
    }
    let patched = api.patch(&named(&ns.name, "ring"), &json!({"data": {"entry": ""}})).await;
    // The version that a patch was planned on decides.
    ns.set("ring", &[("entry", "newer")]).await;
    let version = &patched["metadata"]["resourceVersion"];
    let late = json!({"metadata": {"resourceVersion": version}, "data": {"entry": null}});
    assert_eq!(api.send("PATCH", &named(&ns.name, "ring"), Some(&late)).await.status, 409);
}
