//! `check`: each finding in the real program, with its severity and the exit code that follows.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Response;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;
use vestibule::pki::{Issued, LocalCa};

use super::support::Home;
use crate::support::{App, Commands, Listening, Ran, full, run_beside};

const DAY: u64 = 86_400;

/// A certificate that was issued so many days ago for 60.
fn certificate(days_ago: u64) -> Issued {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let then = now - days_ago * DAY;
    LocalCa::create(then).and_then(|ca| ca.issue_server(&["localhost"], 60, then)).expect("a certificate")
}

/// All is well but for the application, which listens where the listener does.
fn home() -> (Home, TcpListener) {
    let home = Home::new().with_user("ann").with_key();
    install(&home, &certificate(0), &certificate(0), true);
    let application = TcpListener::bind("127.0.0.1:0").expect("a port");
    configure(&home, application.local_addr().expect("an address").port(), "");
    (home, application)
}

fn install(home: &Home, certificate: &Issued, key: &Issued, same: bool) {
    home.write("tls.crt", &certificate.cert_pem);
    home.write("tls.key", if same { &certificate.key_pem } else { &key.key_pem });
    fs::set_permissions(home.path("tls.key"), Permissions::from_mode(0o600)).expect("a mode");
}

fn configure(home: &Home, port: u16, more: &str) {
    let config = format!(
        "upstream: http://127.0.0.1:{port}\n\
         tls: {{certificate: .vestibule/tls.crt, key: .vestibule/tls.key}}\n\
         store: {{directory: {{users: .vestibule/users, keys: .vestibule/keys}}}}\n{more}\n"
    );
    home.write("config.yaml", &config);
}

/// The exit code, and the findings that are not ok as `severity check: message`.
fn found(home: &Home, options: &str) -> (i32, Vec<String>) {
    let ran = home.run(&format!("check --config .vestibule/config.yaml -o json {options}"));
    let findings: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("JSON: {ran:?}"));
    let findings = findings.as_array().expect("a list").iter().filter(|finding| {
        let ok = finding["severity"] == "ok";
        assert_eq!(ok, finding["mend"].is_null(), "{finding}");
        !ok
    });
    let text = |finding: &Value, member: &str| finding[member].as_str().expect("text").to_owned();
    let line =
        |finding| format!("{} {}: {}", text(finding, "severity"), text(finding, "check"), text(finding, "message"));
    (ran.code, findings.map(line).collect())
}

#[track_caller]
fn assert_found(home: &Home, options: &str, code: i32, expected: &[&str]) {
    let (ended, lines) = found(home, options);
    assert_eq!(ended, code, "{lines:?}");
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, words) in lines.iter().zip(expected) {
        assert!(line.contains(words), "{words:?} in {lines:?}");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let (home, _application) = home();
    assert_found(&home, "--host localhost", 0, &[]);
    let text = home.done("check --config .vestibule/config.yaml");
    assert!(
        text.starts_with("ok      configuration: it loads\n") && text.ends_with("0 errors, 0 warnings\n"),
        "{text}"
    );
}

#[test]
fn a_configuration_that_does_not_load_is_bad_usage() {
    let (home, application) = home();
    configure(&home, application.local_addr().expect("an address").port(), "lsten: 0.0.0.0:1");
    home.run("check --config .vestibule/config.yaml").refused(64, "did you mean `listen`?");
    home.run("check --config nowhere").refused(64, "nowhere: cannot be read");
    home.run("check").refused(64, "`store` names no place");
}

#[test]
fn certificates_are_judged() {
    let (home, _application) = home();
    assert_found(&home, "--host app.example.org", 1, &["error certificate: it is not good for \"app.example.org\""]);
    install(&home, &certificate(31), &certificate(0), true);
    assert_found(&home, "", 0, &["warning certificate: it expires in 2"]);
    install(&home, &certificate(61), &certificate(0), true);
    assert_found(&home, "", 1, &["error certificate: it has expired"]);
    install(&home, &certificate(0), &certificate(0), false);
    assert_found(&home, "", 1, &["error certificate: tls: the private key in"]);
    install(&home, &certificate(0), &certificate(0), true);
    fs::set_permissions(home.path("tls.key"), Permissions::from_mode(0o644)).expect("a mode");
    assert_found(&home, "", 0, &["warning certificate: tls.key \".vestibule/tls.key\" can be read by everyone"]);
    let mut in_pod = home.command("check --config .vestibule/config.yaml");
    let in_pod = in_pod.env("KUBERNETES_SERVICE_HOST", "192.0.2.1").output().expect("it ends");
    let in_pod = String::from_utf8_lossy(&in_pod.stdout).into_owned();
    assert!(in_pod.contains("ok      certificate") && !in_pod.contains("by everyone"), "{in_pod}");
    fs::remove_file(home.path("tls.key")).expect("a file");
    assert_found(&home, "", 1, &["error certificate: tls: \".vestibule/tls.key\" is not there"]);
    install(&home, &certificate(0), &certificate(0), true);
    assert_found(&home, "--tls-client-ca nowhere", 1, &["error client CA: tls.clientCa: \"nowhere\" is not there"]);
}

