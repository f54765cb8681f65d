//! What only the API server can tell: the Secrets, the rights, the clock, and the pods and Services around.

mod pods;
mod rights;
mod secrets;
mod services;

use serde_json::Value;

use super::finding::Finding;
use crate::auth::rotation::Policy;
use crate::config::{Certificate, Config, Store};
use crate::store::kubernetes::{Cluster, Fault, Skew};

const CLOCK: &str = "clock";
/// Milliseconds by which a clock may be off before replicas refuse each other's fresh tokens.
const NOTICEABLE_SKEW_MS: i64 = 5_000;
/// The most objects of a kind that are looked at.
pub(super) const MOST: usize = 500;

/// Asks the API server, for half a minute at most where it does not answer. What may not be looked at is a note.
pub(super) async fn findings(
    config: &Config,
    cluster: &Cluster,
    policy: &Policy,
    hosts: &[String],
    now: u64,
) -> Vec<Finding> {
    let names = Names::of(config);
    let asker = rights::asker(cluster).await;
    let mut findings = match &asker {
        Ok(asker) => vec![Finding::ok("cluster", format!("{} answers to {}", cluster.server(), asker.name))],
        // Without an answer to this there is none to anything else.
        Err(fault) if is_outage(fault) => {
            let message = format!("{} does not answer: {}", cluster.server(), said(fault));
            let mend = "see to the API server and the way to it; nothing in the cluster was looked at";
            return vec![Finding::error("cluster", message, mend)];
        }
        Err(fault) => vec![Finding::note("cluster", format!("who asks is not known: {}", said(fault)))],
    };
    let asker = asker.ok();
    findings.extend(cluster.clock_skew().map(clock));
    let read_only = match (&asker, names.all().next()) {
        (Some(asker), Some(_)) => {
            let (found, read_only) = rights::findings(cluster, &names, asker).await;
            findings.extend(found);
            read_only
        }
        _ => Vec::new(),
    };
    if let Store::Kubernetes(store) = &config.store {
        findings.extend(secrets::users(cluster, &store.users, &config.access, now).await);
        let may_patch = !read_only.contains(&store.keys);
        findings.extend(secrets::keys(cluster, &store.keys, may_patch, policy, now).await);
    }
    if let Certificate::Managed { secret, hosts: own } = &config.tls.certificate {
        findings.extend(secrets::certificate(cluster, secret, own, hosts, now).await);
    }
    let account = asker.as_ref().and_then(|asker| asker.account.as_ref()).map(|account| account.name.as_str());
    let pods = pods::find(cluster, account).await;
    findings.extend(pods::findings(&pods, account, &config.shutdown));
    if let Some(port) = config.upstream.loopback_port() {
        findings.extend(services::findings(cluster, &pods, port).await);
    }
    findings
}

/// The Secrets that a sidecar works with.
pub(super) struct Names {
    read: Vec<String>,
    written: Vec<String>,
}

impl Names {
    fn of(config: &Config) -> Self {
        let mut names = Self { read: Vec::new(), written: Vec::new() };
        if let Store::Kubernetes(store) = &config.store {
            names.read.clone_from(&store.users);
            names.written.push(store.keys.clone());
        }
        if let Certificate::Managed { secret, .. } = &config.tls.certificate {
            names.written.push(secret.clone());
        }
        names
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.read.iter().chain(&self.written)
    }
}

fn clock(skew: Skew) -> Finding {
    if skew.ms().abs() <= NOTICEABLE_SKEW_MS {
        Finding::ok(CLOCK, skew.to_string())
    } else if skew.is_allowed() {
        Finding::warning(CLOCK, skew.to_string(), "set it right (NTP): tokens are good and over by the second")
    } else {
        Finding::error(CLOCK, skew.to_string(), "set it right (NTP): by such a clock no keys are rotated")
    }
}

fn is_outage(fault: &Fault) -> bool {
    matches!(fault, Fault::Unavailable(_) | Fault::Throttled { .. } | Fault::Unauthorized)
}

/// A fault in words, without the Secret that it was about.
pub(super) fn said(fault: &Fault) -> String {
    match fault {
        Fault::Missing => "not there".to_owned(),
        Fault::Forbidden { user: Some(user) } => format!("{user} may not"),
        Fault::Forbidden { user: None } => "not allowed".to_owned(),
        Fault::Unauthorized => "the token or certificate is not accepted: renew it".to_owned(),
        Fault::Throttled { .. } => "too much to do (429)".to_owned(),
        Fault::Invalid(reason) | Fault::Unavailable(reason) => reason.clone(),
        Fault::Conflict | Fault::Gone | Fault::Immutable | Fault::Older { .. } => "not now".to_owned(),
    }
}

/// The text at a path of members.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// The items of a list at a path of members; none where there is no such list.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;

    #[test]
    fn a_clock_is_judged_by_what_it_breaks() {
        for (skew_ms, severity, words) in [
            (-400, Severity::Ok, "0 s behind"),
            (4_900, Severity::Ok, "5 s ahead of"),
            (-6_000, Severity::Warning, "6 s behind"),
            (30_000, Severity::Warning, "30 s ahead of"),
            (31_000, Severity::Error, "31 s ahead of"),
        ] {
            let found = clock(Skew::new(skew_ms));
            assert_eq!(found.severity, severity, "{skew_ms}");
            assert!(found.message.contains(words), "{skew_ms}: {}", found.message);
        }
    }
}
