//! Shadow mode: what would be refused is counted and logged, and forwarded unchanged.

use serde_json::json;

use super::start;
use crate::support::*;

const SHADOW: &str =
    "{mode: shadow, rules: [{prefix: /public, allow: anyone}, {prefix: /admin, groups: [Administrator]}]}";

fn outcome(metrics: &Metrics, outcome: &str) -> f64 {
    metrics.find(&format!("vestibule_requests_total{{outcome=\"{outcome}\",code=\"200\"}}")).unwrap_or_default()
}

#[tokio::test]
async fn without_a_verified_token_the_application_sees_what_the_client_sent() {
    let app = App::start().await;
    let vestibule = start(&app, SHADOW).await;
    let client = vestibule.client();
    for (authorization, reason) in [
        (None, "no_token"),
        (Some("Bearer garbage"), "malformed"),
        (Some("Basic YTpi"), "no_token"),
        (Some("Token of its own"), "no_token"),
    ] {
        let call = get("/x").header("x-forwarded-user", "theirs").header("X_Forwarded_Groups", "Theirs");
        let call = match authorization {
            Some(value) => call.header("authorization", value),
            None => call,
        };
        assert_eq!(client.send(call).await.text(), "hello", "{authorization:?}");
        let seen = app.last();
        assert_eq!(seen.header("authorization"), authorization);
        assert_eq!(seen.header("x-forwarded-user"), Some("theirs"));
        assert_eq!(seen.header("x_forwarded_groups"), Some("Theirs"));
        vestibule.event("shadow_refusal", |refusal| refusal["reason"] == reason).await;
    }
    let metrics = vestibule.metrics().await;
    assert_eq!(outcome(&metrics, "unauthenticated"), 4.0);
    assert_eq!(metrics.sum("vestibule_requests_total"), 4.0);
}

#[tokio::test]
async fn with_a_verified_token_the_application_is_told_whose_it_is() {
    let app = App::start().await;
    let vestibule = start(&app, SHADOW).await;
    for (user, path, counted) in
        [("admin", "/x", "forwarded"), ("reader", "/x", "forbidden"), ("saas", "/admin/x", "forbidden")]
    {
        let token = vestibule.token(user).await;
        let call = get(path).bearer(&token).header("x-forwarded-user", "theirs");
        assert_eq!(vestibule.client().send(call).await.text(), "hello", "{user}");
        let seen = app.last();
        assert_eq!((seen.header("x-forwarded-user"), seen.header("authorization")), (Some(user), None));
        assert!(outcome(&vestibule.metrics().await, counted) >= 1.0, "{user} {counted}");
    }
    assert_eq!(outcome(&vestibule.metrics().await, "forbidden"), 2.0);
    let refusal = vestibule.event("shadow_refusal", |refusal| refusal["user"] == "reader").await;
    assert_eq!((&refusal["outcome"], &refusal["reason"]), (&json!("forbidden"), &json!("insufficient_scope")));
}

#[tokio::test]
async fn ambiguous_paths_and_doubled_headers_are_forwarded_as_they_are() {
    let app = App::raw(|mut wire, _| async move {
        while let Some((head, _)) = wire.request().await {
            let told = format!("{} {}", head.target(), head.all("authorization").join("|"));
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len())).await;
        }
    })
    .await;
    let vestibule = start(&app, SHADOW).await;
    let paths = ["/public/../admin", "//x", "/a%2fb", "/%61", "/a;b", "/%zz", "/a\\b"];
    for path in paths {
        let (head, body) = vestibule.client().raw(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!((head.status(), String::from_utf8_lossy(&body).as_ref()), (200, format!("{path} ").as_str()));
    }
    let doubled = "GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: one\r\nAuthorization: two\r\n\r\n";
    let (head, body) = vestibule.client().raw(doubled).await;
    assert_eq!((head.status(), body.as_slice()), (200, &b"/x one|two"[..]));
    let metrics = vestibule.metrics().await;
    assert_eq!(outcome(&metrics, "bad_request"), paths.len() as f64 + 1.0);
}

#[tokio::test]
async fn the_code_is_the_answers_and_logins_work_as_ever() {
    let app =
        App::answering(Listening::Http, |_| http::Response::builder().status(418).body(full("")).expect("a response"))
            .await;
    let vestibule = start(&app, SHADOW).await;
    assert_eq!(vestibule.client().send(get("/x")).await.status, 418);
    assert_eq!(vestibule.client().send(get("/public")).await.status, 418);
    assert_eq!(vestibule.client().login("admin", "wrong").await.status, 401);
    assert_eq!(vestibule.client().send(get("/authorize")).await.status, 405);
    let counted = vestibule.metrics().await.counted("vestibule_requests_total");
    let counted: Vec<_> = counted.iter().map(|(labels, count)| (labels.as_str(), *count)).collect();
    assert_eq!(
        counted,
        [
            ("{code=\"401\",outcome=\"login\"}", 1.0),
            ("{code=\"405\",outcome=\"login\"}", 1.0),
            ("{code=\"418\",outcome=\"open\"}", 1.0),
            ("{code=\"418\",outcome=\"unauthenticated\"}", 1.0),
        ]
    );
}
