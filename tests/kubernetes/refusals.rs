//! Refusals that are over in a moment, of tokens that have been replaced and by API servers that do not know their roles
//! yet: nobody is called for them.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};
use vestibule::store::kubernetes::{Cluster, Fault};

use crate::cluster::{Asked, Front, KEYS, Pod, Reply, USERS, User, alone, named, namespace};
use crate::sidecar::{Running, disable_admin, secrets, sidecar, token_ahead};
use crate::support::figures::figure;
use crate::support::{Jwk, claims, eventually, eventually_after};

/// How long the API server may go on with a token that is over (`--authentication-token-webhook-cache-ttl` and the like).
const REMEMBERED: Duration = Duration::from_secs(10);
/// A start of the API server on a machine that is busy.
const START: Duration = Duration::from_secs(90);
/// So many ask it again and again meanwhile.
const ASKING: usize = 16;
const NOT_YET: &str = "is not ready, and may not know its roles yet";

/// A token whose object is gone, while its successor is mounted already: by itself kube reads the file within a minute.
#[tokio::test]
async fn a_token_that_is_refused_gives_way_to_its_successor_before_anything_is_said() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    let direct = account.kubeconfig().await;
    let front = Front::start(&direct).await;
    let ticket = ns.create_secret("ticket", &[("entry", "text")]).await;
    let old = User::Token(account.token_bound_to(&ticket).await);
    let first = front.kubeconfig(&direct).with_user(old.clone());
    let Some(pod) = Pod::new(&first) else { return };
    let running = Running::start(pod.sidecar()).await;
    let token = running.vestibule.token("admin").await;
    pod.publish(direct.token().expect("a token"), &first.ca);
    ns.delete_secret("ticket").await;
    let (api, path) = (direct.with_user(old).api(), named(&ns.name, KEYS));
    eventually_after(REMEMBERED, "the end of the old token", async || {
        (api.send("GET", &path, None).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(running.notes().await, "ready\n", "a watch that stands is not asked again");

    let before = front.asked().len();
    for secret in [USERS, KEYS] {
        assert_eq!(front.end(secret), 1);
    }
    disable_admin(&ns, true).await;
    running.comes_to(&token, 401).await;
    let watches =
        || [USERS, KEYS].map(|secret| front.asked()[before..].iter().filter(|asked| asked.is_watch_of(secret)).count());
    eventually("both watches", async || {
        (watches().iter().all(|tries| *tries > 0) && front.watches(KEYS) == 1).then_some(())
    })
    .await;
    // Whoever came first was refused; the other one may have found the new token.
    let tries = watches();
    assert!([[2, 1], [1, 2], [2, 2]].contains(&tries), "{tries:?}");
    assert_eq!(running.vestibule.events("store_failed"), [] as [serde_json::Value; 0]);
    assert_eq!(running.notes().await, "ready\n");
}

#[tokio::test]
async fn a_refusal_that_is_over_at_the_next_try_is_not_told() {
    let Some(ns) = namespace().await else { return };
    let (running, front) = Running::behind_front(&ns).await;
    // A read for requests with a key that has not come by the watch.
    let token = token_ahead(&ns, &front).await;
    let path = named(&ns.name, KEYS);
    let reads = || front.asked().iter().filter(|asked| asked.method == "GET" && asked.path == path).count();
    let before = reads();
    let is_read = |asked: &Asked| !asked.is_watch && asked.secret.as_deref() == Some(KEYS);
    front.answer(1, Reply::status(401), is_read);
    running.status(&token).await;
    eventually("a second read for one request", async || (reads() == before + 2).then_some(())).await;
    running.comes_to(&token, 200).await;
    front.drop_events(false);

    let watches = || front.asked().iter().filter(|asked| asked.is_watch_of(USERS)).count();
    for status in [401, 403] {
        let before = watches();
        front.answer(1, Reply::status(status), |asked| asked.is_watch_of(USERS));
        assert_eq!(front.end(USERS), 1);
        eventually("a watch after a refusal", async || {
            (watches() == before + 2 && front.watches(USERS) == 1).then_some(())
        })
        .await;
    }
    assert_eq!(running.vestibule.events("store_failed"), [] as [serde_json::Value; 0]);
    assert_eq!(running.notes().await, "ready\n");
}

/// To a sidecar that runs and to one that starts; a right that is missing where the API server is ready stays one.
#[tokio::test]
async fn an_api_server_that_is_not_ready_forbids_nothing() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let direct = ns.account().await.kubeconfig().await;
    let front = Front::start(&direct).await;
    let kubeconfig = front.kubeconfig(&direct);
    let running = Running::start(sidecar(&kubeconfig)).await;
    front.answer(usize::MAX, Reply::status(500), |asked| asked.path == "/readyz");
    front.answer(usize::MAX, Reply::status(403), |asked| asked.secret.is_some());
    let end = || [USERS, KEYS].map(|secret| front.end(secret));
    assert_eq!(end(), [1, 1]);
    for store in ["users", "keys"] {
        running.vestibule.event("store_failed", |line| line["store"] == store).await;
    }
    eventually("notes of both", async || (running.notes().await.matches(NOT_YET).count() == 2).then_some(())).await;

    let key = Jwk::fresh("HS512", "mounted");
    let setup = sidecar(&kubeconfig).keys(std::slice::from_ref(&key));
    let fallback = json!({"users": setup.path("users"), "keys": setup.path("keys")});
    let started = Running::start(setup.store(json!({"kubernetes": {"fallback": fallback}}))).await;
    assert_eq!(started.status(&key.token(&claims("admin"))).await, 200, "it has read what is mounted");
    eventually("notes of both", async || (started.notes().await.matches(NOT_YET).count() == 2).then_some(())).await;
    for sidecar in [&running, &started] {
        let failed = sidecar.vestibule.events("store_failed");
        assert!(failed.iter().all(|line| line["reason"] == "unavailable"), "{failed:?}");
        assert!(!sidecar.vestibule.lines().iter().any(|line| line.contains("allow `")));
    }

    front.pass();
    for sidecar in [&running, &started] {
        sidecar.nothing_is_noted().await;
    }
    front.answer(usize::MAX, Reply::status(403), |asked| asked.is_watch);
    assert_eq!(end(), [2, 2]);
    for sidecar in [&running, &started] {
        let failed = sidecar.vestibule.event("store_failed", |line| line["reason"] == "forbidden").await;
        assert!(failed["error"].to_string().contains("allow `watch` on `secrets`"), "{failed}");
    }
}

#[tokio::test]
async fn an_api_server_that_starts_is_not_one_that_forbids() {
    let Some(ns) = alone().await else { return };
    secrets(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let own = ns.cluster.own();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kubeconfig");
    kubeconfig.write(&file);
    let cluster = Cluster::from_kubeconfig(Some(&file), None, None, None, &[]).await.expect("a kubeconfig");
    cluster.read(KEYS).await.expect("a right that is there");

    own.stop_api_server().await;
    // The moment is a short one: many ask.
    let asking = async || {
        let mut not_yet = 0;
        loop {
            match cluster.read(KEYS).await {
                Ok(_) => return not_yet,
                Err(error) => {
                    assert!(!matches!(error.fault(), Fault::Forbidden { .. }), "{error}");
                    not_yet += usize::from(error.to_string().contains(NOT_YET));
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let all = timeout(START, join_all((0..ASKING).map(|_| asking())));
    let ((), asked) = tokio::join!(own.start_api_server(), all);
    let not_yet: usize = asked.expect("a Secret that is read").into_iter().sum();
    figure("403 of an API server that starts, for what it allows a moment later", not_yet);
}
