//! What the application sees of a request's headers, and the client of an answer's.

use http::{HeaderMap, HeaderValue, Response};
use serde_json::json;

use crate::support::*;

/// `/open` is anyone's, all else an administrator's.
const OPEN: &str = "access: {rules: [{path: /open, allow: anyone}]}";

const SPELLINGS: [&str; 8] = [
    "X-Forwarded-User",
    "x-forwarded-user",
    "X_Forwarded_User",
    "X-Forwarded_User",
    "X.FORWARDED.USER",
    "x-forwarded.groups",
    "X-Forwarded-Groups",
    "X_FORWARDED_GROUPS",
];

/// Sends one GET with these fields and returns what the application got.
async fn seen(vestibule: &Vestibule, app: &App, path: &str, fields: &str) -> Seen {
    let before = app.seen().len();
    let (head, _) = vestibule.client().raw(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")).await;
    assert_eq!(head.status(), 200, "{fields}");
    assert_eq!(app.seen().len(), before + 1);
    app.last()
}

/// The names of a request's headers that are, but for case and separators, one of these.
fn spelled_like(headers: &HeaderMap, names: &[&str]) -> Vec<(String, String)> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    let found = headers.iter().filter(|(name, _)| names.contains(&plain(name.as_str()).as_str()));
    found.map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned())).collect()
}

const IDENTITY: [&str; 2] = ["x-forwarded-user", "x-forwarded-groups"];

#[tokio::test]
async fn no_spelling_of_an_identity_header_passes_over_http1() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let token = vestibule.token("admin").await;
    let claimed: String = SPELLINGS.iter().map(|name| format!("{name}: root\r\n{name}: other, more\r\n")).collect();
    let bearer = format!("Authorization: Bearer {token}\r\n");

    let closed = seen(&vestibule, &app, "/closed", &format!("{claimed}{bearer}{claimed}")).await;
    let ours = [("x-forwarded-user", "admin"), ("x-forwarded-groups", "Administrator")];
    let ours: Vec<_> = ours.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut got = spelled_like(&closed.headers, &IDENTITY);
    got.sort_by(|one, two| two.cmp(one));
    assert_eq!(got, ours);

    for fields in [claimed.clone(), format!("{claimed}{bearer}"), format!("{claimed}Authorization: Bearer no\r\n")] {
        let open = seen(&vestibule, &app, "/open", &fields).await;
        let left = spelled_like(&open.headers, &IDENTITY);
        assert!(left.is_empty() || left.iter().all(|one| ours.contains(one)), "{left:?}");
    }
}

#[tokio::test]
async fn no_spelling_of_an_identity_header_passes_over_http2() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let token = vestibule.token("admin").await;
    let mut connection = vestibule.client().http2().connect().await;
    for (path, left) in [("/closed", 2), ("/open", 0)] {
        let mut call = get(path);
        for name in SPELLINGS {
            call = call.header(name, "root").header(name, "other");
        }
        let call = if path == "/closed" { call.bearer(&token) } else { call };
        assert_eq!(connection.send(call).await.status, 200);
        let headers = app.last().headers;
        let found = spelled_like(&headers, &IDENTITY);
        assert_eq!(found.len(), left, "{found:?}");
        assert!(found.iter().all(|(_, value)| !value.contains("root") && !value.contains("other")), "{found:?}");
    }
}

#[tokio::test]
async fn identity_headers_may_have_other_names_and_groups_are_one_list() {
    let app = App::start().await;
    let names = "access: {identityHeaders: {user: Remote-User, groups: Remote-Groups}}";
    let mut users = default_users();
    users["users"]["admin"]["groups"] = json!(["Administrator", "Second"]);
    let vestibule = Setup::new().upstream(&app).config(names).users(&users).start().await;
    let token = vestibule.token("admin").await;
    let fields = format!("remote_user: root\r\nREMOTE.GROUPS: root\r\nAuthorization: JWT {token}\r\n");
    let got = seen(&vestibule, &app, "/", &fields).await;
    assert_eq!(spelled_like(&got.headers, &["remote-user"]), [("remote-user".into(), "admin".into())]);
    assert_eq!(got.header("remote-groups"), Some("Administrator,Second"));
    assert!(got.header("x-forwarded-user").is_none());
}

