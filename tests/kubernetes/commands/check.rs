//! `check` on a cluster: each finding has its mend, and what may not be looked at is a note.

use std::net::TcpListener;

use serde_json::{Value, json};
use vestibule::pki::LocalCa;

use crate::cluster::{Front, KEYS, Kubeconfig, Namespace, USERS, namespace};
use crate::managed::TLS;
use crate::shell::{Shell, allow_account};
use crate::support::{Commands, now, set_mode};

const NONE: &[(&str, &str)] = &[];

/// A configuration that is right but for what the cluster says of it.
struct Checked {
    shell: Shell,
    application: TcpListener,
}

impl Checked {
    fn new(kubeconfig: &Kubeconfig, namespace: &str) -> Self {
        let shell = Shell::new(kubeconfig);
        let issued =
            LocalCa::create(now()).and_then(|ca| ca.issue_server(&["localhost"], 60, now())).expect("a certificate");
        shell.write("tls.crt", &issued.cert_pem);
        shell.write("tls.key", &issued.key_pem);
        set_mode(&shell.path("tls.key"), 0o600);
        let application = TcpListener::bind("127.0.0.1:0").expect("a port");
        let checked = Self { shell, application };
        let config = format!(
            "upstream: http://127.0.0.1:{}\ntls: {{certificate: tls.crt, key: tls.key}}\nstore: {{kubernetes: {{namespace: {namespace}}}}}\n",
            checked.port()
        );
        checked.shell.write("config.yaml", &config);
        checked
    }

    fn port(&self) -> u16 {
        self.application.local_addr().expect("an address").port()
    }

    /// The exit code, and the findings of these severities as `severity check: message`.
    fn found(&self, options: &str, severities: &[&str]) -> (i32, Vec<String>) {
        let ran = self.shell.run(&format!("check --config config.yaml -o json {options}"));
        let findings: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("JSON: {ran:?}"));
        let text = |finding: &Value, member: &str| finding[member].as_str().expect("text").to_owned();
        let findings = findings.as_array().expect("findings").iter();
        let chosen = findings.filter(|finding| severities.contains(&text(finding, "severity").as_str()));
        let line = |finding| {
            if text(finding, "severity") != "note" {
                assert!(finding["mend"].is_string(), "{finding}");
            }
            format!("{} {}: {}", text(finding, "severity"), text(finding, "check"), text(finding, "message"))
        };
        (ran.code, chosen.map(line).collect())
    }

    #[track_caller]
    fn assert_found(&self, options: &str, code: i32, expected: &[&str]) {
        let (ended, lines) = self.found(options, &["error", "warning"]);
        assert_eq!(ended, code, "{lines:?}");
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, words) in lines.iter().zip(expected) {
            assert!(line.contains(words), "{words:?} in {lines:?}");
        }
    }
}

/// Users and keys as a running sidecar has them.
async fn stocked(ns: &Namespace) {
    for name in [USERS, KEYS] {
        ns.create_secret(name, NONE).await;
    }
    let shell = Shell::admin(ns);
    shell.done(&format!("users add ann --group Administrator --generate -n {}", ns.name));
    shell.done(&format!("keys rotate -n {}", ns.name));
}

#[tokio::test]
async fn as_a_sidecar_with_the_shipped_role_all_is_well() {
    let Some(ns) = namespace().await else { return };
    stocked(&ns).await;
    let checked = Checked::new(&ns.account().await.kubeconfig().await, &ns.name);
    checked.assert_found("", 0, &[]);
    let (_, notes) = checked.found("", &["note"]);
    let notes = notes.join("\n");
    for words in
        ["note pods: pods were not looked at", "note services: not looked at", "terminationGracePeriodSeconds to 35"]
    {
        assert!(notes.contains(words), "{words} in {notes}");
    }
    // The same by impersonation.
    let admin = Checked::new(&ns.admin().kubeconfig, &ns.name);
    let account = format!("--as system:serviceaccount:{}:vestibule", ns.name);
    admin.assert_found(&account, 0, &[]);
    let (_, notes) = admin.found("", &["note"]);
    assert!(notes.iter().any(|note| note.contains("is no service account")), "{notes:?}");
}

