//! A process in a pod finds what kubelet has put there, also when that is replaced.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::{Faults, KEYS, Pod, USERS, User, alone, named, namespace};
use crate::sidecar::{LONGEST_PAUSE, Running, disable_admin, secrets};
use crate::support::figures::long;
use crate::support::{Setup, eventually_after};

const FILES: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test]
async fn a_container_finds_its_account() {
    let Some(ns) = namespace().await else { return };
    let kubeconfig = ns.account().await.kubeconfig().await;
    let Some(pod) = Pod::new(&kubeconfig) else { return };
    let script = format!("cat {FILES}/token {FILES}/namespace {FILES}/ca.crt; echo $KUBERNETES_SERVICE_PORT");
    let output = |mut command: Command| {
        let output = command.args(["-c", &script]).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let told = output(pod.command("sh"));
    let token = kubeconfig.token().expect("a token");
    let port = kubeconfig.address.port();
    assert_eq!(told, format!("{token}{}{}{port}\n", ns.name, kubeconfig.ca));

    pod.publish("another", "authority\n");
    assert_eq!(output(pod.command("sh")), format!("another{}authority\n{port}\n", ns.name));
    assert!(!Path::new(FILES).exists(), "of the pod alone");
}

/// How long the API server may go on with a token that is over (`--authentication-token-webhook-cache-ttl` and the like).
const REMEMBERED: u64 = 10;
/// After so long at most kube reads a token's file again by itself.
const REREAD: u64 = 60;

#[tokio::test]
async fn a_token_that_is_over_is_told_and_its_successor_is_used() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    if !account.can_sign() {
        return;
    }
    let direct = account.kubeconfig().await;
    let faults = Faults::start(direct.address).await;
    let began = Instant::now();
    let first = direct.by_way_of(faults.address).with_user(User::Token(account.token_for(10)));
    let Some(pod) = Pod::new(&first) else { return };
    let running = Running::start(pod.sidecar()).await;
    let token = running.vestibule.token("admin").await;
    sleep_until(began + Duration::from_secs(10 + REMEMBERED + 1)).await;
    assert_eq!(running.notes().await, "ready\n", "a watch that stands is not asked again");
    faults.cut().await;
    running.noted("does not accept this token").await;
    assert_eq!(running.status(&token).await, 200);
    running.vestibule.token("two").await;

    pod.publish(direct.token().expect("a token"), &direct.ca);
    disable_admin(&ns, true).await;
    eventually_after(LONGEST_PAUSE, "a token that is refused", async || {
        (running.status(&token).await == 401).then_some(())
    })
    .await;
    running.nothing_is_noted().await;
}

/// As kubelet does it, long before the old one is over: nobody is refused. It takes more than a minute.
#[tokio::test]
async fn a_token_that_is_renewed_in_time_is_never_refused() {
    if !long() {
        return;
    }
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    let Some(trail) = account.trail(&ns) else { return };
    let direct = account.kubeconfig().await;
    let faults = Faults::start(direct.address).await;
    let seconds = REREAD + 10;
    let life = i64::try_from(seconds).expect("a minute");
    let first = direct.by_way_of(faults.address).with_user(User::Token(account.token_for(life)));
    let Some(pod) = Pod::new(&first) else { return };
    let running = Running::start(pod.sidecar()).await;
    pod.publish(direct.token().expect("a token"), &direct.ca);
    sleep(Duration::from_secs(seconds + REMEMBERED + 1)).await;
    faults.cut().await;
    let token = running.vestibule.token("admin").await;
    disable_admin(&ns, true).await;
    running.comes_to(&token, 401).await;
    let requests = trail.requests();
    assert!(requests.iter().all(|entry| entry.status == 200), "{requests:?}");
    assert!(!running.vestibule.events("store_failed").iter().any(|line| line["reason"] == "forbidden"));
}

#[tokio::test]
async fn an_authority_that_is_rotated_is_taken_over() {
    let Some(ns) = alone().await else { return };
    secrets(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let Some(pod) = Pod::new(&kubeconfig) else { return };
    let running = Running::start(pod.sidecar()).await;
    let token = running.vestibule.token("admin").await;
    let own = ns.cluster.own();
    own.kill_api_server();
    own.new_authority();
    own.start_api_server().await;
    eventually_after(LONGEST_PAUSE, "a note of the CA", async || {
        running.notes().await.contains("its certificate is of a CA that is not trusted").then_some(())
    })
    .await;
    assert_eq!(running.status(&token).await, 200);
    running.vestibule.token("two").await;

    pod.publish(kubeconfig.token().expect("a token"), &own.ca());
    disable_admin(&ns, true).await;
    eventually_after(LONGEST_PAUSE, "a token that is refused", async || {
        (running.status(&token).await == 401).then_some(())
    })
    .await;
    running.nothing_is_noted().await;
    ns.admin().get(&named(&ns.name, KEYS)).await;
}

#[tokio::test]
async fn a_pod_without_its_account_is_one_line() {
    let setup = Setup::new().store(json!({"kubernetes": {"users": USERS}}));
    let setup = setup.variable("KUBERNETES_SERVICE_HOST", "127.0.0.1").variable("KUBERNETES_SERVICE_PORT", "9");
    let failed = setup.fails().await;
    assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    let line = failed.line();
    assert!(line.contains("service account cannot be used") && line.contains("automountServiceAccountToken"), "{line}");
}
