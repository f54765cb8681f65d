//! An authority and a server's certificate that are kept going: what is due, as a pure function of what there is, the
//! hosts and the time.
//!
//! An authority gets a successor at two thirds of its life. It is published then, beside its predecessor, and signs
//! nothing before that one can no longer cover a whole server's certificate: nearly three years later. So what is
//! served is always of the authority that clients have known longest. Nobody needs to agree on anything but
//! what is stored.

mod document;

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

pub use self::document::ManagedError;
use self::document::{authorities_pem, keys_pem};
use super::{CertificateFacts, LocalCa, PkiError};

/// Where the authorities' certificates are, that of the server's certificate first; and the keys of those that sign.
pub const CA_CERTIFICATES: &str = "ca.crt";
pub const CA_KEYS: &str = "ca.key";
/// The server's certificate and its key, named as in a Secret of type `kubernetes.io/tls`.
pub const CERTIFICATE: &str = "tls.crt";
pub const KEY: &str = "tls.key";

/// Short enough for a stolen key, long enough that its last third outlasts any absence of the API server.
const SERVER_DAYS: u64 = 90;
const SERVER_LIFE: u64 = SERVER_DAYS * 86_400;

/// The most names of a certificate that earlier ones are kept in.
const MAX_NAMES: usize = 500;

/// Authorities, and the server's certificate that one of them has issued.
#[derive(Debug, Default)]
pub struct Managed {
    /// In the order in which they are stored.
    authorities: Vec<Authority>,
    server: Option<Server>,
}

#[derive(Debug, Clone)]
struct Authority {
    der: CertificateDer<'static>,
    facts: CertificateFacts,
    /// With its key: it can sign.
    ca: Option<Arc<LocalCa>>,
    ours: bool,
}

#[derive(Debug)]
struct Server {
    facts: CertificateFacts,
    /// Which of the authorities has issued it.
    issuer: usize,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing; `next` is the time, in seconds since the epoch, to look again.
    Nothing { next: u64 },
    /// One write of what the change makes.
    Write(Change),
}

/// What is made anew. Good for the very state that it was planned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub reason: Reason,
    authority: bool,
    certificate: bool,
}

/// Why something is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is nothing yet.
    First,
    /// The authority's key is gone.
    AuthorityKeyMissing,
    /// The newest authority is at two thirds of its life.
    AuthorityDue,
    /// The certificate or its key is gone.
    CertificateMissing,
    /// The certificate is not for one of the hosts.
    HostsChanged,
    /// It is at two thirds of its life, or its authority is over.
    CertificateDue,
}

impl Reason {
    /// As the log names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first_certificate",
            Self::AuthorityKeyMissing => "authority_key_missing",
            Self::AuthorityDue => "authority_due",
            Self::CertificateMissing => "certificate_missing",
            Self::HostsChanged => "hosts_changed",
            Self::CertificateDue => "certificate_due",
        }
    }
}

impl Managed {
    /// What is due at `now`, in seconds since the epoch, for a server that is reached as any of `hosts`.
    pub fn plan(&self, hosts: &[String], now: u64) -> Plan {
        let (authority, certificate) = (self.authority_due(now), self.certificate_due(hosts, now));
        match authority.or(certificate) {
            Some(reason) => {
                Plan::Write(Change { reason, authority: authority.is_some(), certificate: certificate.is_some() })
            }
            None => {
                let signers = signers(&self.authorities, now);
                let newest = signers.last().map(|authority| &authority.facts);
                let server = self.server.as_ref().map(|server| &server.facts);
                let next = newest.into_iter().chain(server).map(CertificateFacts::renew_at).min();
                Plan::Nothing { next: next.unwrap_or(now) }
            }
        }
    }

