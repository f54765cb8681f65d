//! `Debug` of every type that holds a secret, searched for each secret as it is, in base64 and in hexadecimal.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::auth::access::{AccessPolicy, Mode};
use crate::auth::keys::{Algorithm, Key, KeyRing};
use crate::auth::password::{HashMemory, Password, PasswordHash, hash, tests::BCRYPT_4};
use crate::auth::throttle::{AttemptDigest, Source as AttemptSource};
use crate::auth::token::{Expected, verify};
use crate::auth::users::PasswordCheck;
use crate::clock::epoch;
use crate::gate::{self, Access, Asked, Gate, IdentityHeaders, Trust, TunnelLife};
use crate::http::credentials;
use crate::login::{Grant, Minted, TokenSettings, Verdict, mint};
use crate::metrics::Dialect;
use crate::pki::LocalCa;
use crate::store::users_document::edit::{Change, apply};
use crate::store::users_document::{self, Source};
use crate::store::versioned_file::Snapshot;
use crate::store::{keys_document, tls_material};

#[path = "../tests/attacks/leaks.rs"]
#[expect(dead_code, reason = "the attacks search for more")]
mod leaks;

use leaks::Secrets;

const PASSWORD: &str = "Zq7-right-horse-battery-staple";
const ISSUER: &str = "an issuer";

