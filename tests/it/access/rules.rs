//! The first rule that matches decides; without one, a token of a user in an API group is needed.

use serde_json::json;

use super::start;
use crate::support::*;

/// Sends each request on one connection and compares the status with the one that is told.
async fn assert_statuses(vestibule: &Vestibule, cases: &[(&str, &str, Option<&str>, u16)]) {
    let mut connections = [vestibule.client().connect().await, vestibule.client().http2().connect().await];
    let mut tokens = std::collections::HashMap::new();
    for (method, path, user, status) in cases {
        if let Some(user) = user
            && !tokens.contains_key(user)
        {
            tokens.insert(*user, vestibule.token(user).await);
        }
        for connection in &mut connections {
            let call = Call::new(method, path);
            let call = match user {
                Some(user) => call.bearer(&tokens[user]),
                None => call,
            };
            let found = match *method {
                // What the answer to HEAD must not have is another test's affair.
                "HEAD" => connection.begin(call).await.expect("an answer").status().as_u16(),
                _ => connection.send(call).await.status,
            };
            assert_eq!(found, *status, "{method} {path} {user:?}");
        }
    }
}

#[tokio::test]
async fn the_default_is_a_token_of_a_user_in_an_api_group() {
    let app = App::start().await;
    let vestibule = start(&app, "{}").await;
    assert_statuses(
        &vestibule,
        &[
            ("GET", "/", Some("admin"), 200),
            ("DELETE", "/any/thing?x", Some("saas"), 200),
            ("GET", "/", Some("reader"), 403),
            ("GET", "/", None, 401),
            ("OPTIONS", "/", None, 401),
        ],
    )
    .await;
}

#[tokio::test]
async fn other_api_groups_or_none_at_all() {
    let app = App::start().await;
    let vestibule = start(&app, "{apiGroups: [Readers]}").await;
    assert_statuses(
        &vestibule,
        &[("GET", "/", Some("reader"), 200), ("GET", "/", Some("admin"), 403), ("GET", "/", None, 401)],
    )
    .await;
    let vestibule = start(&app, "{apiGroups: []}").await;
    assert_statuses(
        &vestibule,
        &[("GET", "/", Some("reader"), 200), ("GET", "/", Some("admin"), 200), ("GET", "/", None, 401)],
    )
    .await;
}

#[tokio::test]
async fn a_path_is_opened_byte_for_byte() {
    let app = App::start().await;
    let rules = "{rules: [{path: /healthz, methods: [GET], allow: anyone}, {prefix: /public/, allow: anyone}]}";
    let vestibule = start(&app, rules).await;
    assert_statuses(
        &vestibule,
        &[
            ("GET", "/healthz", None, 200),
            ("GET", "/healthz?full=1", None, 200),
            ("GET", "/healthz?/../admin", None, 200),
            ("GET", "/healthz", Some("reader"), 200),
            ("POST", "/healthz", None, 401),
            ("HEAD", "/healthz", None, 401),
            ("get", "/healthz", None, 401),
            ("GET", "/healthz/", None, 401),
            ("GET", "/healthz/x", None, 401),
            ("GET", "/Healthz", None, 401),
            ("GET", "/healthzz", None, 401),
            ("GET", "/x/healthz", None, 401),
            ("GET", "/?/healthz", None, 401),
            ("GET", "/public", None, 200),
            ("PUT", "/public/", None, 200),
            ("GET", "/public/a/b", None, 200),
            ("GET", "/PUBLIC/a", None, 401),
            ("GET", "/publicity", None, 401),
            ("GET", "/public-x", None, 401),
        ],
    )
    .await;
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"open\",code=\"200\"}"), 14.0);
}

#[tokio::test]
async fn an_open_path_tells_the_application_nobodys_name() {
    let app = App::start().await;
    let vestibule = start(&app, "{rules: [{path: /open, allow: anyone}]}").await;
    let token = vestibule.token("admin").await;
    for call in
        [get("/open"), get("/open").bearer(&token), get("/open").bearer("garbage"), get("/open").basic("a", "b")]
    {
        let call = call.header("x-forwarded-user", "root").header("X_Forwarded.Groups", "Administrator");
        assert_eq!(vestibule.client().send(call).await.status, 200);
        let seen = app.last();
        let names: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
        for name in ["authorization", "x-forwarded-user", "x-forwarded-groups", "x_forwarded.groups"] {
            assert!(!names.contains(&name), "{name} in {names:?}");
        }
    }
}

