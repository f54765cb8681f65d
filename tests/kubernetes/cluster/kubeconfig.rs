//! Kubeconfig files: those that tests write, and one that somebody names.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::Api;
use crate::support::{Client, Pair, set_mode};

/// One cluster and one user.
#[derive(Clone)]
pub(crate) struct Kubeconfig {
    /// What connects; a proxy's, to have it in between.
    pub(crate) address: SocketAddr,
    /// What the certificate must be for.
    name: String,
    /// The authority that the server's certificate is signed by, PEM.
    pub(crate) ca: String,
    pub(crate) user: User,
    /// The namespace of the context.
    pub(crate) namespace: Option<String>,
}

/// Who asks.
#[derive(Clone)]
pub(crate) enum User {
    Certificate(Pair),
    Token(String),
    /// Whatever a kubeconfig may hold as `user`: `tokenFile`, `exec`, `as`.
    Other(Value),
}

impl Kubeconfig {
    pub(super) fn new(address: SocketAddr, ca: &str, user: User) -> Self {
        Self { address, name: "localhost".to_owned(), ca: ca.to_owned(), user, namespace: None }
    }

    /// The same by way of a proxy.
    pub(crate) fn by_way_of(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The same with another authority.
    pub(crate) fn trusting(&self, ca: &str) -> Self {
        Self { ca: ca.to_owned(), ..self.clone() }
    }

    pub(crate) fn with_user(&self, user: User) -> Self {
        Self { user, ..self.clone() }
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// Requests of ours as its user.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.clone())
    }

    /// The file's document: YAML, as all JSON is.
    pub(crate) fn document(&self) -> Value {
        let encode = |pem: &str| STANDARD.encode(pem);
        let user = match &self.user {
            User::Certificate(pair) => json!({
                "client-certificate-data": encode(&pair.certificate),
                "client-key-data": encode(&pair.key),
            }),
            User::Token(token) => json!({"token": token}),
            User::Other(user) => user.clone(),
        };
        let mut context = json!({"cluster": "tests", "user": "tests"});
        if let Some(namespace) = &self.namespace {
            context["namespace"] = json!(namespace);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {
                "server": format!("https://{}", self.address),
                "tls-server-name": self.name,
                "certificate-authority-data": encode(&self.ca),
            }}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [{"name": "tests", "context": context}],
            "current-context": "tests",
        })
    }

    /// Writes the file, for its owner alone.
    pub(crate) fn write(&self, file: &Path) {
        fs::write(file, self.document().to_string()).expect("a file");
        set_mode(file, 0o600);
    }

    /// The current context of a file whose credentials stand in it: `…-data` or `token`.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let told = |what: &str| format!("KUBECONFIG={}: {what}", file.display());
        let text = fs::read_to_string(file).map_err(|error| told(&error.to_string()))?;
        let document: Value = serde_saphyr::from_str(&text).map_err(|error| told(&error.to_string()))?;
        let find = |list: &str, name: &Value, inner: &str| {
            let entries = document[list].as_array()?;
            entries.iter().find(|entry| entry["name"] == *name).map(|entry| entry[inner].clone())
        };
        let context = find("contexts", &document["current-context"], "context");
        let context = context.ok_or_else(|| told("no current context"))?;
        let cluster = find("clusters", &context["cluster"], "cluster").ok_or_else(|| told("no such cluster"))?;
        let user = find("users", &context["user"], "user").ok_or_else(|| told("no such user"))?;

        let server: http::Uri = cluster["server"].as_str().and_then(|server| server.parse().ok()).unwrap_or_default();
        let (Some("https"), Some(host)) = (server.scheme_str(), server.host()) else {
            return Err(told("`server` is no https URL"));
        };
        let address = (host.trim_matches(['[', ']']), server.port_u16().unwrap_or(443)).to_socket_addrs();
        let address = address.ok().and_then(|mut addresses| addresses.find(SocketAddr::is_ipv4));
        let data = |from: &Value, name: &str| {
            let decoded = STANDARD.decode(from[name].as_str()?).ok()?;
            String::from_utf8(decoded).ok()
        };
        let pair = data(&user, "client-certificate-data").zip(data(&user, "client-key-data"));
        let token = user["token"].as_str().map(|token| User::Token(token.to_owned()));
        let certificate = pair.map(|(certificate, key)| User::Certificate(Pair { certificate, key }));
        Ok(Self {
            address: address.ok_or_else(|| told("`server` has no IPv4 address"))?,
            name: cluster["tls-server-name"].as_str().unwrap_or(host).to_owned(),
            ca: data(&cluster, "certificate-authority-data").ok_or_else(|| told("no certificate-authority-data"))?,
            user: certificate.or(token).ok_or_else(|| told("neither client-certificate-data nor token"))?,
            namespace: None,
        })
    }

    pub(super) fn client(&self) -> Client {
        let client = Client::new(self.address, &self.ca).named(&self.name);
        let User::Certificate(pair) = &self.user else { return client };
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a key");
        let own = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
        client.with_tls(|tls| tls.client_auth_cert_resolver = Arc::new(own))
    }

    pub(crate) fn token(&self) -> Option<&str> {
        match &self.user {
            User::Token(token) => Some(token),
            User::Certificate(_) | User::Other(_) => None,
        }
    }
}
