//! What a configuration must be, and that nothing is half started where it is not.

use std::net::TcpListener;

use vestibule::pki::LocalCa;

use crate::support::*;

/// It ended with 64, one line that holds all of `words`, and without having written anything.
fn assert_refused(failed: &Failed, words: &[&str]) {
    assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    let line = failed.line();
    assert!(line.starts_with("vestibule: "), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
    let keys = std::fs::read_dir(failed.path("keys")).expect("the keys' directory").count();
    assert_eq!(keys, 0, "a key ring was written: {line}");
}

const STORE: &str = "store: {directory: {users: DIR/users, keys: DIR/keys}}";
const TLS: &str = "tls: {certificate: DIR/tls.crt, key: DIR/tls.key}";

#[tokio::test]
async fn bad_files_end_with_one_line_that_names_setting_and_mend() {
    let both = format!("{TLS}\nstore: {{directory: {{}}, kubernetes: {{}}}}");
    for (text, words) in [
        (format!("{STORE}\n{TLS}\nlisten_on: 1"), &["vestibule.yaml", "listen_on", "listen"][..]),
        (format!("{STORE}\n{TLS}\ntokens: {{tll: 5m}}"), &["tokens.tll", "ttl"]),
        (format!("{STORE}\n{TLS}\ntokens: {{ttl: 300}}"), &["tokens.ttl", "300", "tokens.ttl: 300s"]),
        (format!("{STORE}\n{TLS}\nworkers: many"), &["workers", "whole number", "workers: 4"]),
        (format!("{STORE}\n{TLS}\naccess: {{rules: {{}}}}"), &["access.rules", "list"]),
        (format!("{STORE}\n{TLS}\naccess: {{rules: [{{path: /a}}]}}"), &["access.rules[0]", "allow"]),
        (
            format!("{STORE}\n{TLS}\naccess: {{rules: [{{path: /a//b, allow: anyone}}]}}"),
            &["access.rules[0]", "empty segment"],
        ),
        (format!("{STORE}\n{TLS}\nlisten: 127.0.0.1:0\nlisten: 127.0.0.1:0"), &["listen"]),
        (format!("{STORE}\n{TLS}\n  bad: [indent"), &["vestibule.yaml"]),
        ("just text".to_owned(), &["vestibule.yaml"]),
        ("\0".to_owned(), &["vestibule.yaml"]),
        (both, &["store", "kubernetes", "directory"]),
        (
            format!("{STORE}\ntls: {{managed: {{secret: a, hosts: [b.example, '1.2.3']}}}}"),
            &["tls.managed.hosts: \"1.2.3\" is neither a DNS name nor an IP address"],
        ),
        (TLS.to_owned(), &["store", "directory"]),
    ] {
        let failed = Setup::new().raw_config(&text).fails().await;
        assert_refused(&failed, words);
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    assert_refused(&Setup::new().config_file("nowhere.yaml").fails().await, &["nowhere.yaml"]);
    assert_refused(&Setup::new().remove("tls.crt").fails().await, &["tls", "tls.crt"]);
    assert_refused(&Setup::new().remove("tls.key").fails().await, &["tls", "tls.key"]);
    let client_ca = Setup::new().config("tls: {clientCa: nowhere.pem}").fails().await;
    assert_refused(&client_ca, &["tls.clientCa", "nowhere.pem"]);
    let upstream_ca = Setup::new().config("{upstream: 'https://127.0.0.1:9', upstreamCa: nowhere.pem}").fails().await;
    assert_refused(&upstream_ca, &["upstreamCa", "nowhere.pem"]);
}

#[tokio::test]
async fn certificate_and_key_must_be_a_pair() {
    let other = LocalCa::create(now()).expect("an authority").issue_server(&["a"], 1, now()).expect("a certificate");
    let foreign = Setup::new().file("tls.key", &other.key_pem).fails().await;
    assert_refused(&foreign, &["tls.key", "tls.crt", "issued together"]);
    let swapped = Setup::new().config("tls: {certificate: tls.key, key: tls.crt}").fails().await;
    assert_refused(&swapped, &["interchanged"]);
    assert_refused(&Setup::new().file("tls.crt", "no PEM").fails().await, &["tls.crt", "BEGIN CERTIFICATE"]);
    assert_refused(&Setup::new().file("tls.key", "").fails().await, &["tls.key", "BEGIN PRIVATE KEY"]);
    let secret: String = other.key_pem.lines().nth(1).expect("the key's first line").chars().take(20).collect();
    assert!(!foreign.stderr.contains(&secret), "{}", foreign.stderr);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for setting in ["listen", "admin"] {
        let failed = Setup::new().config(&format!("{setting}: '{address}'")).fails().await;
        assert_refused(&failed, &[setting, &address]);
    }
}

#[tokio::test]
async fn bad_flags_and_variables_are_named_as_they_were_given() {
    let flag = Setup::new().argument("--tokens-ttl=soon").fails().await;
    assert_refused(&flag, &["--tokens-ttl", "soon", "--tokens-ttl=5m"]);
    let variable = Setup::new().variable("VESTIBULE_TOKENS_TTL", "soon").fails().await;
    assert_refused(&variable, &["VESTIBULE_TOKENS_TTL", "soon", "VESTIBULE_TOKENS_TTL=5m"]);
}

#[tokio::test]
async fn a_flag_that_no_one_knows_is_one_line() {
    assert_refused(&Setup::new().argument("--tokens-tll=5m").fails().await, &["--tokens-tll", "--tokens-ttl"]);
}

#[tokio::test]
async fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let issuer = async |setup: Setup| {
        let vestibule = setup.start().await;
        let (_, claims) = decode(&vestibule.token("admin").await);
        claims["iss"].as_str().expect("an issuer").to_owned()
    };
    let file = || Setup::new().config("tokens: {issuer: file}");
    let variable = || file().variable("VESTIBULE_TOKENS_ISSUER", "variable");
    assert_eq!(issuer(Setup::new()).await, "vestibule");
    assert_eq!(issuer(file()).await, "file");
    assert_eq!(issuer(variable()).await, "variable");
    assert_eq!(issuer(variable().argument("--tokens-issuer=flag")).await, "flag");
    assert_eq!(issuer(file().variable("VESTIBULE_TOKENS_ISSUER", "")).await, "file", "an empty variable is unset");
}

#[tokio::test]
async fn service_links_and_unknown_variables_are_passed_over_with_a_warning() {
    let names = [
        "VESTIBULE_PORT",
        "VESTIBULE_SERVICE_HOST",
        "VESTIBULE_SERVICE_PORT",
        "VESTIBULE_PORT_10443_TCP",
        "VESTIBULE_PORT_10443_TCP_ADDR",
        "VESTIBULE_ADMIN_SERVICE_HOST",
        "VESTIBULE_TLS_MINVERSION",
    ];
    let setup = names.iter().fold(Setup::new(), |setup, name| setup.variable(name, "tcp://10.96.0.7:10443"));
    let vestibule = setup.variable("VESTIBULES", "no business of ours").start().await;
    vestibule.token("admin").await;
    for name in names {
        let about = |warning: &serde_json::Value| {
            let message = warning["message"].as_str().expect("a message");
            message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
        };
        let warning = vestibule.event("config_warning", about).await;
        assert_eq!(warning["level"], "warn", "{warning}");
    }
    assert!(!vestibule.lines().iter().any(|line| line.contains("VESTIBULES")));
}

#[tokio::test]
async fn a_key_that_everyone_can_read_is_a_warning() {
    let setup = Setup::new();
    set_mode(&setup.path("tls.key"), 0o644);
    let vestibule = setup.start().await;
    let about_key =
        |warning: &serde_json::Value| warning["message"].as_str().is_some_and(|text| text.contains("tls.key"));
    vestibule.event("config_warning", about_key).await;
    vestibule.token("admin").await;

    let careful = Setup::new().start().await;
    assert_eq!(careful.events("config_warning"), Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_store_that_is_bad_at_the_start_is_no_reason_to_end() {
    for (file, text, pending) in [
        ("users/users.yaml", "users: [", "users"),
        ("keys/keys.jwks", "{", "keys"),
        ("keys/keys.jwks", r#"{"keys":[{"kty":"oct"}]}"#, "keys"),
    ] {
        let vestibule = Setup::new().file(file, text).without_readiness().start().await;
        let (status, body) = vestibule.admin("/readyz").await;
        assert_eq!(status, 503, "{file} {text}");
        assert!(body.lines().any(|line| line.contains(pending)), "{file}: {body}");
        assert_eq!(vestibule.admin("/livez").await.0, 200);
        let errors = format!("vestibule_store_errors_total{{store=\"{pending}\",reason=\"invalid\"}}");
        assert_eq!(vestibule.metrics().await.value(&errors), 1.0, "{file} {text}");
        assert_eq!(std::fs::read_to_string(vestibule.path(file)).expect("a file"), text, "it is left as it was");
        let login = vestibule.client().login("admin", "admin-password").await;
        assert_eq!(login.status, 503, "{file} {text}");
    }
}

#[tokio::test]
async fn a_key_where_its_files_path_belongs_is_not_repeated() {
    let body = "MHcCAQEEIExampleOfAPrivateKeyThatMustNotBeSeen";
    for pem in [
        format!("-----BEGIN EC PRIVATE KEY-----{body}-----END EC PRIVATE KEY-----"),
        format!("-----BEGIN EC PRIVATE KEY-----\n{body}\n-----END EC PRIVATE KEY-----\n"),
    ] {
        let failed = Setup::new().variable("VESTIBULE_TLS_KEY", &pem).fails().await;
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
        assert!(!failed.stderr.contains("MHcC"), "{}", failed.stderr);
        assert!(failed.line().contains("tls.key") && failed.line().contains("name the file"), "{}", failed.line());
    }
}
