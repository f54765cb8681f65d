//! The series, their names, and exact counts.

use std::net::TcpListener;

use http::Response;
use serde_json::json;

use super::*;

const NAMES: [&str; 30] = [
    "vestibule_build_info",
    "vestibule_requests_total",
    "vestibule_request_duration_seconds",
    "vestibule_upstream_duration_seconds",
    "vestibule_upstream_errors_total",
    "vestibule_requests_in_flight",
    "vestibule_connections",
    "vestibule_tunnels",
    "vestibule_tls_handshakes_total",
    "vestibule_authorize_total",
    "vestibule_authorize_duration_seconds",
    "vestibule_throttled_entries",
    "vestibule_throttled_entries_limit",
    "vestibule_connections_limit",
    "vestibule_signing_keys",
    "vestibule_signing_key_activated_timestamp_seconds",
    "vestibule_signing_key_rotation_due_timestamp_seconds",
    "vestibule_key_rotations_total",
    "vestibule_users",
    "vestibule_store_synced_timestamp_seconds",
    "vestibule_store_errors_total",
    "vestibule_upstream_exposed",
    "vestibule_tls_certificate_expiry_timestamp_seconds",
    "vestibule_tls_certificate_not_before_timestamp_seconds",
    "vestibule_reloads_total",
    "vestibule_reload_failing",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_start_time_seconds",
];

#[tokio::test]
async fn every_metric_is_there_from_the_start() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let (_, text) = vestibule.admin("/metrics").await;
    for name in NAMES {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
    let known: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in known {
        assert!(NAMES.contains(&name) || name.starts_with("process_"), "{name} is documented nowhere");
    }
    // What is counted by label starts at 0, so that the first increase shows.
    let metrics = Metrics::parse(&text);
    for series in [
        "vestibule_requests_total{outcome=\"forwarded\",code=\"200\"}",
        "vestibule_upstream_errors_total{reason=\"connect\"}",
        "vestibule_tls_handshakes_total{result=\"timeout\"}",
        "vestibule_authorize_total{dialect=\"redis\",outcome=\"throttled\"}",
        "vestibule_reloads_total{what=\"config\",result=\"error\"}",
        "vestibule_store_errors_total{store=\"keys\",reason=\"conflict\"}",
        "vestibule_tunnels",
    ] {
        assert_eq!(metrics.value(series), 0.0, "{series}");
    }
    assert_eq!(metrics.value("vestibule_users{state=\"active\"}"), 4.0);
    assert_eq!(metrics.value("vestibule_users{state=\"disabled\"}"), 1.0);
    assert_eq!(metrics.value("vestibule_signing_keys{state=\"active\"}"), 1.0);
    let now = now() as f64;
    for name in ["signing_key_activated_timestamp_seconds", "process_start_time_seconds"] {
        let series = if name.starts_with("process") { name.to_owned() } else { format!("vestibule_{name}") };
        assert!((metrics.value(&series) - now).abs() < 60.0, "{series}");
    }
    // Bounds and times that alerts go by.
    assert_eq!(metrics.value("vestibule_throttled_entries_limit"), 100_000.0);
    assert!(metrics.value("vestibule_connections_limit") >= 64.0);
    let activated = metrics.value("vestibule_signing_key_activated_timestamp_seconds");
    let due = metrics.value("vestibule_signing_key_rotation_due_timestamp_seconds");
    assert_eq!(due - activated, f64::from(30 * 86_400));
    let not_before = metrics.value("vestibule_tls_certificate_not_before_timestamp_seconds");
    let expiry = metrics.value("vestibule_tls_certificate_expiry_timestamp_seconds");
    assert!(not_before <= now && now < expiry, "{not_before} {expiry}");
    for store in ["users", "keys"] {
        let synced = metrics.value(&format!("vestibule_store_synced_timestamp_seconds{{store=\"{store}\"}}"));
        assert!((synced - now).abs() < 60.0, "{store}: {synced}");
    }
}

