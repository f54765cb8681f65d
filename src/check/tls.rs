//! The server's certificate and key, and the authorities that are trusted.

use std::path::Path;

use jiff::Timestamp;

use super::finding::Finding;
use crate::config::{Certificate, ClientAuth, Config, Tls};
use crate::pki::CertificateFacts;
use crate::server::{TlsOptions, server_config};
use crate::store::tls_material::{key_is_world_readable, read_ca_bundle, read_pair};

const CERTIFICATE: &str = "certificate";
const DAY: u64 = 86_400;
/// A certificate that ends within this many seconds is to be renewed.
const SOON: u64 = 30 * DAY;

/// Reads the files that `tls` names.
pub(super) fn findings(config: &Config, hosts: &[String], now: u64) -> Vec<Finding> {
    match &config.tls.certificate {
        Certificate::Files { certificate, key } => files(certificate, key, &config.tls, hosts, now),
        Certificate::Managed { .. } => vec![Finding::error(
            CERTIFICATE,
            "tls.managed is not available yet",
            "give `tls.certificate` and `tls.key` instead",
        )],
    }
}

fn files(certificate: &Path, key: &Path, tls: &Tls, hosts: &[String], now: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    if key_is_world_readable(key) {
        findings.push(Finding::warning(
            CERTIFICATE,
            format!("tls.key {key:?} can be read by everyone"),
            "`chmod 600` it (in a pod: `defaultMode: 0400` on the volume)",
        ));
    }
    let (client_ca, client_auth) = match &tls.clients {
        None => (Vec::new(), ClientAuth::Required),
        Some(clients) => match read_ca_bundle(&clients.ca) {
            Ok(ca) => (ca, clients.auth),
            Err(error) => {
                findings.push(Finding::from_error("client CA", &error).about("tls.clientCa"));
                (Vec::new(), clients.auth)
            }
        },
    };
    let pair = match read_pair(certificate, key) {
        Ok(pair) => pair,
        Err(error) => {
            findings.push(Finding::from_error(CERTIFICATE, &error).about("tls"));
            return findings;
        }
    };
    let options = TlsOptions { min_version: tls.min_version, client_ca, client_auth };
    if let Err(error) = server_config(&pair, &options) {
        findings.push(Finding::from_error(CERTIFICATE, &error));
        return findings;
    }
    findings.push(Finding::ok(CERTIFICATE, format!("{certificate:?} and {key:?} belong together")));
    match pair.cert_chain.first().map(|leaf| CertificateFacts::of(leaf.clone())) {
        Some(Ok(facts)) => findings.extend(judged(&facts, hosts, now)),
        _ => findings.push(Finding::error(
            CERTIFICATE,
            format!("{certificate:?} is not a certificate that can be understood"),
            "issue it again",
        )),
    }
    findings
}

/// When the certificate is good, and for whom.
fn judged(facts: &CertificateFacts, hosts: &[String], now: u64) -> Vec<Finding> {
    let (from, until) = (time(facts.not_before), time(facts.not_after));
    let validity = if facts.is_expired(now) {
        Finding::error(CERTIFICATE, format!("it has expired, at {until}"), "renew it")
    } else if facts.is_not_yet_valid(now) {
        Finding::error(CERTIFICATE, format!("it is not good before {from}"), "issue it again, or set the clock right")
    } else if facts.not_after - now < SOON {
        let days = (facts.not_after - now) / DAY;
        Finding::warning(CERTIFICATE, format!("it expires in {days} days, at {until}"), "renew it")
    } else {
        Finding::ok(CERTIFICATE, format!("it is good until {until}"))
    };
    let addresses = facts.ip_addresses.iter().map(ToString::to_string);
    let names: Vec<String> = facts.dns_names.iter().cloned().chain(addresses).collect();
    let known = if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") };
    let mut findings = vec![validity];
    if names.is_empty() && hosts.is_empty() {
        findings.push(Finding::warning(
            CERTIFICATE,
            "it names no host, and no client accepts that",
            "issue it again with subject alternative names",
        ));
    }
    findings.extend(hosts.iter().map(|host| {
        if facts.covers(host) {
            Finding::ok(CERTIFICATE, format!("it is good for {host:?}"))
        } else {
            let mend = format!("issue it again with {host:?} among its subject alternative names");
            Finding::error(CERTIFICATE, format!("it is not good for {host:?}, but for {known:?}"), mend)
        }
    }));
    findings
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;
    use crate::pki::{LocalCa, inspect};

    const NOW: u64 = 1_795_341_600;

    fn severities(hosts: &[&str], asked: &[&str], now: u64) -> Vec<(Severity, String)> {
        let issued = LocalCa::create(NOW).and_then(|ca| ca.issue_server(hosts, 60, NOW)).expect("hosts that are right");
        let facts = inspect(issued.cert_pem.as_bytes()).expect("a certificate");
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        judged(&facts, &asked, now).into_iter().map(|finding| (finding.severity, finding.message)).collect()
    }

    #[test]
    fn the_time_in_which_it_is_good_counts() {
        for (now, expected, words) in [
            (NOW, Severity::Ok, "good until"),
            (NOW + 29 * DAY, Severity::Ok, "good until"),
            (NOW + 31 * DAY, Severity::Warning, "expires in"),
            (NOW + 61 * DAY, Severity::Error, "has expired"),
            (NOW - DAY, Severity::Error, "not good before"),
        ] {
            let found = severities(&["localhost"], &[], now);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].0, expected, "{found:?}");
            assert!(found[0].1.contains(words), "{found:?}");
        }
    }

    #[test]
    fn each_host_that_is_asked_for_is_judged() {
        let found = severities(&["app.example.org", "127.0.0.1"], &["app.example.org", "127.0.0.1", "other"], NOW);
        let severities: Vec<Severity> = found.iter().map(|(severity, _)| *severity).collect();
        assert_eq!(severities, [Severity::Ok, Severity::Ok, Severity::Ok, Severity::Error]);
        assert!(found[3].1.contains("app.example.org, 127.0.0.1"), "{found:?}");
    }
}
