//! What is forwarded is what was judged: with rules, a path that two readers could read differently is refused.

use serde_json::json;

use super::start;
use crate::support::*;

/// Spellings that have fooled others, with something that they could be taken for.
const AMBIGUOUS: [&str; 49] = [
    "/public/../admin",
    "/public/./admin",
    "/..",
    "/.",
    "/public/..",
    "/public/.",
    "/./public",
    "//admin",
    "/public//admin",
    "//",
    "/public//",
    "/public/%2e%2e/admin",
    "/public/%2E%2E/admin",
    "/public/.%2e/admin",
    "/public/%2e./admin",
    "/public/%2e/admin",
    "/public%2fadmin",
    "/public/..%2Fadmin",
    "/public%2F..%2Fadmin",
    "/public%5cadmin",
    "/public/..%5C..%5Cadmin",
    "/public\\admin",
    "/public\\..\\admin",
    "\\admin",
    "/public/..;/admin",
    "/public;x=1/admin",
    "/admin;",
    "/;/admin",
    "/admin%3bx=1",
    "/admin%3B",
    "/admin#/public",
    "/public#/../admin",
    "/public#",
    "/admin%00",
    "/public%00.html",
    "/%252e%252e/admin",
    "/public%252fadmin",
    "/%25",
    "/%61dmin",
    "/%41DMIN",
    "/admi%6e",
    "/%70ublic/x",
    "/a%2db",
    "/a%7Eb",
    "/a%5fb",
    "/%",
    "/%2",
    "/%zz",
    "/%u002e%u002e/admin",
];

/// Paths that can be read in one way, and must go through as they are.
const PLAIN: [&str; 12] = [
    "/public",
    "/public/",
    "/public/a.b/..c/d../.e/...",
    "/public/caf%C3%A9",
    "/public/caf%c3%a9",
    "/public/a%20b%3Fc",
    "/public/a%23b",
    "/public?x=//../%2e%2f;\\",
    "/public/?",
    "/public/a:b@c!d$e&f'(g)*+,=",
    "/public/[x]|",
    "/public/%5B%22",
];

const RULES: &str = "{rules: [{prefix: /public, allow: anyone}, {prefix: /admin, groups: [Administrator]}]}";

#[tokio::test]
async fn every_ambiguous_spelling_gets_400_with_rules_and_whoever_asks() {
    let app = App::start().await;
    let vestibule = start(&app, RULES).await;
    let token = vestibule.token("admin").await;
    let mut wrong = Vec::new();
    for path in AMBIGUOUS {
        for authorization in [String::new(), format!("Authorization: Bearer {token}\r\n")] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n");
            let (head, body) = vestibule.client().raw(request).await;
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            if head.status() != 400 || body["status"] != 400 || !body["message"].is_string() {
                wrong.push((path, head.status(), body));
            }
        }
    }
    let targets: Vec<_> = app.seen().into_iter().map(|seen| seen.target).collect();
    assert!(wrong.is_empty() && targets.is_empty(), "let through: {wrong:?}\nat the application: {targets:?}");
    let metrics = vestibule.metrics().await;
    let refused = metrics.value("vestibule_requests_total{outcome=\"bad_request\",code=\"400\"}");
    assert_eq!(refused, 2.0 * AMBIGUOUS.len() as f64);
}

#[tokio::test]
async fn the_same_over_http2() {
    let app = App::start().await;
    let vestibule = start(&app, RULES).await;
    let mut connection = vestibule.client().http2().connect().await;
    // A fragment or a backslash does not get as far as the wire with this client.
    for path in AMBIGUOUS.iter().filter(|path| !path.contains(['#', '\\'])) {
        let answer = connection.send(get(path)).await;
        assert_eq!(answer.status, 400, "{path}");
        let message = answer.json()["message"].clone();
        assert_eq!(answer.json(), json!({"message": message, "status": 400}));
    }
    assert_eq!(app.seen().len(), 0);
}

#[tokio::test]
async fn plain_paths_are_forwarded_byte_for_byte() {
    let app = App::raw(|mut wire, _| async move {
        while let Some((head, _)) = wire.request().await {
            let target = head.target();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len())).await;
        }
    })
    .await;
    let vestibule = start(&app, RULES).await;
    for path in PLAIN {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, body) = vestibule.client().raw(request).await;
        assert_eq!((head.status(), String::from_utf8_lossy(&body).as_ref()), (200, path));
    }
}

#[tokio::test]
async fn without_rules_no_path_is_looked_at_and_all_are_forwarded_byte_for_byte() {
    let app = App::raw(|mut wire, _| async move {
        while let Some((head, _)) = wire.request().await {
            let target = head.target();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len())).await;
        }
    })
    .await;
    let vestibule = start(&app, "{}").await;
    let token = vestibule.token("admin").await;
    // Targets that are none (RFC 9112, section 3.2) need not be forwarded; they must not become others.
    let mut wrong = Vec::new();
    for path in AMBIGUOUS {
        let request = |authorization: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n");
        let (head, body) = vestibule.client().raw(request(&format!("Authorization: Bearer {token}\r\n"))).await;
        let forwarded = head.status() == 200 && body == path.as_bytes();
        let refused = head.status() == 400 && path.contains(['#', '\\']);
        if !forwarded && !refused {
            wrong.push((path, head.status(), String::from_utf8_lossy(&body).into_owned()));
        }
        let (head, _) = vestibule.client().raw(request("")).await;
        assert!(head.status() >= 400, "{path} without a token");
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn a_target_with_an_authority_is_judged_by_its_path() {
    let app = App::start().await;
    let vestibule = start(&app, RULES).await;
    for (target, host, status) in [
        ("https://localhost/public/x", "localhost", 200),
        ("http://localhost/public/x", "localhost", 200),
        ("https://localhost/admin", "localhost", 401),
        ("https://localhost/public/../admin", "localhost", 400),
        ("https://localhost/public", "other", 400),
        ("https://user@localhost/public", "localhost", 400),
        ("localhost:443", "localhost", 400),
        ("*", "localhost", 400),
    ] {
        let (head, _) = vestibule.client().raw(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let fits = head.status() == status || (target == "*" && head.status() == 401);
        assert!(fits, "{target}: {}", head.status());
    }
    assert!(app.seen().iter().all(|seen| seen.target == "/public/x"), "{:?}", app.seen());
}