/// What was printed, each with the type's name.
#[derive(Default)]
struct Printed(Vec<(&'static str, String)>);

impl Printed {
    fn add<T: Debug>(&mut self, value: &T) {
        let name = std::any::type_name::<T>();
        self.0.push((name, format!("{value:?}\n{value:#?}")));
    }
}

/// Whether a type can be printed at all: the inherent constant wins where its bound holds.
struct Of<T>(std::marker::PhantomData<T>);

trait Unprintable {
    const IS_PRINTABLE: bool = false;
}

impl<T> Unprintable for Of<T> {}

impl<T: Debug> Of<T> {
    const IS_PRINTABLE: bool = true;
}

fn keys(printed: &mut Printed, secrets: &mut Secrets) -> KeyRing {
    let now = epoch();
    let keys: Vec<_> = [(Algorithm::Hs512, "h"), (Algorithm::Es256, "e"), (Algorithm::EdDsa, "d")]
        .map(|(algorithm, kid)| Key::generate(algorithm, kid, now - 10, now - 10))
        .into();
    for key in &keys {
        let jwk = key.private_jwk();
        let secret = jwk.get("k").or_else(|| jwk.get("d")).and_then(|secret| secret.as_str());
        secrets.add_encoded("a key", secret.expect("a private key"));
        printed.add(key);
    }
    let ring = KeyRing::new(keys).expect("three names");
    let document = keys_document::serialise(&ring);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("keys.jwks");
    std::fs::write(&file, &document).expect("a file");
    printed.add(&Snapshot::read(&file).expect("a file"));
    printed.add(&keys_document::parse(&document).expect("a ring"));
    printed.add(&ring);
    ring
}

fn users(printed: &mut Printed, secrets: &mut Secrets) -> users_document::Loaded {
    let hashes = [hash(PASSWORD.as_bytes()), BCRYPT_4.to_owned()];
    for hash in &hashes {
        // What stands before the salt is the kind and the cost.
        let (_, secret) = hash.rsplit_once(['=', '$']).expect("a hash has parts");
        secrets.add_encoded("a hash", secret);
        let parsed = PasswordHash::parse(hash).expect("a hash");
        let mut memory = HashMemory::default();
        assert_eq!(parsed.verify_in(&mut memory, PASSWORD.as_bytes()), hash.starts_with("$argon2id"));
        printed.add(&parsed);
        printed.add(&memory);
    }
    let yaml = format!("users: {{admin: {{passwords: [{{hash: '{}'}}, {{hash: '{}'}}]}}}}", hashes[0], hashes[1]);
    let entries = BTreeMap::from([("users.yaml".to_owned(), yaml.into_bytes())]);
    let loaded = users_document::parse(&[Source { name: "", entries: &entries }]).expect("users");
    let user = loaded.users.find(b"admin").expect("a user");
    printed.add(user);
    printed.add(&user.passwords()[0]);
    printed.add(loaded.users.work_profile());
    let check = loaded.users.check_password(b"admin", PASSWORD.as_bytes(), epoch());
    assert!(matches!(check, PasswordCheck::Granted { .. }));
    printed.add(&check);
    printed.add(&Verdict::Granted { user: Arc::clone(user), credential: String::new() });

    let [argon2, bcrypt] = hashes;
    let (expires_at, now) = (None, epoch());
    let import = Change::Import { htpasswd: format!("ann:{argon2}\n").into_bytes(), now };
    let passwd = Change::Passwd { name: "admin".to_owned(), hash: bcrypt.clone(), keep_old: true, expires_at, now };
    let add = Change::Add { name: "bob".to_owned(), groups: Vec::new(), hash: bcrypt, expires_at, now };
    for change in [import, passwd, add] {
        printed.add(&change);
        printed.add(&apply(&entries, &change).expect("a change"));
    }
    printed.add(&loaded);
    loaded
}

fn tokens(printed: &mut Printed, secrets: &mut Secrets, users: users_document::Loaded, ring: KeyRing) {
    let now = epoch();
    let settings =
        TokenSettings { issuer: ISSUER.to_owned(), audience: None, ttl: 600, max_ttl: 600, max_session: 600 };
    let grant = Grant { credential: None, auth_time: now, ttl: None, not_after: None };
    let user = users.users.find(b"admin").expect("a user");
    let minted: Minted = mint(&ring, user, grant, &settings, now).expect("a signer");
    secrets.add_token("a token", &minted.token);
    let expected = Expected { issuer: ISSUER.to_owned(), audience: None };
    printed.add(&verify(&minted.token, &ring, now, &expected).expect("a token"));

    let mut headers = HeaderMap::new();
    let value = format!("Bearer {}", minted.token).parse::<HeaderValue>().expect("a header");
    headers.insert(AUTHORIZATION, value);
    let presented = gate::credentials(&headers);
    assert!(matches!(presented, gate::Credentials::Token(token) if token == minted.token));
    printed.add(&presented);
    let policy = AccessPolicy::new(Vec::new(), Vec::new(), Mode::Enforce).expect("no rules are good rules");
    let [user, groups] = ["x-user", "x-groups"].map(HeaderName::from_static);
    let identity_headers = Arc::new(IdentityHeaders { user, groups, forward_token: true });
    let access = Arc::new(Access { policy, headers: identity_headers, tunnels: TunnelLife::Token });
    let trust = Trust { users: Arc::new(users.users), users_known: true, ring: Arc::new(ring), access, generation: 1 };
    let gate = Gate::new(expected);
    printed.add(&gate.identify(&trust, &minted.token, now).expect("a token"));
    let asked = Asked { method: &Method::GET, uri: &Uri::from_static("/"), headers: &headers, had_fragment: false };
    printed.add(&gate.judge(&trust, &asked, now).map_or_else(|refused| Err(refused.why), Ok));
    printed.add(&trust);
}

fn certificates(printed: &mut Printed, secrets: &mut Secrets) {
    let ca = LocalCa::create(epoch()).expect("an authority");
    let issued = ca.issue_server(&["localhost"], 1, epoch()).expect("a certificate");
    for pem in [&ca.key_pem(), &issued.key_pem] {
        secrets.add("a private key", private_part(pem));
    }
    let (certificate, key) = (issued.cert_pem.as_bytes(), issued.key_pem.as_bytes());
    printed.add(&tls_material::pair((Path::new("tls.crt"), certificate), (Path::new("tls.key"), key)).expect("a pair"));
    printed.add(&issued);
    printed.add(&ca);
}

/// The 32 bytes that are secret of a P-256 key (RFC 5915, section 3); the rest stands in certificates too.
fn private_part(pem: &str) -> Vec<u8> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
    let der = key.secret_der();
    let version_1_then_32_bytes = [2, 1, 1, 4, 32];
    let at = der.windows(5).position(|bytes| bytes == version_1_then_32_bytes).expect("a P-256 key in PKCS #8");
    der[at + 5..at + 37].to_vec()
}

#[test]
fn no_type_prints_the_secret_that_it_holds() {
    let (mut printed, mut secrets) = (Printed::default(), Secrets::default());
    secrets.add("a password", PASSWORD);
    printed.add(&Password::new(PASSWORD));
    let generated = Password::generate();
    secrets.add("a generated password", generated.as_bytes());
    printed.add(&generated);
    let digest = AttemptDigest::generate().expect("random bytes");
    printed.add(&digest);
    printed.add(&digest.key(b"admin", AttemptSource::Local));
    printed.add(&digest.fingerprint(b"admin", PASSWORD.as_bytes()));
    let wrong = format!(r#"{{"userName": "admin", "pwd": "{PASSWORD}""#);
    printed.add(&credentials::read(Dialect::Densify, &HeaderMap::new(), wrong.as_bytes(), 60).map(drop));

    let ring = keys(&mut printed, &mut secrets);
    let users = users(&mut printed, &mut secrets);
    tokens(&mut printed, &mut secrets, users, ring);
    certificates(&mut printed, &mut secrets);

    assert!(printed.0.len() > 30);
    for (name, text) in &printed.0 {
        let found = secrets.found_in(text.as_bytes());
        assert!(found.is_empty(), "{name} prints {found:?}: {text}");
    }
    // The search finds what is there.
    assert!(!secrets.found_in(format!("{:?}", PASSWORD.as_bytes()).as_bytes()).is_empty());
}

/// What hands secrets out cannot be printed at all.
const _: () = {
    assert!(!Of::<Minted>::IS_PRINTABLE && !Of::<credentials::Credentials>::IS_PRINTABLE);
    assert!(!Of::<Gate>::IS_PRINTABLE && Of::<Password>::IS_PRINTABLE);
};
