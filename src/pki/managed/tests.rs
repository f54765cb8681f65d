//! Decades of plans, made and written as replicas do, and judged by clients that fetched `ca.crt` at some time.

use rustls_pki_types::pem::PemObject;

use super::*;
use crate::pki::{Issued, is_issued_by};

const NOW: u64 = 1_900_000_000;
const DAY: u64 = 86_400;
/// What a client may go without fetching `ca.crt` again.
const UNTOUCHED: u64 = 985 * DAY;

/// What a Secret holds.
#[derive(Clone, Default)]
struct Stored(BTreeMap<String, Vec<u8>>);

impl Stored {
    fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.0.contains_key(CERTIFICATE).then(|| certificates(self.get(CERTIFICATE)))
    }

    fn try_parse(&self) -> Result<Managed, ManagedError> {
        Managed::parse(self.get(CA_CERTIFICATES), self.get(CA_KEYS), self.chain().as_deref())
    }

    fn parse(&self) -> Managed {
        self.try_parse().expect("what was written is read")
    }

    /// Does what is due, and returns why and which entries.
    fn keep(&mut self, hosts: &[&str], now: u64) -> Option<(Reason, Vec<String>)> {
        let hosts = owned(hosts);
        let managed = self.parse();
        let Plan::Write(change) = managed.plan(&hosts, now) else { return None };
        let entries = managed.apply(&change, &hosts, now).expect("a change that can be made");
        let names = entries.keys().cloned().collect();
        for (name, content) in entries {
            match content {
                Some(content) => self.0.insert(name, content),
                None => self.0.remove(&name),
            };
        }
        Some((change.reason, names))
    }

    fn with(mut self, name: &str, content: &str) -> Self {
        self.0.insert(name.to_owned(), content.into());
        self
    }

    fn without(mut self, names: &[&str]) -> Self {
        names.iter().for_each(|name| drop(self.0.remove(*name)));
        self
    }

    /// One that has just been made.
    fn made() -> Self {
        let mut stored = Self::default();
        stored.keep(&["app.example.org"], NOW).expect("something is due");
        stored
    }
}

fn owned(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.expect("PEM")).collect()
}

fn text(stored: &Stored, name: &str) -> String {
    String::from_utf8(stored.get(name).to_vec()).expect("PEM is text")
}

#[test]
fn the_first_write_makes_all_of_it() {
    let mut stored = Stored::default();
    let (reason, entries) = stored.keep(&["app.example.org", "10.0.0.1", "*.example.org"], NOW).expect("it is due");
    assert_eq!((reason, entries), (Reason::First, owned(&[CA_CERTIFICATES, CA_KEYS, CERTIFICATE, KEY])));
    let managed = stored.parse();
    let facts = managed.server().expect("a certificate");
    assert_eq!(facts.dns_names, ["app.example.org", "*.example.org"]);
    assert_eq!(facts.not_after, NOW + 90 * DAY);
    assert_eq!(managed.authority_not_after(NOW), Some(NOW + 3_650 * DAY));
    let hosts = owned(&["*.Example.org", "APP.example.org", "10.0.0.1"]);
    let Plan::Nothing { next } = managed.plan(&hosts, NOW) else { panic!("nothing is due any more") };
    assert_eq!(next, facts.renew_at());
    assert!((NOW + 59 * DAY..NOW + 64 * DAY).contains(&next), "{next}");
    assert!(matches!(managed.plan(&hosts, next), Plan::Write(Change { reason: Reason::CertificateDue, .. })));
}

/// Renewals are spread, and each is at one time for whoever looks.
#[test]
fn certificates_that_were_made_together_are_not_renewed_together() {
    let ca = LocalCa::create(NOW).unwrap();
    let life = 90 * DAY + 3_600;
    let two_thirds = NOW - 3_600 + life * 2 / 3;
    let mut times: Vec<u64> = (0..64)
        .map(|_| {
            let issued = ca.issue_server(&["a"], 90, NOW).unwrap();
            crate::pki::inspect(issued.cert_pem.as_bytes()).unwrap().renew_at()
        })
        .collect();
    times.sort_unstable();
    assert!(two_thirds <= times[0] && times[63] <= two_thirds + life / 30, "{times:?}");
    assert!(times[63] - times[0] > life / 60, "{times:?}");
}