#[tokio::test]
async fn a_prefix_is_restricted_in_every_case_and_on_segment_boundaries() {
    let app = App::start().await;
    let rules = "{rules: [{prefix: /admin, groups: [Administrator]}, {path: /setup, groups: [Administrator]}]}";
    let vestibule = start(&app, rules).await;
    assert_statuses(
        &vestibule,
        &[
            ("GET", "/admin", Some("admin"), 200),
            ("GET", "/admin/", Some("admin"), 200),
            ("GET", "/ADMIN/x", Some("admin"), 200),
            ("GET", "/admin", Some("saas"), 403),
            ("GET", "/admin/", Some("saas"), 403),
            ("GET", "/admin?x", Some("saas"), 403),
            ("GET", "/admin/x/y", Some("saas"), 403),
            ("GET", "/ADMIN", Some("saas"), 403),
            ("GET", "/Admin/x", Some("saas"), 403),
            ("GET", "/aDmIn/", Some("saas"), 403),
            ("POST", "/admin/x", Some("saas"), 403),
            ("brew", "/admin/x", Some("saas"), 403),
            ("GET", "/admin", Some("reader"), 403),
            ("GET", "/admin", None, 401),
            ("GET", "/setup", Some("saas"), 403),
            ("GET", "/SETUP", Some("saas"), 403),
            ("GET", "/setup/", Some("saas"), 403),
            ("GET", "/setup/x", Some("saas"), 200),
            ("GET", "/administrator", Some("saas"), 200),
            ("GET", "/admin-x", Some("saas"), 200),
            ("GET", "/x/admin", Some("saas"), 200),
            ("GET", "/", Some("saas"), 200),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_rules_groups_are_asked_for_besides_the_api_groups() {
    let app = App::start().await;
    let vestibule = start(&app, "{rules: [{prefix: /read, groups: [Readers]}]}").await;
    assert_statuses(&vestibule, &[("GET", "/read", Some("reader"), 403), ("GET", "/read", Some("admin"), 403)]).await;
    let vestibule = start(&app, "{apiGroups: [], rules: [{prefix: /read, groups: [Readers]}]}").await;
    assert_statuses(&vestibule, &[("GET", "/read", Some("reader"), 200), ("GET", "/read", Some("admin"), 403)]).await;
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let app = App::start().await;
    let rules = "{rules: [
        {path: /admin/health, allow: anyone},
        {path: /admin/own, allow: authenticated},
        {prefix: /admin, methods: [GET, POST], groups: [Administrator]},
        {prefix: /admin, allow: anyone}]}";
    let vestibule = start(&app, rules).await;
    assert_statuses(
        &vestibule,
        &[
            ("GET", "/admin/health", None, 200),
            ("GET", "/admin/own", None, 401),
            ("GET", "/admin/own", Some("saas"), 200),
            ("GET", "/admin/x", Some("saas"), 403),
            ("HEAD", "/admin/x", Some("saas"), 403),
            ("post", "/admin/x", Some("saas"), 403),
            ("GET", "/ADMIN/own", Some("saas"), 403),
            ("PUT", "/admin/x", None, 200),
            ("PUT", "/ADMIN/x", None, 401),
        ],
    )
    .await;
}

#[tokio::test]
async fn rules_do_not_reach_the_login_endpoints() {
    let app = App::start().await;
    let vestibule = start(&app, "{rules: [{prefix: /, groups: [Nobody]}]}").await;
    let token = vestibule.token("admin").await;
    let answer = vestibule.client().send(get("/x").bearer(&token)).await;
    assert_eq!((answer.status, answer.json()), (403, json!({"message": "Forbidden", "status": 403})));
    assert_eq!(app.seen().len(), 0);
}

#[tokio::test]
async fn overriding_headers_are_removed_and_identity_is_ours() {
    let app = App::start().await;
    let vestibule = start(&app, "{rules: [{prefix: /admin, groups: [Administrator]}]}").await;
    let call = post("/safe")
        .bearer(&vestibule.token("saas").await)
        .header("x-original-url", "/admin")
        .header("x-rewrite-url", "/admin")
        .header("x-http-method-override", "DELETE")
        .header("x-http-method", "DELETE")
        .header("x-method-override", "DELETE")
        .header("x-forwarded-user", "admin")
        .header("x_forwarded_user", "admin")
        .header("x.forwarded-groups", "Administrator")
        .header("connection", "x-forwarded-user, x-forwarded-groups");
    assert_eq!(vestibule.client().send(call).await.status, 200);
    let seen = app.last();
    let about: Vec<_> = seen
        .headers
        .iter()
        .filter(|(name, _)| {
            ["original", "rewrite", "method", "user", "groups"].iter().any(|part| name.as_str().contains(part))
        })
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    assert_eq!(about, [("x-forwarded-user", "saas"), ("x-forwarded-groups", "SaaS_User")]);
}