/// As it stands at each scrape: on loopback, beyond it, and gone.
#[tokio::test]
async fn an_application_that_can_be_reached_past_the_sidecar_is_told() {
    let application = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = application.local_addr().expect("an address").port();
    let vestibule = Setup::new().upstream(format!("http://127.0.0.1:{port}")).start().await;
    let exposed = async || vestibule.metrics().await.value("vestibule_upstream_exposed");
    assert_eq!(exposed().await, 0.0);
    drop(application);
    let application = TcpListener::bind(("0.0.0.0", port)).expect("the same port");
    assert_eq!(exposed().await, 1.0);
    drop(application);
    assert_eq!(exposed().await, 0.0);
}

#[tokio::test]
async fn every_outcome_is_counted_once() {
    let app = App::answering(Listening::Http, |seen| {
        let status: u16 = seen.target.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(200);
        Response::builder().status(status).body(full("x")).expect("a response")
    })
    .await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let (admin, reader) = (vestibule.token("admin").await, vestibule.token("reader").await);
    let mut one = vestibule.client().connect().await;
    let mut two = vestibule.client().http2().connect().await;
    for connection in [&mut one, &mut two] {
        for (call, status) in [
            (get("/a").bearer(&admin), 200),
            (post("/a").bearer(&admin).body("x"), 200),
            (get("/a/404").bearer(&admin), 404),
            (get("/a/500").bearer(&admin), 500),
            (get("/open"), 200),
            (get("/open/418"), 418),
            (get("/a"), 401),
            (get("/a").bearer("garbage"), 401),
            (get("/a").bearer(&reader), 403),
            (get("/a").bearer(&admin).bearer(&admin), 400),
            (get("/open/../x"), 400),
            (get("/authorize"), 405),
            (post("/authorize").body("{"), 400),
            (post("/v1/users/authorize").basic("reader", "reader-password"), 200),
        ] {
            assert_eq!(connection.send(call).await.status, status);
        }
    }
    let expected = [
        ("bad_request", 400, 4),
        ("forbidden", 403, 2),
        ("forwarded", 200, 4),
        ("forwarded", 404, 2),
        ("forwarded", 500, 2),
        ("login", 200, 4),
        ("login", 400, 2),
        ("login", 405, 2),
        ("open", 200, 2),
        ("open", 418, 2),
        ("unauthenticated", 401, 4),
    ];
    let metrics = vestibule.metrics().await;
    let mut counted = metrics.counted("vestibule_requests_total");
    counted.sort_by(|one, two| one.0.cmp(&two.0));
    let mut named: Vec<_> = expected
        .iter()
        .map(|(outcome, code, count)| (format!("{{code=\"{code}\",outcome=\"{outcome}\"}}"), f64::from(*count)))
        .collect();
    named.sort_by(|one, two| one.0.cmp(&two.0));
    assert_eq!(counted, named);
    // The durations count the same requests.
    for (outcome, count) in [("forwarded", 8.0), ("open", 4.0), ("login", 8.0), ("forbidden", 2.0)] {
        let series = format!("vestibule_request_duration_seconds_count{{outcome=\"{outcome}\"}}");
        assert_eq!(metrics.value(&series), count, "{outcome}");
    }
    assert_eq!(metrics.value("vestibule_upstream_duration_seconds_count"), 12.0);
    assert_eq!(
        metrics.counted("vestibule_authorize_total"),
        [
            ("{dialect=\"densify\",outcome=\"granted\"}".to_owned(), 2.0),
            (
                "{dialect=\"densify\",outcome=\"malformed\"}".to_owned(),
                metrics.value("vestibule_authorize_total{dialect=\"densify\",outcome=\"malformed\"}")
            ),
            ("{dialect=\"redis\",outcome=\"granted\"}".to_owned(), 2.0),
        ]
    );
    assert_eq!(metrics.value("vestibule_connections"), 2.0);
    assert_eq!(metrics.value("vestibule_tls_handshakes_total{result=\"ok\"}"), 4.0);
}

