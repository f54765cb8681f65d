//! What a scrape shows: every metric, its labels, and the conventions that `promtool check metrics` looks at.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Every metric with its type and labels.
const EXPECTED: [(&str, &str, &[&str]); 26] = [
    ("vestibule_build_info", "gauge", &["version", "revision"]),
    ("vestibule_requests_total", "counter", &["outcome", "code"]),
    ("vestibule_request_duration_seconds", "histogram", &["outcome"]),
    ("vestibule_upstream_duration_seconds", "histogram", &[]),
    ("vestibule_upstream_errors_total", "counter", &["reason"]),
    ("vestibule_requests_in_flight", "gauge", &[]),
    ("vestibule_connections", "gauge", &[]),
    ("vestibule_tunnels", "gauge", &[]),
    ("vestibule_tls_handshakes_total", "counter", &["result"]),
    ("vestibule_authorize_total", "counter", &["dialect", "outcome"]),
    ("vestibule_authorize_duration_seconds", "histogram", &["dialect", "outcome"]),
    ("vestibule_throttled_entries", "gauge", &[]),
    ("vestibule_throttled_entries_limit", "gauge", &[]),
    ("vestibule_connections_limit", "gauge", &[]),
    ("vestibule_signing_keys", "gauge", &["state"]),
    ("vestibule_signing_key_activated_timestamp_seconds", "gauge", &[]),
    ("vestibule_signing_key_rotation_due_timestamp_seconds", "gauge", &[]),
    ("vestibule_key_rotations_total", "counter", &["result"]),
    ("vestibule_users", "gauge", &["state"]),
    ("vestibule_store_synced_timestamp_seconds", "gauge", &["store"]),
    ("vestibule_store_errors_total", "counter", &["store", "reason"]),
    ("vestibule_upstream_exposed", "gauge", &[]),
    ("vestibule_tls_certificate_expiry_timestamp_seconds", "gauge", &[]),
    ("vestibule_tls_certificate_not_before_timestamp_seconds", "gauge", &[]),
    ("vestibule_reloads_total", "counter", &["what", "result"]),
    ("vestibule_reload_failing", "gauge", &["what"]),
];

#[test]
fn every_metric_is_there_from_the_start_with_its_labels() {
    let body = Metrics::new().render().1;
    let types = comments(&body, "# TYPE ");
    for (name, kind, labels) in EXPECTED {
        assert_eq!(types.get(name).map(String::as_str), Some(kind), "{name}");
        let found = series(&body, name);
        assert!(!found.is_empty(), "{name} has no series");
        for set in found {
            let expected: BTreeSet<_> = labels.iter().map(|label| (*label).to_owned()).collect();
            assert_eq!(set, expected, "{name}");
        }
    }
    let known: BTreeSet<_> = EXPECTED.iter().map(|(name, ..)| *name).collect();
    for name in types.keys() {
        assert!(known.contains(name.as_str()) || name.starts_with("process_"), "{name} is not known");
    }
    #[cfg(target_os = "linux")]
    assert!(types.contains_key("process_resident_memory_bytes"));
}

