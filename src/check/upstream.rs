//! The application: whether it can be reached, and whether others can reach it past the sidecar.

use std::time::Duration;

use tokio::runtime;

use super::finding::Finding;
use crate::config::Config;
use crate::exposure::Exposure;
use crate::proxy::{Deadlines, Target};
use crate::store::tls_material::read_ca_bundle;

const UPSTREAM: &str = "upstream";
/// How long connecting may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// Connects once, as the proxy does, and looks into the kernel's tables.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![reached(config)];
    let Some(port) = config.upstream.loopback_port() else { return findings };
    findings.push(if Exposure::of_loopback_port(Some(port)).is_exposed() {
        Finding::warning(
            UPSTREAM,
            format!(
                "something listens on the application's port {port} beyond loopback: it can be reached past the sidecar"
            ),
            "let the application listen on 127.0.0.1 alone, or close the port by a NetworkPolicy",
        )
    } else {
        Finding::ok(UPSTREAM, format!("nothing listens on port {port} beyond loopback here"))
    });
    findings
}

fn reached(config: &Config) -> Finding {
    let ca = match config.upstream_ca.as_deref().map(read_ca_bundle).transpose() {
        Ok(ca) => ca.unwrap_or_default(),
        Err(error) => return Finding::from_error(UPSTREAM, &error).about("upstreamCa"),
    };
    let deadlines = Deadlines { connect: DEADLINE.min(config.limits.upstream_connect), headers: None };
    let target = match Target::new(&config.upstream, ca, deadlines) {
        Ok(target) => target,
        Err(error) => return Finding::error(UPSTREAM, error, "correct `upstream` or `upstreamCa`"),
    };
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Finding::warning(UPSTREAM, format!("not tried: {error}"), "try again"),
    };
    let connected = runtime.block_on(target.connect());
    // A name that nobody resolves must not hold up the end.
    runtime.shutdown_background();
    match connected {
        Ok(_) => Finding::ok(UPSTREAM, "the application can be reached"),
        Err(error) => Finding::warning(
            UPSTREAM,
            format!("the application cannot be reached from here: {}", error.detail),
            "start it, or correct `upstream`",
        ),
    }
}
