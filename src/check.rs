//! What is wrong before it hurts: findings about a configuration and about all that it names.

mod cluster;
mod finding;
mod keys;
mod mounts;
mod tls;
mod upstream;
mod users;

use std::path::Path;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::auth::rotation::Policy;
use crate::config::{Certificate, Loaded, Shutdown, Store};
use crate::store::kubernetes::Cluster;

pub(crate) use self::finding::{Finding, Severity};

/// What a pod gets where `terminationGracePeriodSeconds` says nothing, in seconds.
const TERMINATION_GRACE: u64 = 30;
/// What closing the last connections takes besides.
const CLOSING: Duration = Duration::from_secs(3);

/// The API server that may be asked, if any, and what runs the requests.
#[derive(Clone, Copy)]
pub(crate) struct Reached<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) cluster: &'a Cluster,
}

/// Looks at a configuration that loads. `file`: where from, if it is a file; `hosts`: what clients call the server by; `now`: seconds since the epoch.
///
/// Reads files, connects to the application and asks the API server; blocks for a few seconds, and for some more where
/// nobody answers. Writes nothing.
pub(crate) fn findings(
    loaded: &Loaded,
    file: Option<&Path>,
    policy: &Policy,
    hosts: &[String],
    reached: Option<Reached<'_>>,
    now: u64,
) -> Vec<Finding> {
    let config = &loaded.config;
    let mut findings = vec![Finding::ok("configuration", "it loads")];
    let unknown = |warning: &String| Finding::warning("configuration", warning, "remove the variable, or correct it");
    findings.extend(loaded.warnings.iter().map(unknown));
    findings.extend(tls::findings(config, hosts, now));
    match &config.store {
        Store::Directory(store) => {
            findings.extend(users::findings(&store.users, &config.access, now));
            findings.extend(keys::findings(&store.keys, policy, now));
        }
        Store::Kubernetes(_) => {}
    }
    let has_secrets =
        matches!(config.store, Store::Kubernetes(_)) || matches!(config.tls.certificate, Certificate::Managed { .. });
    if has_secrets && reached.is_none() {
        findings.push(Finding::note(
            "cluster",
            "the Secrets were not looked at, as there is neither a kubeconfig nor a service account here",
        ));
    }
    findings.extend(mounts::findings(config, file));
    findings.extend(upstream::findings(config));
    match reached {
        Some(Reached { runtime, cluster }) => {
            findings.extend(runtime.block_on(cluster::findings(config, cluster, policy, hosts, now)));
        }
        None => findings.push(termination(&config.shutdown, has_secrets)),
    }
    findings
}

/// The seconds that a pod needs to end, in steps of five.
fn ends_within(shutdown: &Shutdown) -> u64 {
    (shutdown.delay + shutdown.grace + CLOSING)
        .as_millis()
        .div_ceil(5000)
        .saturating_mul(5)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Where no pod can be seen. Only one that is surely in a pod, `in_pod`, is told the number by default.
fn termination(shutdown: &Shutdown, in_pod: bool) -> Finding {
    let [delay_s, grace_s] = [shutdown.delay, shutdown.grace].map(|span| span.as_secs_f64());
    let needed = ends_within(shutdown);
    let takes = (shutdown.delay + shutdown.grace).as_secs_f64();
    let text = format!("ending takes up to {takes} s (shutdown.delay {delay_s} s, shutdown.grace {grace_s} s)");
    let limit = format!("Kubernetes kills a pod after {TERMINATION_GRACE} s unless told otherwise");
    let mend = format!("set terminationGracePeriodSeconds to {needed} at least, or shorten them");
    if takes > TERMINATION_GRACE as f64 {
        Finding::warning("shutdown", format!("{text}, and {limit}"), mend)
    } else if needed > TERMINATION_GRACE && in_pod {
        Finding::note("shutdown", format!("{text} and a few to close, and {limit}: {mend}"))
    } else {
        Finding::ok("shutdown", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ending_must_fit_into_the_time_that_a_pod_has() {
        use Severity::{Note, Ok, Warning};
        for (delay, grace, needed, expected) in
            [(5, 25, 35, Note), (0, 30, 35, Note), (5, 26, 35, Warning), (31, 0, 35, Warning), (2, 25, 30, Ok)]
        {
            let [delay, grace] = [delay, grace].map(Duration::from_secs);
            let shutdown = Shutdown { delay, grace };
            assert_eq!(termination(&shutdown, true).severity, expected, "{delay:?} {grace:?}");
            assert_eq!(termination(&shutdown, false).severity, if expected == Note { Ok } else { expected });
            assert_eq!(ends_within(&shutdown), needed, "{delay:?} {grace:?}");
        }
    }
}