#[test]
fn names_and_helps_keep_the_conventions() {
    let body = Metrics::new().render().1;
    let helps = comments(&body, "# HELP ");
    for (name, kind) in comments(&body, "# TYPE ") {
        assert!(helps.get(&name).is_some_and(|help| !help.is_empty()), "{name} has no help");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        for bad in ["_count", "_sum", "_bucket", "_ms", "_milliseconds", "_gauge", "_counter"] {
            assert!(!name.ends_with(bad), "{name}");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }
}

#[test]
fn what_is_recorded_is_shown() {
    let metrics = Metrics::new();
    metrics.request(Outcome::Forwarded, 200, Duration::from_millis(3));
    metrics.request(Outcome::Forwarded, 418, Duration::from_millis(3));
    metrics.request(Outcome::Forwarded, 999, Duration::from_secs(60));
    metrics.upstream_answered(Duration::from_millis(2));
    metrics.upstream_error(UpstreamErrorReason::HeadersTimeout);
    metrics.handshake(HandshakeResult::Timeout);
    metrics.authorize(Dialect::Redis, AuthorizeOutcome::Denied, Duration::from_millis(30));
    metrics.set_throttled_entries(7);
    metrics.set_throttled_entries_limit(8);
    metrics.set_connections_limit(9);
    metrics.set_signing_keys(KeyState::Retiring, 2);
    metrics.set_signing_key_activated(Some(1_800_000_000));
    metrics.set_key_rotation_due(Some(1_800_000_002));
    metrics.key_rotation(RotationResult::Conflict);
    metrics.set_users(UserState::Unusable, 3);
    metrics.store_synced(StoreName::Users, 1_800_000_001);
    metrics.store_error(StoreName::Keys, StoreErrorReason::Invalid);
    metrics.set_upstream_exposed(true);
    metrics.set_certificate_expiry(1_900_000_000);
    metrics.set_certificate_not_before(1_700_000_000);
    metrics.reload(ReloadTarget::Certificate, ReloadResult::Error);
    for failing in [true, true, false] {
        metrics.reload_failing(ReloadTarget::Certificate, failing);
    }
    let open = (metrics.connection(), metrics.connection(), metrics.in_flight(), metrics.tunnel());
    drop(open.1);

    let body = metrics.render().1;
    let expected = [
        "vestibule_requests_total{code=\"200\",outcome=\"forwarded\"} 1",
        "vestibule_requests_total{code=\"418\",outcome=\"forwarded\"} 1",
        "vestibule_requests_total{code=\"other\",outcome=\"forwarded\"} 1",
        "vestibule_requests_total{code=\"403\",outcome=\"forbidden\"} 0",
        "vestibule_request_duration_seconds_bucket{outcome=\"forwarded\",le=\"0.0025\"} 0",
        "vestibule_request_duration_seconds_bucket{outcome=\"forwarded\",le=\"0.005\"} 2",
        "vestibule_request_duration_seconds_bucket{outcome=\"forwarded\",le=\"10\"} 2",
        "vestibule_request_duration_seconds_bucket{outcome=\"forwarded\",le=\"+Inf\"} 3",
        "vestibule_request_duration_seconds_count{outcome=\"forwarded\"} 3",
        "vestibule_request_duration_seconds_sum{outcome=\"forwarded\"} 60.006",
        "vestibule_upstream_duration_seconds_sum 0.002",
        "vestibule_upstream_errors_total{reason=\"headers_timeout\"} 1",
        "vestibule_tls_handshakes_total{result=\"timeout\"} 1",
        "vestibule_authorize_total{dialect=\"redis\",outcome=\"denied\"} 1",
        "vestibule_authorize_duration_seconds_count{dialect=\"redis\",outcome=\"denied\"} 1",
        "vestibule_throttled_entries 7",
        "vestibule_throttled_entries_limit 8",
        "vestibule_connections_limit 9",
        "vestibule_signing_keys{state=\"retiring\"} 2",
        "vestibule_signing_key_activated_timestamp_seconds 1800000000",
        "vestibule_signing_key_rotation_due_timestamp_seconds 1800000002",
        "vestibule_key_rotations_total{result=\"conflict\"} 1",
        "vestibule_users{state=\"unusable\"} 3",
        "vestibule_store_synced_timestamp_seconds{store=\"users\"} 1800000001",
        "vestibule_store_errors_total{reason=\"invalid\",store=\"keys\"} 1",
        "vestibule_upstream_exposed 1",
        "vestibule_tls_certificate_expiry_timestamp_seconds 1900000000",
        "vestibule_tls_certificate_not_before_timestamp_seconds 1700000000",
        "vestibule_reloads_total{result=\"error\",what=\"certificate\"} 1",
        "vestibule_reload_failing{what=\"certificate\"} 1",
        "vestibule_reload_failing{what=\"config\"} 0",
        "vestibule_connections 1",
        "vestibule_requests_in_flight 1",
        "vestibule_tunnels 1",
    ];
    for line in expected {
        assert!(body.lines().any(|found| found == line), "missing: {line}\n{body}");
    }
}

/// Whole seconds would show nothing of a process that has just begun.
#[cfg(target_os = "linux")]
#[test]
fn processor_time_has_fractions() {
    let metrics = Metrics::new();
    let seconds = || {
        let body = metrics.render().1;
        let line = body.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
        line.expect("the counter").parse::<f64>().expect("a number")
    };
    let mut last = seconds();
    assert!(last > 0.0);
    // Each scrape itself takes some.
    for _ in 0..3 {
        let next = seconds();
        assert!(last < next && next < last + 5.0, "{last} {next}");
        last = next;
    }
}

#[test]
fn codes_are_bounded_whatever_the_application_sends() {
    let metrics = Metrics::new();
    for code in 0..=u16::MAX {
        metrics.request(Outcome::Open, code, Duration::ZERO);
    }
    let body = metrics.render().1;
    let open =
        body.lines().filter(|line| line.starts_with("vestibule_requests_total") && line.contains("outcome=\"open\""));
    assert_eq!(open.count(), 501);
}

#[test]
fn the_documentation_names_every_metric_and_label_value() {
    fn values<L: ClosedSet>() -> impl Iterator<Item = &'static str> {
        L::ALL.iter().map(|value| value.as_str())
    }
    let page = include_str!("../../docs/metrics.md");
    let values = values::<Outcome>()
        .chain(values::<UpstreamErrorReason>())
        .chain(values::<HandshakeResult>())
        .chain(values::<Dialect>())
        .chain(values::<AuthorizeOutcome>())
        .chain(values::<KeyState>())
        .chain(values::<UserState>())
        .chain(values::<RotationResult>())
        .chain(values::<StoreName>())
        .chain(values::<StoreErrorReason>())
        .chain(values::<ReloadTarget>())
        .chain(values::<ReloadResult>());
    for name in EXPECTED.iter().map(|(name, ..)| *name).chain(values) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not documented");
    }
}

/// The `# HELP` or `# TYPE` lines by name; a family that comes twice is an error.
fn comments(body: &str, prefix: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in body.lines().filter_map(|line| line.strip_prefix(prefix)) {
        let (name, text) = line.split_once(' ').unwrap();
        assert!(found.insert(name.to_owned(), text.to_owned()).is_none(), "{name} comes twice");
    }
    found
}

/// The label names of each series of a metric, `le` left out.
fn series(body: &str, name: &str) -> Vec<BTreeSet<String>> {
    let mut found = Vec::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (id, _) = line.rsplit_once(' ').unwrap();
        let (family, labels) = id.split_once('{').unwrap_or((id, ""));
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| family.strip_suffix(suffix))
            .filter(|family| family.ends_with("_seconds"))
            .unwrap_or(family);
        if family == name {
            let names = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
            found.push(names.map(|(name, _)| name.to_owned()).filter(|name| name != "le").collect());
        }
    }
    found
}