#[tokio::test]
async fn trailers_carry_no_identity_no_token_and_no_framing() {
    for listening in [Listening::Http, Listening::H2c] {
        let app = App::answering(listening, |_| Response::new(full("hello"))).await;
        let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
        let token = vestibule.token("admin").await;
        let bad = [
            "x-forwarded-user",
            "x_forwarded_groups",
            "x.forwarded.user",
            "authorization",
            "x-forwarded-for",
            "x-original-url",
            "x-http-method-override",
            "content-length",
            "transfer-encoding",
            "host",
        ];
        for path in ["/closed", "/open"] {
            // Over HTTP/1.1.
            let mut fields = String::from("checksum: good\r\n");
            for name in bad {
                fields += &format!("{name}: 7\r\n");
            }
            let names = bad.join(", ");
            let (head, _) = vestibule
                .client()
                .raw(format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\
                     Trailer: checksum, {names}\r\nTE: trailers\r\n\r\n3\r\nabc\r\n0\r\n{fields}\r\n"
                ))
                .await;
            assert_eq!(head.status(), 200);
            let seen = app.last();
            assert_eq!(seen.body.as_ref(), b"abc");
            let trailers = seen.trailers.expect("trailers pass");
            assert_eq!(trailers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["checksum"], "{path}");
            // Over HTTP/2; a client's library refuses framing in trailers by itself.
            let mut trailers = HeaderMap::new();
            trailers.insert("checksum", HeaderValue::from_static("good"));
            for name in bad.iter().filter(|name| !["content-length", "transfer-encoding", "host"].contains(name)) {
                trailers.insert(*name, HeaderValue::from_static("root"));
            }
            let call = post(path).bearer(&token).header("trailer", "checksum").header("te", "trailers");
            let answer = vestibule.client().http2().send(call.stream(body(&["abc"], Some(trailers)))).await;
            assert_eq!(answer.status, 200);
            let trailers = app.last().trailers.expect("trailers pass");
            assert_eq!(trailers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["checksum"], "{path}");
        }
    }
}

#[tokio::test]
async fn what_connection_names_goes_first_and_ours_stays() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let token = vestibule.token("admin").await;
    let fields = format!(
        "Connection: X-Forwarded-User, x-forwarded-groups, x-private\r\nConnection: X-Forwarded-For, X-Request-Id\r\n\
         Connection: Host, Content-Length, X-Forwarded-Host, X-Forwarded-Proto\r\nX-Private: secret\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nTE: gzip\r\n\
         Authorization: Bearer {token}\r\nX-Kept: yes\r\n"
    );
    let got = seen(&vestibule, &app, "/", &fields).await;
    assert_eq!(got.header("x-forwarded-user"), Some("admin"));
    assert_eq!(got.header("x-forwarded-groups"), Some("Administrator"));
    assert_eq!(got.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.header("x-forwarded-host"), Some("a.example"));
    assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    assert_eq!(got.header("host"), Some("a.example"));
    assert_eq!(got.header("x-kept"), Some("yes"));
    for gone in ["connection", "x-private", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    assert!(got.header("x-request-id").is_some(), "a request has an id whatever its client names");
}

#[tokio::test]
async fn the_token_stays_here_unless_it_is_to_be_forwarded() {
    let app = App::start().await;
    let without = Setup::new().upstream(&app).config(OPEN).start().await;
    let token = without.token("admin").await;
    for (path, value) in [
        ("/", format!("Bearer {token}")),
        ("/", format!("jwt {token}")),
        ("/open", format!("Bearer {token}")),
        ("/open", "Basic eDp5".to_owned()),
    ] {
        let got = seen(&without, &app, path, &format!("Authorization: {value}\r\n")).await;
        assert_eq!(got.header("authorization"), None, "{path}");
    }
    let with = "access: {forwardToken: true, rules: [{path: /open, allow: anyone}]}";
    let with = Setup::new().upstream(&app).config(with).start().await;
    let token = with.token("admin").await;
    let got = seen(&with, &app, "/", &format!("Authorization: Bearer {token}\r\n")).await;
    assert_eq!(got.header("authorization"), Some(format!("Bearer {token}").as_str()));
}

const CHAIN: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 198.51.100.7, 127.0.0.9\r\n\
    X-Forwarded-Proto: http\r\nX-Forwarded-Host: public.example\r\nForwarded: for=203.0.113.9\r\n\
    X_Forwarded_For: 192.0.2.1\r\nX.Forwarded.Host: evil.example\r\n";