    /// The entries to write: what has become of each that changes.
    ///
    /// # Errors
    /// No randomness, or hosts that no certificate can be for.
    pub fn apply(
        &self,
        change: &Change,
        hosts: &[String],
        now: u64,
    ) -> Result<BTreeMap<String, Option<Vec<u8>>>, PkiError> {
        let kept = self.authorities.iter().filter(|authority| !authority.facts.is_expired(now)).cloned();
        let mut authorities: Vec<Authority> = kept.collect();
        if change.authority {
            authorities.push(Authority::made_by_us(LocalCa::create(now)?));
        }
        let newest = signers(&authorities, now).last().map(|newest| newest.facts.not_before);
        for authority in &mut authorities {
            let signs_whole = authority.facts.not_after >= now.saturating_add(SERVER_LIFE);
            if !signs_whole && Some(authority.facts.not_before) < newest {
                // It will sign nothing any more.
                authority.ca = None;
            }
        }
        // The one that clients have known longest.
        let signer = signers(&authorities, now).first().map(|signer| (*signer).clone());
        let present = self.server.as_ref().map(|server| &self.authorities[server.issuer]);
        let issuer = if change.certificate { signer.as_ref() } else { present };
        if let Some(at) = authorities.iter().position(|authority| issuer.is_some_and(|it| it.der == authority.der)) {
            // Who reads one certificate alone is to read this one.
            authorities[..=at].rotate_right(1);
        }
        let mut entries = BTreeMap::new();
        let mut set = |name: &str, content: &[u8]| entries.insert(name.to_owned(), Some(content.to_vec()));
        if change.certificate {
            let issuer = signer.and_then(|signer| signer.ca).ok_or(PkiError::Expired)?;
            let names = self.names(hosts, now);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let issued = issuer.issue_server(&names, SERVER_DAYS, now)?;
            set(CERTIFICATE, issued.cert_pem.as_bytes());
            set(KEY, issued.key_pem.as_bytes());
        }
        for (name, before, after) in [
            (CA_CERTIFICATES, authorities_pem(&self.authorities), authorities_pem(&authorities)),
            (CA_KEYS, keys_pem(&self.authorities), keys_pem(&authorities)),
        ] {
            if before != after {
                set(name, after.as_bytes());
            }
        }
        Ok(entries)
    }

    /// What the server's certificate says.
    pub fn server(&self) -> Option<&CertificateFacts> {
        self.server.as_ref().map(|server| &server.facts)
    }

    /// When the authority that signs now ends.
    pub fn authority_not_after(&self, now: u64) -> Option<u64> {
        signers(&self.authorities, now).first().map(|authority| authority.facts.not_after)
    }

    fn authority_due(&self, now: u64) -> Option<Reason> {
        match signers(&self.authorities, now).last() {
            Some(newest) => is_due(&newest.facts, now).then_some(Reason::AuthorityDue),
            None if self.authorities.is_empty() => Some(Reason::First),
            None if self.authorities.iter().all(|authority| authority.facts.is_expired(now)) => {
                Some(Reason::AuthorityDue)
            }
            None => Some(Reason::AuthorityKeyMissing),
        }
    }

    fn certificate_due(&self, hosts: &[String], now: u64) -> Option<Reason> {
        let Some(Server { facts, issuer }) = &self.server else { return Some(Reason::CertificateMissing) };
        if !hosts.iter().all(|host| facts.names(host)) {
            return Some(Reason::HostsChanged);
        }
        (is_due(facts, now) || self.authorities[*issuer].facts.is_expired(now)).then_some(Reason::CertificateDue)
    }

    /// While a change of the hosts is rolled out, those who know the old ones and those who know the new ones agree on
    /// a certificate for all of them; names that nobody wants any more go when it is renewed in time.
    fn names(&self, hosts: &[String], now: u64) -> Vec<String> {
        let mut names = hosts.to_vec();
        if let Some(facts) = self.server().filter(|facts| !is_due(facts, now)) {
            let addresses = facts.ip_addresses.iter().map(ToString::to_string);
            names.extend(facts.dns_names.iter().cloned().chain(addresses));
            if names.len() > MAX_NAMES {
                names.truncate(hosts.len());
            }
        }
        names
    }
}

/// Those that can sign, the oldest first.
fn signers(authorities: &[Authority], now: u64) -> Vec<&Authority> {
    let can_sign = |authority: &&Authority| authority.ca.is_some() && !authority.facts.is_expired(now);
    let mut signers: Vec<_> = authorities.iter().filter(can_sign).collect();
    signers.sort_by_key(|authority| authority.facts.not_before);
    signers
}

fn is_due(facts: &CertificateFacts, now: u64) -> bool {
    facts.renew_at() <= now
}

#[cfg(test)]
mod tests;
