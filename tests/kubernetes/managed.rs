//! A certificate in a Secret: made and renewed by whoever patches first, and served to clients that trust `ca.crt`.

mod due;
mod first;
mod trouble;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use vestibule::pki::LocalCa;

use crate::cluster::{Account, KEYS, Kubeconfig, Namespace, USERS, entry};
use crate::sidecar::{secrets, sidecar};
use crate::support::{Client, Setup, Vestibule, eventually, now, password_of};

pub(crate) const TLS: &str = "vestibule-tls";
const NONE: &[(&str, &str)] = &[];
const DAY: u64 = 86_400;

/// All three Secrets, as a release begins.
async fn release(ns: &Namespace) {
    secrets(ns).await;
    ns.create_secret(TLS, NONE).await;
}

/// The rights of deploy/rbac.yaml with this Secret among those that are written.
async fn account(ns: &Namespace) -> Account<'_> {
    ns.account_of("vestibule", &[USERS], &format!("{KEYS}, {TLS}")).await
}

fn managed(kubeconfig: &Kubeconfig) -> Setup {
    for_hosts(sidecar(kubeconfig), "localhost")
}

fn for_hosts(setup: Setup, hosts: &str) -> Setup {
    setup.config(&format!("tls: {{certificate: null, key: null, managed: {{secret: {TLS}, hosts: [{hosts}]}}}}"))
}

/// What the Secret holds of an entry.
async fn stored(ns: &Namespace, name: &str) -> Option<Vec<u8>> {
    entry(&ns.secret(TLS).await, name)
}

async fn text(ns: &Namespace, name: &str) -> String {
    String::from_utf8(stored(ns, name).await.expect("an entry")).expect("PEM")
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.expect("PEM")).collect()
}

/// A client that trusts what it once fetched as `ca.crt`.
fn trusting(vestibule: &Vestibule, bundle: &[u8]) -> Client {
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle) {
        roots.add(authority).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.expect("the provider's versions").with_root_certificates(roots).with_no_client_auth();
    vestibule.client().with_tls(|own| *own = tls)
}

/// A client of the Secret as it stands.
async fn client(ns: &Namespace, vestibule: &Vestibule) -> Client {
    trusting(vestibule, &stored(ns, "ca.crt").await.expect("authorities"))
}

/// The certificate that a new connection gets, DER; `None` where the client does not trust it.
async fn served(client: &Client) -> Option<Vec<u8>> {
    let stream = client.tls_stream().await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

/// Waits until new connections get what the Secret holds.
async fn serves(ns: &Namespace, vestibule: &Vestibule) {
    eventually("the Secret's certificate", async || {
        let secret = ns.secret(TLS).await;
        let (bundle, pem) = (entry(&secret, "ca.crt")?, entry(&secret, "tls.crt")?);
        let now = served(&trusting(vestibule, &bundle)).await?;
        (now == certificates(&pem)[0].to_vec()).then_some(())
    })
    .await;
}

/// A token, by a login over TLS.
async fn token(client: &Client) -> String {
    let answer = client.login("admin", &password_of("admin")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["apiToken"].as_str().expect("a token").to_owned()
}

/// Puts an authority that was made so many days ago, with a certificate of another age, into the Secret.
async fn put(ns: &Namespace, authority_days: u64, certificate_days: u64) -> LocalCa {
    let ca = LocalCa::create(now() - authority_days * DAY).expect("an authority");
    let issued = ca.issue_server(&["localhost"], 90, now() - certificate_days * DAY).expect("a certificate");
    ns.set(
        TLS,
        &[
            ("ca.crt", ca.cert_pem().as_bytes()),
            ("ca.key", ca.key_pem().as_bytes()),
            ("tls.crt", issued.cert_pem.as_bytes()),
            ("tls.key", issued.key_pem.as_bytes()),
        ],
    )
    .await;
    ca
}

/// Nothing of these private keys stands in the log, as PEM or as a Secret has it.
fn assert_silent(vestibule: &Vestibule, keys: &[String]) {
    let log = vestibule.lines().join("\n");
    assert!(log.contains("\"listening\""), "there is a log: {log}");
    for key in keys {
        let encoded = STANDARD.encode(key);
        let forms = key.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned);
        let forms = forms.chain(encoded.as_bytes().chunks(32).map(|part| String::from_utf8_lossy(part).into_owned()));
        for form in forms.filter(|form| form.len() >= 16) {
            assert!(!log.contains(&form), "a part of a key: {form}");
        }
    }
}