#[tokio::test]
async fn what_an_unknown_peer_says_of_the_client_is_overwritten() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let got = seen(&vestibule, &app, "/open", CHAIN).await;
    assert_eq!(got.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    assert_eq!(got.header("x-forwarded-host"), Some("a.example"));
    for gone in ["forwarded", "x_forwarded_for", "x.forwarded.host"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    drop(vestibule.client().raw(format!("POST /authorize HTTP/1.1\r\nHost: a\r\n{CHAIN}\r\n")).await);
    let login = vestibule.event("login", |_| true).await;
    assert_eq!(login["source"], "127.0.0.1");
}

#[tokio::test]
async fn what_a_trusted_peer_says_of_the_client_is_kept_and_extended() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config("trustedProxies: [127.0.0.0/8]").start().await;
    let got = seen(&vestibule, &app, "/open", CHAIN).await;
    assert_eq!(got.header("x-forwarded-for"), Some("203.0.113.9, 198.51.100.7, 127.0.0.9, 127.0.0.1"));
    assert_eq!(got.header("x-forwarded-proto"), Some("http"));
    assert_eq!(got.header("x-forwarded-host"), Some("public.example"));
    for gone in ["x_forwarded_for", "x.forwarded.host"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    let got = seen(&vestibule, &app, "/open", "").await;
    assert_eq!(got.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    assert_eq!(got.header("x-forwarded-host"), Some("a.example"));
    // The rightmost address outside the trusted networks is the client.
    drop(vestibule.client().raw(format!("POST /authorize HTTP/1.1\r\nHost: a\r\n{CHAIN}\r\n")).await);
    let login = vestibule.event("login", |_| true).await;
    assert_eq!(login["source"], "198.51.100.7");
}

#[tokio::test]
async fn a_request_has_an_id_and_traces_pass() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let kept = seen(&vestibule, &app, "/open", "X-Request-Id: mine-1\r\ntraceparent: 00-aa-bb-01\r\n").await;
    assert_eq!(kept.header("x-request-id"), Some("mine-1"));
    assert_eq!(kept.header("traceparent"), Some("00-aa-bb-01"));
    let mut made = Vec::new();
    for fields in ["", "X-Request-Id:\r\n"] {
        let id = seen(&vestibule, &app, "/open", fields).await.header("x-request-id").expect("one is made").to_owned();
        assert_eq!(id.len(), 36, "{id}");
        vestibule.event("access", |line| line["request_id"] == id.as_str()).await;
        made.push(id);
    }
    assert_ne!(made[0], made[1]);
    vestibule.event("access", |line| line["request_id"] == "mine-1").await;
}

#[tokio::test]
async fn nothing_rewrites_the_path_or_the_method_behind_the_proxy() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let token = vestibule.token("admin").await;
    let names = [
        "X-Original-URL",
        "x_original_url",
        "X-Rewrite-URL",
        "X.Rewrite-Url",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x_http_method_override",
    ];
    let fields: String = names.iter().map(|name| format!("{name}: /admin\r\n")).collect();
    for path in ["/open", "/closed"] {
        let got = seen(&vestibule, &app, path, &format!("{fields}Authorization: Bearer {token}\r\n")).await;
        for name in names {
            assert_eq!(got.header(&name.to_ascii_lowercase()), None, "{name}");
        }
    }
}

#[tokio::test]
async fn answers_keep_their_headers_but_those_of_the_hop() {
    let app = App::raw(|mut wire, _| async move {
        while wire.request().await.is_some() {
            wire.send(
                "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-Two: 1\r\nX-Two: 2\r\n\
                 Server: app\r\nConnection: X-Hop\r\nX-Hop: gone\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
                 Content-Length: 2\r\nWWW-Authenticate: Basic\r\n\r\nok",
            )
            .await;
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let answer = client.send(get("/open")).await;
        let all = |name: &str| {
            answer.headers.get_all(name).iter().map(|value| value.to_str().expect("ASCII")).collect::<Vec<_>>()
        };
        assert_eq!(all("set-cookie"), ["a=1; Path=/", "b=2"]);
        assert_eq!(all("x-two"), ["1", "2"]);
        assert_eq!((all("server"), all("www-authenticate")), (vec!["app"], vec!["Basic"]));
        for gone in ["connection", "x-hop", "keep-alive", "proxy-connection"] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
        assert_eq!(answer.text(), "ok");
    }
}

#[tokio::test]
async fn cookies_that_http2_split_are_one_field_again() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let call = get("/open").header("cookie", "a=1").header("cookie", "b=2").header("cookie", "c=3; d=4");
    assert_eq!(vestibule.client().http2().send(call).await.status, 200);
    assert_eq!(app.last().header("cookie"), Some("a=1; b=2; c=3; d=4"));
}

#[tokio::test]
async fn the_host_is_the_one_that_was_asked_for() {
    for listening in [Listening::Http, Listening::H2c] {
        let app =
            App::answering(listening, |seen| Response::new(full(seen.header("host").unwrap_or("none").to_owned())))
                .await;
        let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
        let (_, body) = vestibule.client().raw("GET /open HTTP/1.1\r\nHost: shop.example:8443\r\n\r\n").await;
        if app.url.starts_with("http:") {
            assert_eq!(body, b"shop.example:8443");
        }
        vestibule.client().http2().send(get("/open")).await;
        assert_eq!(app.last().header("x-forwarded-host"), Some("localhost"));
    }
}