/// Thirty years of a replica that does what is due when it is, for hosts that never change.
#[test]
fn whoever_fetched_the_authorities_in_the_last_years_verifies_each_certificate() {
    let hosts = ["app.example.org"];
    let (mut stored, mut now) = (Stored::default(), NOW);
    let (mut fetched, mut certificates_made, mut authorities_made) = (Vec::new(), 0, 0);
    while now < NOW + 30 * 365 * DAY {
        if let Some(leaf) = stored.parse().server() {
            assert!(leaf.not_after >= now + 26 * DAY, "renewed long before its end");
            // Just before a change is the latest that this can be fetched.
            fetched.push((now, certificates(stored.get(CA_CERTIFICATES))));
        }
        let (reason, entries) = stored.keep(&hosts, now).expect("what was announced is due");
        certificates_made += usize::from(entries.contains(&CERTIFICATE.to_owned()));
        authorities_made += usize::from([Reason::First, Reason::AuthorityDue].contains(&reason));
        let (bundle, chain) = (certificates(stored.get(CA_CERTIFICATES)), stored.chain().expect("a certificate"));
        assert!(is_issued_by(&chain, &bundle[0]), "who reads one certificate alone gets the right one");
        assert!(bundle[1..].iter().all(|authority| !is_issued_by(&chain, authority)));
        assert!(bundle.len() <= 2 && text(&stored, CA_KEYS).matches("BEGIN").count() <= 2);
        let (issuer, parsed) = (CertificateFacts::of(bundle[0].clone()).unwrap(), stored.parse());
        assert!(parsed.server().unwrap().not_after <= issuer.not_after);
        fetched.retain(|(then, _)| now - then <= UNTOUCHED);
        for (then, bundle) in &fetched {
            let known = bundle.iter().any(|authority| is_issued_by(&chain, authority));
            assert!(known, "not by who fetched {} days ago", (now - then) / DAY);
        }
        let Plan::Nothing { next } = parsed.plan(&owned(&hosts), now) else { panic!("one write is enough") };
        assert!(next > now);
        now = next;
    }
    assert!((170..186).contains(&certificates_made), "{certificates_made}");
    assert!((4..=5).contains(&authorities_made), "{authorities_made}");
}

#[test]
fn only_what_is_due_is_made() {
    let stored = Stored::made();
    let day = |days: u64| NOW + days * DAY;
    let hosts = &["app.example.org"][..];
    for (what, before, hosts, now, expected) in [
        ("nothing", stored.clone(), hosts, day(59), None),
        ("in time", stored.clone(), hosts, day(64), Some((Reason::CertificateDue, &[CERTIFICATE, KEY][..]))),
        ("late", stored.clone(), hosts, day(100), Some((Reason::CertificateDue, &[CERTIFICATE, KEY]))),
        ("a host", stored.clone(), &["a", "b"], day(1), Some((Reason::HostsChanged, &[CERTIFICATE, KEY]))),
        (
            "no certificate",
            stored.clone().without(&[CERTIFICATE, KEY]),
            hosts,
            day(1),
            Some((Reason::CertificateMissing, &[CERTIFICATE, KEY])),
        ),
        (
            "no key of the authority",
            stored.clone().without(&[CA_KEYS]),
            hosts,
            day(1),
            Some((Reason::AuthorityKeyMissing, &[CA_CERTIFICATES, CA_KEYS])),
        ),
        (
            "after years",
            stored.clone(),
            hosts,
            day(2_600),
            Some((Reason::AuthorityDue, &[CA_CERTIFICATES, CA_KEYS, CERTIFICATE, KEY])),
        ),
        (
            "after all",
            stored,
            hosts,
            day(4_000),
            Some((Reason::AuthorityDue, &[CA_CERTIFICATES, CA_KEYS, CERTIFICATE, KEY])),
        ),
    ] {
        let mut after = before.clone();
        let kept = after.keep(hosts, now);
        assert_eq!(kept, expected.map(|(reason, entries)| (reason, owned(entries))), "{what}");
        assert!(after.keep(hosts, now).is_none(), "{what}: once");
        for (name, content) in &before.0 {
            let changes = expected.is_some_and(|(_, entries)| entries.contains(&name.as_str()));
            assert_eq!(after.get(name) != content, changes, "{what}: {name}");
        }
    }
}

