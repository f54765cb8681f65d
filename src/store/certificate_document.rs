//! A Secret in which an authority and a server's certificate are kept: parsed, and proven to belong together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::tls_material::{Pair, pair};
use crate::pki::CertificateFacts;
use crate::pki::managed::{CA_CERTIFICATES, CA_KEYS, CERTIFICATE, KEY, Managed, ManagedError};

/// What a Secret holds.
pub(crate) struct Parsed {
    pub(crate) managed: Managed,
    /// What can be served; none where there is none yet.
    pub(crate) served: Option<Served>,
}

/// A certificate and its key, with what it says.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) pair: Arc<Pair>,
    pub(crate) facts: CertificateFacts,
}

/// # Errors
/// One line with the entry and the mend, never contents.
pub(crate) fn parse(entries: &BTreeMap<String, Vec<u8>>) -> Result<Parsed, String> {
    let entry = |name| entries.get(name).map_or(&[][..], Vec::as_slice);
    let (certificate, key) = (entry(CERTIFICATE), entry(KEY));
    let has_pair = !certificate.is_empty() || !key.is_empty();
    if has_pair && entry(CA_CERTIFICATES).is_empty() {
        return Err(ManagedError::NotOurs.to_string());
    }
    // Half a pair is none.
    let pair = if certificate.is_empty() || key.is_empty() {
        None
    } else {
        let pair = pair((Path::new(CERTIFICATE), certificate), (Path::new(KEY), key));
        Some(pair.map_err(|error| format!("{error}; or remove {CERTIFICATE} and {KEY}, and new ones are made"))?)
    };
    let chain = pair.as_ref().map(|pair| pair.cert_chain.as_slice());
    let managed = Managed::parse(entry(CA_CERTIFICATES), entry(CA_KEYS), chain).map_err(|error| error.to_string())?;
    let served = pair.zip(managed.server().cloned()).map(|(pair, facts)| Served { pair: Arc::new(pair), facts });
    Ok(Parsed { managed, served })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::LocalCa;
    use crate::pki::managed::Plan;

    const NOW: u64 = 1_900_000_000;

    fn made() -> BTreeMap<String, Vec<u8>> {
        let (nothing, hosts) = (Managed::default(), ["localhost".to_owned()]);
        let Plan::Write(change) = nothing.plan(&hosts, NOW) else { panic!("it is due") };
        let entries = nothing.apply(&change, &hosts, NOW).unwrap();
        entries.into_iter().map(|(name, content)| (name, content.unwrap())).collect()
    }

    fn refused(entries: &BTreeMap<String, Vec<u8>>) -> String {
        parse(entries).map(drop).unwrap_err()
    }

    #[test]
    fn what_was_made_is_served() {
        let parsed = parse(&made()).unwrap();
        let served = parsed.served.unwrap();
        assert_eq!(served.pair.cert_chain.len(), 1);
        assert_eq!(parsed.managed.server(), Some(&served.facts));
        assert!(parse(&BTreeMap::new()).unwrap().served.is_none());
        // As the API server wants it in a new Secret of type kubernetes.io/tls.
        let empty = BTreeMap::from([(CERTIFICATE.to_owned(), Vec::new()), (KEY.to_owned(), Vec::new())]);
        assert!(parse(&empty).unwrap().served.is_none());
        for half in [CERTIFICATE, KEY] {
            let mut entries = made();
            entries.remove(half);
            let parsed = parse(&entries).unwrap();
            assert!(parsed.served.is_none() && parsed.managed.server().is_none(), "without {half}");
        }
    }

    #[test]
    fn what_does_not_belong_together_says_so() {
        let (good, other) = (made(), made());
        let with = |name: &str, content: &[u8]| {
            let mut entries = good.clone();
            entries.insert(name.to_owned(), content.to_vec());
            refused(&entries)
        };
        let key = &good[KEY];
        for (line, words) in [
            (with(KEY, &other[KEY]), "\"tls.key\" is not that of the first certificate in \"tls.crt\""),
            (with(KEY, &key[..key.len() / 2]), "\"tls.key\""),
            (with(CERTIFICATE, b"none"), "\"tls.crt\" holds no certificate"),
            (with(CERTIFICATE, b"none"), "or remove tls.crt and tls.key, and new ones are made"),
            (with(CA_CERTIFICATES, b""), "that vestibule has not made"),
        ] {
            assert!(line.contains(words) && !line.contains('\n'), "{words}: {line}");
            let secret = String::from_utf8_lossy(key);
            assert!(!line.contains(secret.lines().nth(1).unwrap()), "{line}");
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_is_told_in_a_line_without_a_key() {
        let good = made();
        let keys: Vec<String> = [KEY, CA_KEYS].map(|name| String::from_utf8(good[name].clone()).unwrap()).to_vec();
        for (name, content) in &good {
            for end in 1..content.len() {
                let mut entries = good.clone();
                entries.insert(name.clone(), content[..end].to_vec());
                let Err(line) = parse(&entries) else {
                    assert!(content[end..].trim_ascii().is_empty(), "{name} cut off at {end} passes for whole");
                    continue;
                };
                let told = |key: &String| key.lines().skip(1).any(|part| part.len() > 8 && line.contains(part));
                assert!(!line.contains('\n') && !keys.iter().any(told), "{name} at {end}: {line}");
            }
        }
    }

    /// A Secret of another's must never be written to.
    #[test]
    fn what_others_keep_is_theirs() {
        let issued = LocalCa::create(NOW).unwrap().issue_server(&["localhost"], 60, NOW).unwrap();
        let mut entries = BTreeMap::from([
            (CERTIFICATE.to_owned(), issued.cert_pem.into_bytes()),
            (KEY.to_owned(), issued.key_pem.into_bytes()),
        ]);
        assert!(refused(&entries).contains("that vestibule has not made"));
        entries.remove(KEY);
        assert!(refused(&entries).contains("that vestibule has not made"));
    }
}
