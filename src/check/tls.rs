//! The server's certificate and key, and the authorities that are trusted.

use std::path::Path;

use jiff::Timestamp;

use super::finding::Finding;
use crate::config::{Certificate, Config};
use crate::pki::{CertificateFacts, check_hosts};
use crate::server::{TlsOptions, server_config, without_certificate};
use crate::store::certificate_document::Parsed;
use crate::store::tls_material::{key_is_world_readable, read_ca_bundle, read_pair};

pub(super) const CERTIFICATE: &str = "certificate";
const DAY: u64 = 86_400;
/// A certificate that ends within this many seconds is to be renewed.
const SOON: u64 = 30 * DAY;

/// Reads the files that `tls` names. A certificate in a Secret is [`managed`].
pub(super) fn findings(config: &Config, hosts: &[String], now: u64) -> Vec<Finding> {
    let tls = &config.tls;
    let mut findings = Vec::new();
    let client_ca = tls.clients.as_ref().map_or_else(Vec::new, |clients| {
        read_ca_bundle(&clients.ca).unwrap_or_else(|error| {
            findings.push(Finding::from_error("client CA", &error).about("tls.clientCa"));
            Vec::new()
        })
    });
    let options = TlsOptions::new(tls, client_ca);
    match &tls.certificate {
        Certificate::Files { certificate, key } => findings.extend(files(certificate, key, &options, hosts, now)),
        Certificate::Managed { hosts, .. } => {
            let hosts = check_hosts(hosts).map_err(|error| Finding::from_error(CERTIFICATE, &error));
            findings.extend(hosts.err().map(|finding| finding.about("tls.managed.hosts")));
            let options = without_certificate(&options).map(drop);
            findings.extend(options.err().map(|error| Finding::from_error(CERTIFICATE, &error)));
        }
    }
    findings
}

fn files(certificate: &Path, key: &Path, options: &TlsOptions, hosts: &[String], now: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    if key_is_world_readable(key) {
        findings.push(Finding::warning(
            CERTIFICATE,
            format!("tls.key {key:?} can be read by everyone"),
            "`chmod 600` it",
        ));
    }
    let pair = match read_pair(certificate, key) {
        Ok(pair) => pair,
        Err(error) => {
            findings.push(Finding::from_error(CERTIFICATE, &error).about("tls"));
            return findings;
        }
    };
    if let Err(error) = server_config(&pair, options) {
        findings.push(Finding::from_error(CERTIFICATE, &error));
        return findings;
    }
    findings.push(Finding::ok(CERTIFICATE, format!("{certificate:?} and {key:?} belong together")));
    match pair.cert_chain.first().map(|leaf| CertificateFacts::of(leaf.clone())) {
        Some(Ok(facts)) => {
            findings.push(lasts(&facts, now, facts.not_after.saturating_sub(SOON), "renew it"));
            findings.extend(names(&facts, hosts, "issue it again with", "its subject alternative names"));
        }
        _ => findings.push(Finding::error(
            CERTIFICATE,
            format!("{certificate:?} is not a certificate that can be understood"),
            "issue it again",
        )),
    }
    findings
}

/// What the Secret `place` holds, for a server that is configured for `own` hosts and called by `hosts`.
pub(super) fn managed(
    parsed: Result<Parsed, String>,
    place: &str,
    own: &[String],
    hosts: &[String],
    now: u64,
) -> Vec<Finding> {
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return vec![Finding::from_error(CERTIFICATE, &error).about(place)],
    };
    let Some(served) = &parsed.served else {
        let mend = "start a sidecar that may patch it: it makes one";
        return vec![Finding::warning(CERTIFICATE, format!("{place} holds no certificate yet"), mend)];
    };
    let authority = parsed.managed.authority_not_after(now).map_or_else(
        || "an authority without its key".to_owned(),
        |until| format!("an authority, good until {}", time(until)),
    );
    let mut findings = vec![Finding::ok(CERTIFICATE, format!("{place} holds {authority}, and a certificate"))];
    let late = "see why no sidecar does that: its log has the event `renewal`";
    findings.push(lasts(&served.facts, now, served.facts.renew_at().saturating_add(DAY), late));
    findings.extend(own.iter().filter(|host| !served.facts.names(host)).map(|host| {
        let mend = "start a sidecar with this configuration: it makes another";
        Finding::warning(CERTIFICATE, format!("it is not for {host:?} of tls.managed.hosts yet"), mend)
    }));
    findings.extend(names(&served.facts, hosts, "put", "tls.managed.hosts"));
    findings
}

