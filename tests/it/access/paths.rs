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
    "/public/[x]|^{}",
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
    // Targets that are none (RFC 9112, section 3.2) need not be forwarded, and fragments are not.
    let mut wrong = Vec::new();
    for path in AMBIGUOUS {
        let request = |authorization: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n");
        let (head, body) = vestibule.client().raw(request(&format!("Authorization: Bearer {token}\r\n"))).await;
        let without_fragment = path.split('#').next().unwrap_or_default();
        let forwarded = head.status() == 200 && body == without_fragment.as_bytes();
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
async fn a_fragment_never_hides_what_is_forwarded_however_it_comes() {
    let app = App::start().await;
    let vestibule = start(&app, RULES).await;
    // Pipelined behind another.
    let mut wire = vestibule.client().wire().await;
    wire.send(["/public/1", "/admin#/public"].map(request).concat()).await;
    assert_eq!(wire.answer("GET").await.0.status(), 200);
    assert!(matches!(wire.answer("GET").await.0.status(), 400 | 401));
    let token = vestibule.token("admin").await;
    // HTTP/2, where clients' libraries send none.
    for (path, authorization) in [("/public#/../admin", ""), ("/admin#/public", ""), ("/admin#/public", token.as_str())]
    {
        http2_request(&vestibule, path, authorization).await;
    }
    for seen in app.seen() {
        let judged = seen.target.starts_with("/public") || seen.header("x-forwarded-user") == Some("admin");
        assert!(judged && !seen.target.contains("..") && !seen.target.contains('#'), "{seen:?}");
    }
}

#[tokio::test]
async fn a_fragment_is_held_against_its_own_request_alone() {
    let app = App::start().await;
    let vestibule = start(&app, RULES).await;
    let mut wire = vestibule.client().wire().await;
    for (paths, statuses) in [
        (["/public/1", "/public/2"], [200, 200]),
        (["/public#/../admin", "/public/3"], [400, 200]),
        (["/public/4", "/public/5"], [200, 200]),
    ] {
        wire.send(paths.map(request).concat()).await;
        let found = [wire.answer("GET").await.0.status(), wire.answer("GET").await.0.status()];
        assert_eq!(found, statuses, "{paths:?}");
    }
    assert_eq!(app.seen().len(), 5);
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Sends one request with any `:path` at all and reads until its stream ends.
async fn http2_request(vestibule: &Vestibule, path: &str, token: &str) {
    // Literal fields without indexing and without Huffman coding (RFC 7541, section 6.2.2).
    let field = |name: &str, value: &str| {
        let string = |text: &str| {
            let mut bytes = vec![0x7f_u8.min(u8::try_from(text.len()).unwrap_or(0x7f))];
            if text.len() >= 0x7f {
                let mut rest = text.len() - 0x7f;
                while rest >= 0x80 {
                    bytes.push(u8::try_from(rest % 0x80).expect("below 128") | 0x80);
                    rest /= 0x80;
                }
                bytes.push(u8::try_from(rest).expect("below 128"));
            }
            [bytes, text.as_bytes().to_vec()].concat()
        };
        [vec![0], string(name), string(value)].concat()
    };
    let mut block = [("GET", ":method"), ("https", ":scheme"), ("localhost", ":authority"), (path, ":path")]
        .map(|(value, name)| field(name, value))
        .concat();
    if !token.is_empty() {
        block.extend(field("authorization", &format!("Bearer {token}")));
    }
    let mut wire = Wire::new(vestibule.client().http2().tls_stream().await.expect("a TLS handshake"));
    wire.send([PREFACE, &frame(4, 0, 0, &[]), &frame(1, 5, 1, &block)].concat()).await;
    let mut bytes = Vec::new();
    loop {
        let more = wire.some(1).await;
        assert!(!more.is_empty(), "the connection ends before the answer does");
        bytes.extend(more);
        let mut rest = bytes.as_slice();
        while let [a, b, c, kind, flags, _, _, _, stream, after @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some(next) = after.get(length..) else { break };
            let ends_stream = matches!(kind, 0 | 1) && flags & 1 != 0 || *kind == 3;
            if *stream == 1 && ends_stream {
                return;
            }
            rest = next;
        }
    }
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
