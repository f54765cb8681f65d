//! The threads' cells as metric families.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::labels::{ClosedSet, Outcome};
use super::sharded::{CODES, Open, Shards, code_cell};

/// Series that exist from the start, so that a first refusal is an increase and not a new series.
const EXPECTED: [(Outcome, u16); 10] = [
    (Outcome::Forwarded, 200),
    (Outcome::Open, 200),
    (Outcome::Login, 200),
    (Outcome::Login, 401),
    (Outcome::Unauthenticated, 401),
    (Outcome::Forbidden, 403),
    (Outcome::BadRequest, 400),
    (Outcome::UpstreamError, 502),
    (Outcome::UpstreamError, 504),
    (Outcome::Overloaded, 503),
];

/// Presents the cells to a registry as metric families.
pub(super) struct ShardCollector {
    shards: Arc<Shards>,
    requests: Desc,
    durations: Desc,
    upstream: Desc,
    open: [(Open, Desc); 3],
}

impl ShardCollector {
    pub(super) fn new(shards: Arc<Shards>) -> Self {
        Self {
            shards,
            requests: desc(
                "vestibule_requests_total",
                "Requests, by how they ended and the status that was sent.",
                &["outcome", "code"],
            ),
            durations: desc(
                "vestibule_request_duration_seconds",
                "Time from a request's headers to the end of its response, by how it ended.",
                &["outcome"],
            ),
            upstream: desc(
                "vestibule_upstream_duration_seconds",
                "Time from sending a request to the application until its response headers.",
                &[],
            ),
            open: [
                (Open::Connections, desc("vestibule_connections", "Client connections that are open.", &[])),
                (
                    Open::InFlight,
                    desc("vestibule_requests_in_flight", "Requests at the application, tunnels not counted.", &[]),
                ),
                (Open::Tunnels, desc("vestibule_tunnels", "Upgraded connections that are open.", &[])),
            ],
        }
    }

    fn request_counters(&self) -> Vec<proto::Metric> {
        let mut metrics = Vec::new();
        for outcome in Outcome::ALL {
            for cell in 0..CODES {
                let count = self.shards.count(*outcome, cell);
                let expected = || EXPECTED.iter().any(|(o, code)| o == outcome && code_cell(*code) == cell);
                if count == 0 && !expected() {
                    continue;
                }
                let code = match cell {
                    cell if cell == CODES - 1 => "other".to_owned(),
                    cell => (cell + 100).to_string(),
                };
                let labels = vec![label("code", code), label("outcome", outcome.as_str().to_owned())];
                let mut metric = proto::Metric::from_label(labels);
                let mut counter = proto::Counter::default();
                counter.set_value(count as f64);
                metric.set_counter(counter);
                metrics.push(metric);
            }
        }
        metrics
    }
}

impl Collector for ShardCollector {
    fn desc(&self) -> Vec<&Desc> {
        let open = self.open.iter().map(|(_, desc)| desc);
        [&self.requests, &self.durations, &self.upstream].into_iter().chain(open).collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let durations = Outcome::ALL.iter().map(|outcome| {
            let mut metric = proto::Metric::from_label(vec![label("outcome", outcome.as_str().to_owned())]);
            metric.set_histogram(self.shards.histogram(|shard| &shard.durations[outcome.index()]));
            metric
        });
        let mut upstream = proto::Metric::default();
        upstream.set_histogram(self.shards.histogram(|shard| &shard.upstream));
        let mut families = vec![
            family(&self.requests, proto::MetricType::COUNTER, self.request_counters()),
            family(&self.durations, proto::MetricType::HISTOGRAM, durations.collect()),
            family(&self.upstream, proto::MetricType::HISTOGRAM, vec![upstream]),
        ];
        for (what, desc) in &self.open {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(self.shards.opened(*what) as f64);
            families.push(family(desc, proto::MetricType::GAUGE, vec![proto::Metric::from_gauge(gauge)]));
        }
        families
    }
}

fn desc(name: &str, help: &str, labels: &[&str]) -> Desc {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
        .expect("names and labels are constants that a test registers")
}

fn label(name: &str, value: String) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value);
    pair
}

fn family(desc: &Desc, kind: proto::MetricType, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
