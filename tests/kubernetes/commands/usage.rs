//! What names the API server and the Secrets: each mistake is one line, and nothing was written.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::cluster::{USERS, User, namespace};
use crate::shell::Shell;
use crate::support::{Commands, Ran, set_mode};

const NONE: &[(&str, &str)] = &[];

#[tokio::test]
async fn a_kubeconfig_that_is_no_good_is_bad_usage() {
    let Some(ns) = namespace().await else { return };
    let shell = Shell::admin(&ns);
    let good = ns.admin().kubeconfig.in_namespace(&ns.name);
    let mut contextless = good.document();
    contextless.as_object_mut().expect("an object").remove("current-context");
    shell.write("contextless", &contextless.to_string());
    shell.write("broken", "clusters: [{name: 7\n");
    let exec = |command: &str| {
        let exec =
            json!({"apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never"});
        good.with_user(User::Other(json!({"exec": exec}))).document().to_string()
    };
    shell.write("absent", &exec("no-such-plugin"));
    shell.write("failing", &exec("false"));
    for (options, words) in [
        ("--kubeconfig nowhere", "cannot be read"),
        ("--kubeconfig broken", "kubeconfig: "),
        ("--kubeconfig contextless", "`kubectl config use-context NAME`"),
        ("--context elsewhere", "it has no context \"elsewhere\""),
        ("--kubeconfig absent", "exec plugin cannot be run"),
        ("--kubeconfig failing", "exec plugin failed"),
    ] {
        for command in ["users list", "keys rotate", "token issue ann"] {
            shell.run(&format!("{command} --namespace {} {options}", ns.name)).refused(64, words);
        }
    }
}

/// The plugin's token is what the API server sees, and another context has another namespace.
#[tokio::test]
async fn an_exec_plugin_and_a_context_say_who_asks_and_where() {
    let Some(ns) = namespace().await else { return };
    let other = ns.another().await;
    for place in [&ns, &other] {
        place.create_secret(USERS, NONE).await;
    }
    let shell = Shell::admin(&ns);
    let kubeconfig = ns.account().await.kubeconfig().await;
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": kubeconfig.token()},
    });
    shell.write("plugin", &format!("#!/bin/sh\necho '{credential}'\n"));
    set_mode(&shell.path("plugin"), 0o700);
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": shell.path("plugin"),
    });
    shell.write("exec", &kubeconfig.with_user(User::Other(json!({"exec": exec}))).document().to_string());
    shell.done(&format!("users list --kubeconfig exec --secret {USERS}"));
    let user = format!("patched by system:serviceaccount:{}:vestibule", ns.name);
    shell.run(&format!("users add ann --generate --kubeconfig exec --secret {USERS}")).refused(1, &user);

    let mut two = ns.admin().kubeconfig.in_namespace(&ns.name).document();
    let context = json!({"cluster": "tests", "user": "tests", "namespace": other.name});
    two["contexts"].as_array_mut().expect("contexts").push(json!({"name": "other", "context": context}));
    shell.write("contexts", &two.to_string());
    shell.done(&format!("users add bob --generate --kubeconfig contexts --context other --secret {USERS}"));
    for (place, users) in [(&ns, 0), (&other, 1)] {
        let list = shell.json(&format!("users list -o json --namespace {} --secret {USERS}", place.name));
        assert_eq!(list.as_array().map(Vec::len), Some(users), "{list}");
    }
}

#[tokio::test]
async fn directories_and_secrets_exclude_each_other() {
    let Some(ns) = namespace().await else { return };
    let shell = Shell::admin(&ns);
    for (arguments, words) in [
        ("users list --dir d --secret s", "exclude each other"),
        ("keys list --dir d --namespace n", "exclude each other"),
        ("token issue ann --dir d --keys-secret s", "exclude each other"),
        ("users list --dir d --context c", "exclude each other"),
        ("users list --secret Not_A_Name", "--secret"),
        ("users list --namespace a/b", "--namespace"),
        ("users list --as-group g", "--as <USER> is missing"),
    ] {
        shell.run(arguments).refused(64, words);
    }
}

/// kubectl finds it by its name and passes on what follows; without a word it works on the context's namespace.
#[tokio::test]
async fn as_a_plugin_it_works_on_the_contexts_secrets() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(USERS, NONE).await;
    let shell = Shell::admin(&ns);
    let plugin = shell.path("kubectl-vestibule");
    symlink(Path::new(env!("CARGO_BIN_EXE_vestibule")), &plugin).expect("a link");
    let run = |arguments: &str| Ran::of(shell.called(&plugin, arguments).output().expect("the program runs"));
    let ran = run("users add ann --generate");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(run("users list").out.contains("ann"));
    run("users lst").refused(64, "`kubectl vestibule users --help` shows the usage");
    run("users list --dir nowhere").refused(1, "\"nowhere/users\" is not there");
    assert_eq!(shell.json(&format!("users list -o json -n {}", ns.name)).as_array().map(Vec::len), Some(1));
}
