//! The users, the key ring and the certificate in their Secrets.

use crate::auth::rotation::Policy;
use crate::check::finding::Finding;
use crate::check::{keys, tls, users};
use crate::config::Access;
use crate::store::KEYS_ENTRY;
use crate::store::certificate_document;
use crate::store::keys_document;
use crate::store::kubernetes::{ApiError, Cluster, Fault};
use crate::store::users_document::{self, Source};

/// All users' Secrets together.
pub(super) async fn users(cluster: &Cluster, names: &[String], access: &Access, now: u64) -> Vec<Finding> {
    let mut versions = Vec::with_capacity(names.len());
    let mut findings = Vec::new();
    for name in names {
        match cluster.read(name).await {
            Ok(version) => versions.push(version),
            Err(error) => findings.push(unread(users::USERS, &error)),
        }
    }
    if !findings.is_empty() {
        return findings;
    }
    let label = |name| if names.len() > 1 { name } else { "" };
    let sources: Vec<Source<'_>> =
        versions.iter().map(|version| Source { name: label(version.name()), entries: version.data() }).collect();
    let place = match names {
        [name] => format!("Secret {}/{name}", cluster.namespace()),
        _ => format!("Secrets of namespace {}", cluster.namespace()),
    };
    users::parsed(users_document::parse(&sources), &place, access, now)
}

pub(super) async fn keys(cluster: &Cluster, name: &str, may_patch: bool, policy: &Policy, now: u64) -> Vec<Finding> {
    let version = match cluster.read(name).await {
        Ok(version) => version,
        Err(error) => return vec![unread(keys::KEYS, &error)],
    };
    let place = format!("Secret {}/{name}, {KEYS_ENTRY}", cluster.namespace());
    let document = version.data().get(KEYS_ENTRY).map(Vec::as_slice).unwrap_or_default();
    let mut findings =
        keys::parsed(keys_document::parse(document), &place, may_patch && !version.is_immutable(), policy, now);
    if version.is_immutable() {
        findings.push(Finding::error(
            keys::KEYS,
            format!("Secret {}/{name} is immutable: its keys can never be rotated", cluster.namespace()),
            "delete it and make it anew without `immutable: true`",
        ));
    }
    findings
}

/// `own`: the hosts of the configuration; `hosts`: what clients call the server by.
pub(super) async fn certificate(
    cluster: &Cluster,
    name: &str,
    own: &[String],
    hosts: &[String],
    now: u64,
) -> Vec<Finding> {
    let version = match cluster.read(name).await {
        Ok(version) => version,
        Err(error) => return vec![unread(tls::CERTIFICATE, &error)],
    };
    let place = format!("Secret {}/{name}", cluster.namespace());
    let mut findings = tls::managed(certificate_document::parse(version.data()), &place, own, hosts, now);
    if version.is_immutable() {
        findings.push(Finding::error(
            tls::CERTIFICATE,
            format!("{place} is immutable: its certificate can never be renewed"),
            "delete it and make it anew without `immutable: true`",
        ));
    }
    findings
}

/// A sidecar's missing right is the finding of another check.
fn unread(check: &'static str, error: &ApiError) -> Finding {
    match error.fault() {
        Fault::Forbidden { .. } => Finding::note(check, format!("not looked at: {error}")),
        _ => Finding::from_error(check, error),
    }
}
