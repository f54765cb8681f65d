//! `users` on a Secret: each change is one patch of what was read, or a line that says why not.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cluster::{USERS, entry, namespace};
use crate::shell::{Shell, allow};
use crate::support::{Commands, Ran};

const NONE: &[(&str, &str)] = &[];
/// What a Secret holds at most, in bytes.
const MAX_SECRET: usize = 1 << 20;

#[tokio::test]
async fn users_of_a_secret_are_managed() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(USERS, NONE).await;
    let shell = Shell::admin(&ns);
    let password = shell.done(&format!("users add ann --group Administrator --generate -n {}", ns.name));
    assert!(password.trim().len() > 20, "{password:?}");
    // The context's namespace and the Secret's usual name.
    let list = shell.json(&format!("users list --secret {USERS} -o json"));
    assert_eq!((&list[0]["name"], &list[0]["groups"]), (&json!("ann"), &json!(["Administrator"])));

    let at = |command: &str| format!("users {command} --namespace {} --secret {USERS}", ns.name);
    let first = list[0]["passwords"][0]["credential"].clone();
    shell.done(&at("passwd ann --generate --keep-old"));
    let list = shell.json(&at("list -o json"));
    let credentials: Vec<&Value> =
        list[0]["passwords"].as_array().expect("passwords").iter().map(|password| &password["credential"]).collect();
    assert!(credentials.len() == 2 && credentials[1] == &first, "{list}");
    for (command, member, expected) in
        [("disable ann", "/0/state", json!("disabled")), ("enable ann", "/0/state", json!("active"))]
    {
        shell.done(&at(command));
        assert_eq!(shell.json(&at("list -o json")).pointer(member), Some(&expected), "{command}");
    }
    shell.done(&at("logout ann"));
    assert!(shell.json(&at("list -o json"))[0]["tokensNotBefore"].is_string());
    shell.write("htpasswd", &format!("bob:{}\n", crate::support::bcrypt("bob's")));
    shell.done(&at("import htpasswd"));
    shell.done(&at("remove ann"));
    let list = shell.json(&at("list -o json"));
    assert_eq!((&list[0]["name"], list.as_array().map(Vec::len)), (&json!("bob"), Some(1)));
    shell.run(&at("remove ann")).refused(1, "there is no user \"ann\"");
}

#[tokio::test]
async fn what_changes_nothing_is_not_written_and_other_entries_stay() {
    let Some(ns) = namespace().await else { return };
    let staff = "# kept\nusers:\n  zoe: {groups: [b, a]} # and this\n";
    ns.create_secret(USERS, &[("staff.yaml", staff), ("readme", "not a document")]).await;
    let shell = Shell::admin(&ns);
    shell.done(&format!("users add ann --generate -n {}", ns.name));
    shell.done(&format!("users disable ann -n {}", ns.name));
    let version = ns.version(USERS).await;
    shell.done(&format!("users disable ann -n {}", ns.name));
    assert_eq!(ns.version(USERS).await, version);
    let secret = ns.secret(USERS).await;
    assert_eq!(entry(&secret, "staff.yaml").as_deref(), Some(staff.as_bytes()));
    assert_eq!(entry(&secret, "readme").as_deref(), Some(&b"not a document"[..]));
    // What loses its comments is said.
    let ran = shell.run(&format!("users disable zoe -n {}", ns.name));
    assert!(ran.code == 0 && ran.err.contains("staff.yaml was written anew, and its comments are gone"), "{ran:?}");
}

/// Twenty processes plan on the same version; those that lose the race plan again.
#[tokio::test]
async fn users_that_are_added_at_once_are_all_there() {
    const WRITERS: usize = 20;
    let Some(ns) = namespace().await else { return };
    ns.create_secret(USERS, NONE).await;
    let shell = Shell::admin(&ns);
    let conflicts = [("resource", "secrets"), ("verb", "PATCH"), ("code", "409")];
    let before = ns.admin().metric("apiserver_request_total", &conflicts).await;
    let children: Vec<_> = (0..WRITERS)
        .map(|number| {
            let mut command = shell.command(&format!("users add user{number} --generate -n {}", ns.name));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
        })
        .collect();
    for child in children {
        let ran = Ran::of(child.wait_with_output().expect("the program ends"));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let list = shell.json(&format!("users list -o json -n {}", ns.name));
    let names: BTreeSet<&str> =
        list.as_array().expect("users").iter().filter_map(|user| user["name"].as_str()).collect();
    assert_eq!(names.len(), WRITERS, "{names:?}");
    let lost = ns.admin().metric("apiserver_request_total", &conflicts).await - before;
    eprintln!("{WRITERS} users added at once: {lost} patches were refused as conflicts, and planned again");
    assert!(lost > 0.0, "nobody lost a race: this test shows nothing");
}

#[tokio::test]
async fn what_cannot_be_written_is_said_in_a_line() {
    let Some(ns) = namespace().await else { return };
    let shell = Shell::admin(&ns);
    let add = |secret: &str| format!("users add ann --generate --namespace {} --secret {secret}", ns.name);
    let mend = format!("kubectl --namespace {} create secret generic nowhere", ns.name);
    shell.run(&add("nowhere")).refused(1, &mend);
    shell.run(&format!("users list --secret {USERS} -n nowhere-{}", ns.name)).refused(1, "is not there");

    ns.create_secret("frozen", NONE).await;
    ns.patch_secret("frozen", &json!({"immutable": true})).await;
    shell.run(&add("frozen")).refused(1, "is immutable and cannot be changed: delete it and make it anew");

    ns.create_secret("broken", &[("users.yaml", "users: [")]).await;
    shell.run(&add("broken")).refused(1, "mend that first; nothing was written");

    ns.create_secret("full", &[("readme", "x".repeat(MAX_SECRET - 50))]).await;
    shell.run(&add("full")).refused(1, "none holds more than 1048576: put users into a further Secret");

    let reader = format!("reader-{}", ns.name);
    allow(
        &ns,
        &reader,
        &json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["read"], "verbs": ["get"]}]),
    )
    .await;
    ns.create_secret("read", NONE).await;
    shell.done(&format!("users list --secret read --as {reader}"));
    shell
        .run(&format!("{} --as {reader}", add("read")))
        .refused(1, "allow `patch` on `secrets` with resourceNames [read]");
    shell.run(&format!("users list --secret frozen --as {reader}")).refused(1, "allow `get` on `secrets`");
}

#[tokio::test]
async fn of_several_secrets_one_is_named_and_all_must_fit_together() {
    let Some(ns) = namespace().await else { return };
    for name in ["staff", "partners"] {
        ns.create_secret(name, NONE).await;
    }
    let shell = Shell::admin(&ns);
    let config = format!(
        "store: {{kubernetes: {{namespace: {}, users: [staff, partners]}}}}\n{}",
        ns.name, "tls: {certificate: c, key: k}\n"
    );
    shell.write("config.yaml", &config);
    shell
        .run("users add ann --generate --config config.yaml")
        .refused(64, "(staff, partners): name the one that is to change");
    shell.done("users add ann --generate --config config.yaml --secret staff");
    shell.done("users add bob --generate --config config.yaml --secret partners");
    let list = shell.json("users list -o json --config config.yaml");
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    // Twice the same name would stop every sidecar from reading either.
    let version = ns.version("partners").await;
    let ran = shell.run("users add ann --generate --config config.yaml --secret partners");
    ran.refused(1, "nothing was written");
    assert_eq!(ns.version("partners").await, version);
}