#[tokio::test]
async fn upstream_errors_and_throttles_are_counted() {
    let vestibule = Setup::new().start().await;
    let token = vestibule.token("admin").await;
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 502);
    assert_eq!(vestibule.client().login("reader", "wrong").await.status, 401);
    assert_eq!(vestibule.client().login("reader", "wrong").await.status, 429);
    assert_eq!(vestibule.client().login("expired", "expired-password").await.status, 401);
    let refresh = post("/v1/users/refresh_jwt").bearer(&token);
    assert_eq!(vestibule.client().send(refresh).await.status, 200);
    let metrics = vestibule.metrics().await;
    for (series, count) in [
        ("vestibule_requests_total{outcome=\"upstream_error\",code=\"502\"}", 1.0),
        ("vestibule_upstream_errors_total{reason=\"connect\"}", 1.0),
        ("vestibule_requests_total{outcome=\"login\",code=\"401\"}", 2.0),
        ("vestibule_requests_total{outcome=\"login\",code=\"429\"}", 1.0),
        ("vestibule_requests_total{outcome=\"login\",code=\"200\"}", 2.0),
        ("vestibule_authorize_total{dialect=\"densify\",outcome=\"denied\"}", 1.0),
        ("vestibule_authorize_total{dialect=\"densify\",outcome=\"throttled\"}", 1.0),
        ("vestibule_authorize_total{dialect=\"densify\",outcome=\"expired\"}", 1.0),
        ("vestibule_authorize_total{dialect=\"densify\",outcome=\"granted\"}", 1.0),
        ("vestibule_authorize_total{dialect=\"refresh\",outcome=\"granted\"}", 1.0),
    ] {
        assert_eq!(metrics.value(series), count, "{series}");
    }
    assert!(metrics.value("vestibule_throttled_entries") >= 1.0);
}

/// No label holds what a client sends.
#[tokio::test]
async fn labels_are_closed_sets() {
    let app =
        App::answering(Listening::Http, |_| Response::builder().status(799).body(full("x")).expect("a response")).await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let before = vestibule.admin("/metrics").await.1.lines().count();
    for marker in 0..50 {
        let call = Call::new("MARKER", &format!("/open/marker-{marker}")).header("host", format!("marker-{marker}"));
        vestibule.client().send(call).await;
        vestibule.client().from("127.0.0.3").login(&format!("marker-{marker}"), "marker").await;
    }
    let (_, text) = vestibule.admin("/metrics").await;
    assert!(!text.to_lowercase().contains("marker"), "{text}");
    assert!(!text.contains("127.0.0"), "{text}");
    let after = text.lines().count();
    assert!(after < before + 20, "{before} lines became {after}");
}

#[tokio::test]
async fn one_rotation_is_counted_and_told() {
    // The signer is older than it may be: a successor is due at once.
    let old = Jwk::fresh("HS512", "old").with(&json!({"iat": now() - 7200, "nbf": now() - 7200}));
    let setup = Setup::new().keys(std::slice::from_ref(&old));
    let vestibule = setup.config("keys: {rotateEvery: 1h, propagation: 1m}").start().await;
    // A change makes it look again at once; replicas then wait up to 10 s, each its own time.
    vestibule.replace("keys/keys.jwks", &format!("{}\n", Jwk::ring(&[old])));
    eventually("a successor", async || (vestibule.ring().len() == 2).then_some(())).await;
    let rotation = vestibule.event("rotation", |_| true).await;
    let successor = vestibule.ring().into_iter().find(|key| key.kid() != "old").expect("a successor");
    assert_eq!((&rotation["kid"], &rotation["outcome"]), (&json!(successor.kid()), &json!("ok")));
    eventually("it is counted", async || {
        let metrics = vestibule.metrics().await;
        (metrics.value("vestibule_key_rotations_total{result=\"ok\"}") == 1.0
            && metrics.value("vestibule_signing_keys{state=\"pending\"}") == 1.0)
            .then_some(())
    })
    .await;
    let due = vestibule.metrics().await.value("vestibule_signing_key_rotation_due_timestamp_seconds");
    assert_eq!(Some(due), successor.0["nbf"].as_f64().map(|nbf| nbf + 3600.0), "the next one");
    assert_eq!(decode(&vestibule.token("admin").await).0["kid"], "old", "the successor does not sign yet");
    let log = vestibule.lines().join("\n");
    assert!(!log.contains(successor.0["k"].as_str().expect("a secret")));
}
