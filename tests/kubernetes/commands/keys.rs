//! `keys` on a Secret: one patch for each rotation, with no more rights than a CronJob has.

use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::{Front, KEYS, Pod, Reply, namespace};
use crate::shell::{Shell, allow};
use crate::support::{Commands, Ran};

const NONE: &[(&str, &str)] = &[];

#[tokio::test]
async fn a_ring_is_rotated_and_revoked() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(KEYS, NONE).await;
    let shell = Shell::admin(&ns);
    let at = |command: &str| format!("keys {command} --namespace {} --secret {KEYS}", ns.name);
    let first = shell.done(&at("rotate"));
    let version = ns.version(KEYS).await;
    let idle = shell.run(&at("rotate --if-due"));
    assert!(idle.code == 0 && idle.out.is_empty() && idle.err.contains("nothing to do"), "{idle:?}");
    assert_eq!(ns.version(KEYS).await, version, "nothing to do, and nothing written");
    let second = shell.done(&at("rotate --algorithm ES256"));
    let list = shell.json(&at("list -o json"));
    let states: Vec<_> = list.as_array().expect("keys").iter().map(|key| key["state"].as_str()).collect();
    assert_eq!(states.len(), 2, "{list}");
    assert!(states.contains(&Some("active")) && states.contains(&Some("pending")), "{list}");
    shell.done(&at(&format!("revoke {}", first.trim())));
    let list = shell.json(&at("list -o json"));
    assert_eq!((&list[0]["kid"], &list[0]["state"]), (&json!(second.trim()), &json!("active")));
    ns.delete_secret(KEYS).await;
    shell.run(&at("rotate")).refused(1, &format!("create secret generic {KEYS}"));
}

/// What a CronJob runs: `get` and `patch` on the one Secret, and nothing else.
#[tokio::test]
async fn two_rights_on_the_one_secret_are_enough() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(KEYS, NONE).await;
    let user = format!("cron-{}", ns.name);
    let rule = |verbs| json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [KEYS], "verbs": verbs}]);
    allow(&ns, &user, &rule(json!(["get", "patch"]))).await;
    let shell = Shell::admin(&ns);
    shell.done(&format!("keys rotate --if-due --as {user} -n {}", ns.name));
    assert_eq!(shell.json(&format!("keys list -o json -n {}", ns.name)).as_array().map(Vec::len), Some(1));
}

/// In a pod there is no kubeconfig: its service account counts, and its namespace.
#[tokio::test]
async fn in_a_pod_the_service_account_rotates() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(KEYS, NONE).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let Some(pod) = Pod::new(&kubeconfig) else { return };
    let run = |arguments: &[&str]| {
        let mut command: Command = pod.command(env!("CARGO_BIN_EXE_vestibule"));
        let output = command.args(arguments).env_remove("KUBECONFIG").env("HOME", "/nowhere").output();
        Ran::of(output.expect("the program runs"))
    };
    let ran = run(&["keys", "rotate", "--if-due", "--secret", KEYS]);
    assert!(ran.code == 0 && !ran.out.is_empty(), "{ran:?}");
    let ran = run(&["keys", "rotate", "--if-due", "--secret", KEYS]);
    assert!(ran.code == 0 && ran.out.is_empty(), "{ran:?}");
    run(&["keys", "list", "--secret", KEYS, "--as", "somebody"]).refused(64, "--as works with a kubeconfig");
}

#[tokio::test]
async fn by_a_clock_that_is_off_nothing_is_rotated_but_all_can_be_revoked() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(KEYS, NONE).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let front = Front::start(&kubeconfig).await;
    let shell = Shell::new(&front.kubeconfig(&kubeconfig));
    let first = shell.run_beside(&format!("keys rotate --secret {KEYS}")).await.out;
    for (ahead, words) in [(-95, "s ahead of the API server's, and keys are dated by it"), (95, "s behind the API")] {
        front.set_clock(ahead);
        shell.run_beside(&format!("keys rotate --secret {KEYS}")).await.refused(1, words);
    }
    front.set_clock(-20);
    let ran = shell.run_beside(&format!("keys rotate --secret {KEYS}")).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    front.set_clock(95);
    let ran = shell.run_beside(&format!("keys revoke {} --secret {KEYS}", first.trim())).await;
    assert!(ran.code == 0 && ran.err.contains("the API server's counts here"), "{ran:?}");
    let ran = shell.run_beside(&format!("keys list -o json --secret {KEYS}")).await;
    let list: Value = serde_json::from_str(&ran.out).expect("JSON");
    let now = crate::support::now();
    // By the API server's clock, as sidecars have it, it signs already.
    assert!(list[0]["nbf"].as_u64().is_some_and(|nbf| nbf.abs_diff(now + 95) < 15), "{list}");
}

/// 429 and a lost race both mean again; an answer that never comes does not.
#[tokio::test]
async fn what_may_be_asked_again_is() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(KEYS, NONE).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let front = Front::start(&kubeconfig).await;
    let shell = Shell::new(&front.kubeconfig(&kubeconfig));
    front.answer(1, Reply::status(429).retry_after(1), |asked| asked.method == "GET");
    front.answer(1, Reply::status(429).retry_after(1), |asked| asked.method == "PATCH");
    front.answer(3, Reply::status(409), |asked| asked.method == "PATCH");
    let ran = shell.run_beside(&format!("keys rotate --secret {KEYS}")).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = shell.run_beside(&format!("keys list --secret {KEYS}")).await;
    assert_eq!(ran.out.lines().count(), 2, "a heading and a key: {ran:?}");
    front.answer(1, Reply::status(500), |asked| asked.method == "PATCH");
    shell.run_beside(&format!("keys rotate --secret {KEYS}")).await.refused(1, "it may have been changed all the same");
}