/// When the certificate is good, and that it should have been renewed since `due`.
fn lasts(facts: &CertificateFacts, now: u64, due: u64, mend: &str) -> Finding {
    let (from, until) = (time(facts.not_before), time(facts.not_after));
    if facts.is_expired(now) {
        Finding::error(CERTIFICATE, format!("it has expired, at {until}"), mend)
    } else if facts.is_not_yet_valid(now) {
        Finding::error(CERTIFICATE, format!("it is not good before {from}"), "issue it again, or set the clock right")
    } else if due < now {
        let days = (facts.not_after - now) / DAY;
        Finding::warning(CERTIFICATE, format!("it expires in {days} days, at {until}"), mend)
    } else {
        Finding::ok(CERTIFICATE, format!("it is good until {until}"))
    }
}

/// Whom the certificate is good for; the mend of a host that is missing is to `put` it `among` the others.
fn names(facts: &CertificateFacts, hosts: &[String], put: &str, among: &str) -> Vec<Finding> {
    let addresses = facts.ip_addresses.iter().map(ToString::to_string);
    let names: Vec<String> = facts.dns_names.iter().cloned().chain(addresses).collect();
    let known = if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") };
    let nameless = (names.is_empty() && hosts.is_empty()).then(|| {
        Finding::warning(
            CERTIFICATE,
            "it names no host, and no client accepts that",
            "issue it again with subject alternative names",
        )
    });
    let judged = hosts.iter().map(|host| {
        if facts.covers(host) {
            Finding::ok(CERTIFICATE, format!("it is good for {host:?}"))
        } else {
            let mend = format!("{put} {host:?} among {among}");
            Finding::error(CERTIFICATE, format!("it is not good for {host:?}, but for {known:?}"), mend)
        }
    });
    nameless.into_iter().chain(judged).collect()
}

pub(super) fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::check::Severity;
    use crate::pki::managed::{Managed, Plan};
    use crate::pki::{LocalCa, inspect};
    use crate::store::certificate_document::parse;

    const NOW: u64 = 1_795_341_600;

    fn severities(hosts: &[&str], asked: &[&str], now: u64) -> Vec<(Severity, String)> {
        let issued = LocalCa::create(NOW).and_then(|ca| ca.issue_server(hosts, 60, NOW)).expect("hosts that are right");
        let facts = inspect(issued.cert_pem.as_bytes()).expect("a certificate");
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        let lasts = lasts(&facts, now, facts.not_after - SOON, "renew it");
        let findings = [lasts].into_iter().chain(names(&facts, &asked, "put", "them"));
        findings.map(|finding| (finding.severity, finding.message)).collect()
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

    fn of_secret(made: u64, own: &[&str], asked: &[&str], now: u64) -> Vec<(Severity, String)> {
        let hosts = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect::<Vec<String>>();
        let (nothing, first) = (Managed::default(), hosts(&["localhost"]));
        let Plan::Write(change) = nothing.plan(&first, made) else { panic!("it is due") };
        let entries = nothing.apply(&change, &first, made).expect("hosts that are right");
        let entries = entries.into_iter().filter_map(|(name, content)| Some((name, content?))).collect();
        let found = managed(parse(&entries), "Secret a/b", &hosts(own), &hosts(asked), now);
        found.into_iter().map(|finding| (finding.severity, finding.message)).collect()
    }

    #[test]
    fn what_is_renewed_by_itself_is_late_when_it_should_have_been() {
        for (now, expected) in
            [(NOW + 59 * DAY, Severity::Ok), (NOW + 66 * DAY, Severity::Warning), (NOW + 91 * DAY, Severity::Error)]
        {
            let found = of_secret(NOW, &["localhost"], &[], now);
            assert_eq!(found.iter().map(|(severity, _)| *severity).collect::<Vec<_>>(), [Severity::Ok, expected]);
        }
        let found = of_secret(NOW, &["localhost", "new"], &["localhost", "other"], NOW);
        let severities: Vec<Severity> = found.iter().map(|(severity, _)| *severity).collect();
        assert_eq!(severities, [Severity::Ok, Severity::Ok, Severity::Warning, Severity::Ok, Severity::Error]);
        let empty = managed(parse(&BTreeMap::new()), "Secret a/b", &[], &[], NOW);
        assert!(empty.len() == 1 && empty[0].severity == Severity::Warning, "{empty:?}");
    }
}