#[tokio::test]
async fn rights_that_are_missing_or_too_many_are_named() {
    let Some(ns) = namespace().await else { return };
    stocked(&ns).await;
    let account = ns.account().await;
    let checked = Checked::new(&account.kubeconfig().await, &ns.name);
    account.revoke().await;
    let (code, lines) = checked.found("", &["error"]);
    assert_eq!((code, lines.len()), (1, 7), "{lines:?}");
    for words in
        [&format!("may not `watch` Secret {}/{USERS}", ns.name), &format!("may not `patch` Secret {}/{KEYS}", ns.name)]
    {
        assert!(lines.iter().any(|line| line.contains(words)), "{words} in {lines:?}");
    }
    account.grant().await;
    checked.assert_found("", 0, &[]);
    allow_account(
        &ns,
        "vestibule",
        "wide",
        &json!([
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [USERS], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
        ]),
    )
    .await;
    let (code, lines) = checked.found("", &["error", "warning"]);
    assert_eq!((code, lines.len()), (0, 1), "{lines:?}");
    for words in
        ["`list` on all secrets of the namespace", &format!("`patch` on Secret {USERS}"), "`create` on all pods/exec"]
    {
        assert!(lines[0].contains(words), "{words} in {lines:?}");
    }
}

#[tokio::test]
async fn what_the_secrets_hold_is_judged() {
    let Some(ns) = namespace().await else { return };
    stocked(&ns).await;
    let checked = Checked::new(&ns.account().await.kubeconfig().await, &ns.name);
    ns.set(USERS, &[("old.htpasswd", "bob:$apr1$salt$abcdefghijklmnopqrstuv\n")]).await;
    checked.assert_found("", 0, &["cannot be used: \"bob\"", "the password of user \"bob\" is unusable"]);
    ns.set(USERS, &[("old.htpasswd", "bob\n")]).await;
    ns.set(KEYS, &[("keys.jwks", "{}")]).await;
    checked.assert_found(
        "",
        1,
        &[
            &format!("error users: Secret {}/{USERS}, old.htpasswd, line 1", ns.name),
            &format!("error keys: Secret {}/{KEYS}, keys.jwks: a JWK Set has an array", ns.name),
        ],
    );
    ns.delete_secret(USERS).await;
    ns.set(KEYS, &[("keys.jwks", "")]).await;
    checked.assert_found("", 1, &["is not there", "warning keys: no key signs yet"]);
}

#[tokio::test]
async fn pods_and_services_are_looked_at_where_they_may_be() {
    let Some(ns) = namespace().await else { return };
    stocked(&ns).await;
    let checked = Checked::new(&ns.account().await.kubeconfig().await, &ns.name);
    allow_account(
        &ns,
        "vestibule",
        "looks",
        &json!([{"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["list"]}]),
    )
    .await;
    let pod = |name: &str, containers: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"serviceAccountName": "vestibule", "automountServiceAccountToken": false, "containers": containers},
        })
    };
    let container = |name: &str| json!({"name": name, "image": name});
    ns.admin().create(&ns.path("pods"), &pod("shop", json!([container("shop"), container("vestibule")]))).await;
    ns.admin().create(&ns.path("pods"), &pod("job", json!([container("job")]))).await;
    let mut database = pod("db", json!([container("db"), container("vestibule")]));
    database["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1", "controller": true}]);
    ns.admin().create(&ns.path("pods"), &database).await;
    let port = checked.port();
    for (name, target) in [("past", json!(port)), ("through", json!(10443))] {
        let spec = json!({"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": target}]});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        ns.admin().create(&ns.path("services"), &service).await;
    }
    checked.assert_found(
        "",
        0,
        &[
            "`list` on all pods",
            "warning shutdown: ending may take 35 s, and pods are killed sooner: db, shop",
            "run as the same service account, with all its rights: job",
            "can read and rotate what the others can: vestibule by Pod shop, StatefulSet db",
            &format!("warning services: Service past leads to the application's own port {port}"),
        ],
    );
    checked.assert_found(
        "--shutdown-delay 0s --shutdown-grace 25s",
        0,
        &["`list` on all pods", "job", "StatefulSet db", "Service past"],
    );
}