/// The certificate in use stays while its authority has no key, so that clients have until its end to know the new one.
#[test]
fn an_authority_without_its_key_is_trusted_on() {
    let mut stored = Stored::made().without(&[CA_KEYS]);
    let old = certificates(stored.get(CA_CERTIFICATES));
    stored.keep(&["app.example.org"], NOW + DAY).unwrap();
    let both = certificates(stored.get(CA_CERTIFICATES));
    assert_eq!((both.len(), &both[..1]), (2, &old[..]));
    assert!(is_issued_by(&stored.chain().unwrap(), &old[0]));
    stored.keep(&["app.example.org"], NOW + 64 * DAY).unwrap();
    assert!(is_issued_by(&stored.chain().unwrap(), &both[1]));
    let turned = [both[1].clone(), both[0].clone()];
    assert_eq!(certificates(stored.get(CA_CERTIFICATES)), turned, "first the one that is in use");
}

/// In the middle of a roll-out replicas want different hosts.
#[test]
fn two_lists_of_hosts_do_not_fight() {
    let mut stored = Stored::made();
    let (old, new) = (&["app.example.org"][..], &["new.example.org", "10.0.0.1"][..]);
    assert_eq!(stored.keep(new, NOW + DAY).unwrap().0, Reason::HostsChanged);
    for hosts in [old, new, old] {
        assert!(stored.keep(hosts, NOW + DAY).is_none());
    }
    // What nobody wants any more goes in time.
    stored.keep(new, NOW + 65 * DAY).unwrap();
    assert_eq!(stored.parse().server().unwrap().dns_names, ["new.example.org"]);
    let many: Vec<String> = (0..MAX_NAMES).map(|number| format!("h{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    stored.keep(&many, NOW + 66 * DAY).unwrap();
    assert_eq!(stored.parse().server().unwrap().dns_names.len(), MAX_NAMES);
}

#[test]
fn what_is_no_good_says_so_and_holds_no_key() {
    let stored = Stored::made();
    let other = Stored::made();
    let (ca, key) = (text(&stored, CA_CERTIFICATES), text(&stored, CA_KEYS));
    let foreign = foreign_pair();
    let twenty = ca.repeat(20);
    for (what, bad, expected) in [
        ("a torn authority", stored.clone().with(CA_CERTIFICATES, &ca[..ca.len() / 2]), ManagedError::BadAuthorities),
        ("no authority", stored.clone().with(CA_CERTIFICATES, "none"), ManagedError::BadAuthorities),
        ("a torn key", stored.clone().with(CA_KEYS, &key[..key.len() / 2]), ManagedError::BadKeys),
        ("no key", stored.clone().with(CA_KEYS, &ca), ManagedError::BadKeys),
        ("too many", stored.clone().with(CA_CERTIFICATES, &twenty), ManagedError::TooMany),
        ("another's key", stored.clone().with(CA_KEYS, &text(&other, CA_KEYS)), ManagedError::KeyOfNone),
        ("a key alone", stored.clone().without(&[CA_CERTIFICATES, CERTIFICATE]), ManagedError::KeyOfNone),
        ("no authorities", stored.clone().without(&[CA_CERTIFICATES, CA_KEYS]), ManagedError::NotOurs),
        ("others' authorities", Stored::default().with(CA_CERTIFICATES, &foreign.cert_pem), ManagedError::NotOurs),
        (
            "another's certificate",
            stored.clone().with(CERTIFICATE, &text(&other, CERTIFICATE)),
            ManagedError::NotIssued,
        ),
        (
            "what another program keeps",
            Stored::default().with(CA_CERTIFICATES, &foreign.cert_pem).with(CERTIFICATE, &foreign.cert_pem),
            ManagedError::NotOurs,
        ),
    ] {
        let error = bad.try_parse().map(drop).unwrap_err();
        assert_eq!(error, expected, "{what}");
        let line = error.to_string();
        assert!(!line.contains('\n') && (line.contains("remove") || line.contains("name another")), "{line}");
    }
    // An operator's own authority beside ours is left there.
    let mut beside = stored.with(CA_CERTIFICATES, &format!("{}{ca}", foreign.cert_pem));
    beside.keep(&["app.example.org"], NOW + 2_600 * DAY).unwrap();
    let bundle = certificates(beside.get(CA_CERTIFICATES));
    assert!(bundle.len() == 3 && bundle.contains(&certificates(foreign.cert_pem.as_bytes())[0]));
}

fn foreign_pair() -> Issued {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(owned(&["app.example.org"])).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    Issued { cert_pem: params.self_signed(&key).unwrap().pem(), key_pem: key.serialize_pem() }
}

#[test]
fn keys_are_not_printed() {
    let stored = Stored::made();
    let printed = format!("{:?}", stored.parse());
    let secret = text(&stored, CA_KEYS).lines().nth(1).unwrap().to_owned();
    assert!(!printed.contains(&secret) && !printed.contains("BEGIN"));
}