#[test]
fn users_are_judged() {
    let (home, application) = home();
    home.write("users/auth", "bob:$apr1$salt$abcdefghijklmnopqrstuv\n");
    home.done("users add cid --generate");
    configure(
        &home,
        application.local_addr().expect("an address").port(),
        "access: {rules: [{prefix: /a, groups: [Nobody]}]}",
    );
    let expected = [
        "warning users: refused like disabled ones, as their entries cannot be used: \"bob\"",
        "warning users: auth, line 1: the password of user \"bob\" is unusable",
        "warning access: may not call it, being in none of access.apiGroups: \"cid\"",
        "warning access: access.rules names the group \"Nobody\"",
    ];
    assert_found(&home, "", 0, &expected);
    home.write("users/auth", "bob\n");
    assert_found(&home, "", 1, &["error users: \".vestibule/users\", auth, line 1: is not of the form"]);
    fs::remove_dir_all(home.path("users")).expect("a directory");
    assert_found(&home, "", 1, &["error users: \".vestibule/users\" is not there"]);
}

#[test]
fn keys_are_judged() {
    let (home, _application) = home();
    fs::set_permissions(home.path("keys/keys.jwks"), Permissions::from_mode(0o644)).expect("a mode");
    assert_found(&home, "", 0, &["warning keys: \".vestibule/keys/keys.jwks\" can be read by everyone"]);
    fs::set_permissions(home.path("keys/keys.jwks"), Permissions::from_mode(0o600)).expect("a mode");
    let ring = home.read("keys/keys.jwks");
    home.write("keys/keys.jwks", "");
    assert_found(&home, "", 0, &["warning keys: no key signs yet"]);
    home.write("keys/keys.jwks", "{}");
    assert_found(&home, "", 1, &["error keys: \".vestibule/keys/keys.jwks\": a JWK Set has an array `keys`"]);
    home.write("keys/keys.jwks", &ring);
    let home = home.mounted("keys");
    assert_found(&home, "", 0, &["warning keys: the directory cannot be written here"]);
}

#[test]
fn the_application_and_its_port_are_judged() {
    let (home, application) = home();
    drop(application);
    assert_found(&home, "", 0, &["warning upstream: the application cannot be reached from here"]);
    assert_found(&home, "--upstream unix:/nowhere.sock", 0, &["cannot be reached from here: No such file"]);
    assert_found(&home, "--upstream https://localhost:1 --upstream-ca nowhere", 1, &["error upstream: upstreamCa"]);
    let exposed = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = exposed.local_addr().expect("an address").port();
    if cfg!(target_os = "linux") {
        let options = format!("--upstream http://127.0.0.1:{port}");
        assert_found(&home, &options, 0, &["beyond loopback: it can be reached past the sidecar"]);
    }
}