#[tokio::test]
async fn a_clock_that_is_off_is_an_error() {
    let Some(ns) = namespace().await else { return };
    stocked(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let front = Front::start(&kubeconfig).await;
    let checked = Checked::new(&front.kubeconfig(&kubeconfig), &ns.name);
    for (seconds, code, words) in [(0, 0, "0 errors"), (60, 1, "s behind the API server's")] {
        front.set_clock(seconds);
        let ran = checked.shell.run_beside("check --config config.yaml").await;
        assert!(ran.code == code && ran.out.contains(words), "{ran:?}");
    }
}

#[tokio::test]
async fn without_anybody_to_ask_as_the_rest_is_still_checked() {
    let Some(ns) = namespace().await else { return };
    let checked = Checked::new(&ns.admin().kubeconfig, &ns.name);
    let mut command = checked.shell.command("check --config config.yaml");
    let output = command.env_remove("KUBECONFIG").output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("note    cluster: the Secrets were not looked at"), "{text}");
    checked.shell.run("check --config config.yaml --kubeconfig nowhere").refused(64, "cannot be read");
}

#[tokio::test]
async fn a_managed_certificate_is_judged_by_when_it_should_have_been_renewed() {
    let Some(ns) = namespace().await else { return };
    stocked(&ns).await;
    let account = ns.account_of("vestibule", &[USERS], &format!("{KEYS}, {TLS}")).await;
    let checked = Checked::new(&account.kubeconfig().await, &ns.name);
    let config = std::fs::read_to_string(checked.shell.path("config.yaml")).expect("a file");
    let tls = "tls: {managed: {secret: vestibule-tls, hosts: [localhost, shop.example]}}";
    checked.shell.write("config.yaml", &config.replace("tls: {certificate: tls.crt, key: tls.key}", tls));
    checked.assert_found("", 1, &[&format!("error certificate: Secret {}/{TLS} is not there", ns.name)]);
    ns.create_secret(TLS, NONE).await;
    checked.assert_found("", 0, &["holds no certificate yet"]);

    let day = 86_400;
    let ca = LocalCa::create(now() - 100 * day).expect("an authority");
    let put = async |days: u64| {
        let issued = ca.issue_server(&["localhost", "shop.example"], 90, now() - days * day).expect("a certificate");
        let entries = [
            ("ca.crt", ca.cert_pem().to_owned()),
            ("ca.key", ca.key_pem()),
            ("tls.crt", issued.cert_pem),
            ("tls.key", issued.key_pem),
        ];
        ns.set(TLS, &entries).await;
    };
    put(10).await;
    checked.assert_found("--host shop.example", 0, &[]);
    checked.assert_found("--host other.example", 1, &["error certificate: it is not good for \"other.example\""]);
    put(66).await;
    checked.assert_found("", 0, &["warning certificate: it expires in 2"]);
    put(91).await;
    checked.assert_found("", 1, &["error certificate: it has expired"]);
    put(10).await;
    ns.set(TLS, &[("ca.key", "none")]).await;
    checked.assert_found("", 1, &["ca.key is not whole PEM"]);
    put(10).await;
    ns.patch_secret(TLS, &json!({"immutable": true})).await;
    checked.assert_found("", 1, &["is immutable"]);

    let few = ns.account_of("few", &[USERS, TLS], KEYS).await;
    few.kubeconfig().await.write(&checked.shell.path("kubeconfig"));
    checked.assert_found("", 1, &[&format!("may not `patch` Secret {}/{TLS}", ns.name), "is immutable"]);
    // With files, the same rights are too many.
    checked.shell.write("config.yaml", &config);
    checked.assert_found("", 0, &[&format!("`get`, `list`, `watch` on Secret {TLS}")]);
}
