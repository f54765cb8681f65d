//! What is wrong before it hurts: findings about a configuration and about all that it names.

mod finding;
mod keys;
mod mounts;
mod tls;
mod upstream;
mod users;

use std::path::Path;
use std::time::Duration;

use crate::auth::rotation::Policy;
use crate::config::{Loaded, Shutdown, Store};

pub(crate) use self::finding::{Finding, Severity};

/// What a pod gets where `terminationGracePeriodSeconds` says nothing.
const TERMINATION_GRACE: Duration = Duration::from_secs(30);

/// Looks at a configuration that loads. `file`: where from, if it is a file; `hosts`: what clients call the server by; `now`: seconds since the epoch.
///
/// Reads files and connects to the application; blocks for a few seconds at most. Writes nothing.
pub(crate) fn findings(
    loaded: &Loaded,
    file: Option<&Path>,
    policy: &Policy,
    hosts: &[String],
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
        Store::Kubernetes(_) => findings.push(Finding::error(
            "store",
            "store.kubernetes is not available yet",
            "give `store.directory` instead",
        )),
    }
    findings.extend(mounts::findings(config, file));
    findings.extend(upstream::findings(config));
    findings.push(termination(&config.shutdown));
    findings
}

fn termination(Shutdown { delay, grace }: &Shutdown) -> Finding {
    let takes = *delay + *grace;
    let [takes_s, delay_s, grace_s] = [takes, *delay, *grace].map(|span| span.as_secs_f64());
    let shutdown = format!("ending takes up to {takes_s} s (shutdown.delay {delay_s} s, shutdown.grace {grace_s} s)");
    if takes > TERMINATION_GRACE {
        Finding::warning(
            "shutdown",
            format!("{shutdown}, and Kubernetes kills a pod after 30 s unless told otherwise"),
            format!("set terminationGracePeriodSeconds to {} at least, or shorten them", takes_s.ceil()),
        )
    } else {
        Finding::ok("shutdown", shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ending_must_fit_into_the_time_that_a_pod_has() {
        for (delay, grace, expected) in
            [(5, 25, Severity::Ok), (0, 30, Severity::Ok), (5, 26, Severity::Warning), (31, 0, Severity::Warning)]
        {
            let [delay, grace] = [delay, grace].map(Duration::from_secs);
            assert_eq!(termination(&Shutdown { delay, grace }).severity, expected, "{delay:?} {grace:?}");
        }
    }
}