#[tokio::test]
async fn a_failure_of_tls_with_the_application_names_what_mends_it() {
    let (home, _application) = home();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let ca = LocalCa::create(now - 61 * DAY).expect("an authority");
    let other = LocalCa::create(now).expect("an authority");
    home.write("ca.crt", ca.cert_pem());
    home.write("roots.crt", other.cert_pem());
    let ours = "--upstream-ca .vestibule/ca.crt";
    let issued = |ca: &LocalCa, name, since| ca.issue_server(&[name], 60, since).expect("a certificate");
    let tls = async |issued: &Issued| App::answering(Listening::Tls(issued), |_| Response::new(full(""))).await;
    let told = async |app: &App, ca: &str| {
        let port = app.url.rsplit(':').next().expect("a port");
        let upstream = format!("--upstream https://localhost:{port} {ca}");
        let mut command = home.command(&format!("check --config .vestibule/config.yaml {upstream}"));
        // The system's roots.
        command.env("SSL_CERT_FILE", home.path("roots.crt"));
        let ran = run_beside(command).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let found = ran.out.lines().find(|line| line.contains(" upstream: the application "));
        found.unwrap_or_else(|| panic!("{ran:?}")).to_owned()
    };
    let good = tls(&issued(&ca, "localhost", now)).await;
    assert_eq!(told(&good, ours).await, "ok      upstream: the application can be reached");
    let cases = [
        (good, "", "set `upstreamCa` to a file with the CA that has signed its certificate"),
        (
            tls(&issued(&other, "localhost", now)).await,
            ours,
            "its certificate into `upstreamCa`, \".vestibule/ca.crt\"; ",
        ),
        (tls(&issued(&ca, "app.test", now)).await, ours, "issue its certificate again with \"localhost\", or write "),
        (tls(&issued(&ca, "localhost", now - 61 * DAY)).await, ours, "renew its certificate, which expired at 20"),
        (tls(&issued(&ca, "localhost", now + DAY)).await, ours, "which is not good before 20"),
        (tls(&as_authority()).await, ours, "for a server, and not as a CA's"),
        (App::start().await, ours, "write `upstream` with http:// or h2c://"),
        (App::raw(|_, _| async {}).await, ours, "its log may say more"),
    ];
    for (app, ca, mend) in cases {
        let found = told(&app, ca).await;
        assert!(found.starts_with("warning upstream: the application is there, and TLS with it fails: "), "{found}");
        assert!(found.contains(mend), "{mend:?} in {found}");
    }
}

/// A certificate that vouches for itself, as `openssl req -x509` makes one.
fn as_authority() -> Issued {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let cert_pem = params.self_signed(&key).expect("a certificate").pem();
    Issued { cert_pem, key_pem: key.serialize_pem() }
}

#[test]
fn ending_must_fit_into_a_pods_time() {
    let (home, _application) = home();
    assert_found(&home, "--shutdown-grace 26s", 0, &["warning shutdown: ending takes up to 31 s"]);
}

/// `unshare` of util-linux gives the program mounts of its own.
#[test]
fn what_is_mounted_by_sub_path_is_named() {
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-ec"]);
        command
    };
    let works = unshared().arg("mount -t tmpfs tmpfs /mnt").output().is_ok_and(|output| output.status.success());
    if !works {
        assert!(std::env::var_os("CI").is_none(), "mounts of its own are not allowed here");
        eprintln!("SKIPPED: `unshare --mount` does not work here, so that mounts by subPath are not tested");
        return;
    }
    let (home, _application) = home();
    // A Secret as kubelet publishes it on a tmpfs: whole at `users`, one file of it by subPath at `keys`.
    let script =
        "cd .vestibule; mkdir v; mount -t tmpfs tmpfs v; mkdir v/..2026; cp users/users.yaml keys/keys.jwks v/..2026
        ln -s ..2026 v/..data; ln -s ..data/users.yaml v/users.yaml; chmod 600 v/..2026/*
        mount --bind v users; mount --bind v/..2026/keys.jwks keys/keys.jwks; mount --bind tls.crt tls.crt
        cd ..; exec \"$0\" check --config .vestibule/config.yaml";
    let mut command = unshared();
    command.args([script, env!("CARGO_BIN_EXE_vestibule")]).current_dir(home.root());
    let ran = Ran::of(command.output().expect("the program runs"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let found: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("warning mounts: ")).collect();
    assert_eq!(found.len(), 2, "{ran:?}");
    assert!(found[0].contains("\".vestibule/tls.crt\" is mounted by subPath or as a single file"), "{ran:?}");
    assert!(found[1].contains("/.vestibule/keys/keys.jwks\" is mounted by subPath"), "{ran:?}");
    assert!(found[1].ends_with(": mount the whole Secret or ConfigMap as a directory instead of subPath"), "{ran:?}");
}

#[test]
fn users_without_a_password_or_locked_out_for_a_while_are_named() {
    let (home, _application) = home();
    home.done("users add bob --group Administrator --generate");
    let text = home.read("users/users.yaml");
    let ahead = text.replace("tokensNotBefore: null", "tokensNotBefore: 2999-01-01T00:00:00Z");
    home.write("users/users.yaml", &format!("{ahead}  cid: {{groups: [Administrator]}}\n"));
    let expected = [
        "warning users: have no password, and can only carry operators' tokens: \"cid\"",
        "warning users: are locked out until 2999-01-01T00:00:00Z (the first of them), as tokensNotBefore lies in the future: \"ann\", \"bob\"",
    ];
    assert_found(&home, "", 0, &expected);
}
