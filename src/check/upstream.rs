//! The application: whether it can be reached, and whether others can reach it past the sidecar.

use std::time::Duration;

use rustls::CertificateError;
use tokio::runtime;

use super::finding::Finding;
use super::tls::time;
use crate::config::Config;
use crate::exposure::Exposure;
use crate::metrics::UpstreamErrorReason;
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
        Err(error) if error.reason == UpstreamErrorReason::Tls => Finding::warning(
            UPSTREAM,
            format!("the application is there, and TLS with it fails: {}", error.detail),
            tls_mend(config, error.tls.as_deref()),
        ),
        Err(error) => Finding::warning(
            UPSTREAM,
            format!("the application cannot be reached from here: {}", error.detail),
            "start it, or correct `upstream`",
        ),
    }
}

/// What to do where a handshake has failed with `error`; `None`: it broke off. "It" is the application.
fn tls_mend(config: &Config, error: Option<&rustls::Error>) -> String {
    match error {
        Some(rustls::Error::InvalidCertificate(fault)) => certificate_mend(config, fault),
        Some(rustls::Error::InvalidMessage(_)) => {
            "if what listens there speaks no TLS, write `upstream` with http:// or h2c://".to_owned()
        }
        _ => "let it speak TLS 1.2 or 1.3 and HTTP/1.1, and ask for no certificate of the client; its log may say more"
            .to_owned(),
    }
}

fn certificate_mend(config: &Config, fault: &CertificateError) -> String {
    match fault {
        // An authority of the same name that has another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match &config.upstream_ca {
            Some(file) => format!(
                "put the CA that has signed its certificate into `upstreamCa`, {file:?}; let it send what is in between"
            ),
            None => {
                "set `upstreamCa` to a file with the CA that has signed its certificate, which the system's roots do \
                     not vouch for"
                    .to_owned()
            }
        },
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!(
                "issue its certificate again with {:?}, or write `upstream` with a name that it has",
                expected.to_str()
            )
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("renew its certificate, which expired at {}, or set the clock right", time(not_after.as_secs()))
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "issue its certificate again, which is not good before {}, or set the clock right",
            time(not_before.as_secs())
        ),
        _ => "issue its certificate again: for a server, and not as a CA's".to_owned(),
    }
}
