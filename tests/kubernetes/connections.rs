//! API servers that speak otherwise: without streaming lists, without HTTP/2, and ones that send connections away.

use vestibule::store::kubernetes::Cluster;

use crate::cluster::{Faults, Front, KEYS, USERS, alone, named, namespace};
use crate::sidecar::{Running, disable_admin, secrets, sidecar};
use crate::support::figures::figure;
use crate::support::{default_users, eventually};

/// So many requests at `--goaway-chance=0.02` that one in 10,000 runs of this test sees no GOAWAY.
const REQUESTS: usize = 460;

#[tokio::test]
async fn without_streaming_lists_a_list_comes_first() {
    let Some(ns) = alone().await else { return };
    ns.cluster.own().restart_with(&["--feature-gates=WatchList=false", "--goaway-chance=0.02"]).await;
    secrets(&ns).await;
    let account = ns.account().await;
    let trail = account.trail(&ns).expect("a cluster of ours");
    let kubeconfig = account.kubeconfig().await;
    let running = Running::start(sidecar(&kubeconfig)).await;
    let token = running.vestibule.token("admin").await;
    disable_admin(&ns, true).await;
    running.comes_to(&token, 401).await;
    ns.delete_secret(USERS).await;
    running.noted("is not there: `kubectl").await;
    ns.create_secret(USERS, &[("users.yaml", default_users().to_string())]).await;
    running.comes_to(&token, 200).await;
    running.nothing_is_noted().await;
    assert_eq!(running.vestibule.events("store_failed").len(), 1, "the Secret that was deleted");
    let requests = trail.requests();
    let lists = requests.iter().filter(|entry| entry.verb == "list" && entry.status == 200).count();
    assert_eq!(lists, 2, "one of each Secret: {requests:?}");
    assert_eq!(trail.verbs(), ["get", "list", "patch", "watch"]);

    // Of every fifty requests one ends its connection for new ones: none fails, and what is followed is followed on.
    let faults = Faults::start(kubeconfig.address).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kubeconfig");
    kubeconfig.by_way_of(faults.address).write(&file);
    let cluster = Cluster::from_kubeconfig(Some(&file), None, None, None, &[]).await.expect("a kubeconfig");
    let follower = cluster.follow(KEYS);
    for number in 0..REQUESTS {
        cluster.read(USERS).await.unwrap_or_else(|error| panic!("request {number}: {error}"));
    }
    figure(&format!("connections for {REQUESTS} requests, with one GOAWAY in 50"), faults.connections());
    assert!(faults.connections() > 1, "nobody was sent away");
    let changed = ns.set(KEYS, &[("other", "entry")]).await;
    let version = changed["metadata"]["resourceVersion"].as_str().expect("a version");
    eventually("the change", async || {
        let now = follower.now();
        (now.live && now.version.is_some_and(|seen| seen.resource_version() == version)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn over_http1_all_is_the_same() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let front = Front::start_http1(&kubeconfig).await;
    let running = Running::start(sidecar(&front.kubeconfig(&kubeconfig))).await;
    let token = running.vestibule.token("admin").await;
    let mut disabled = false;
    for broken in ["nothing", "a watch's end", "an error of a watch", "a goodbye to all connections"] {
        match broken {
            "nothing" => {}
            "a watch's end" => assert_eq!(front.end(USERS), 1),
            "an error of a watch" => assert_eq!(front.expire(USERS), 1),
            _ => front.go_away(),
        }
        disabled = !disabled;
        disable_admin(&ns, disabled).await;
        running.comes_to(&token, if disabled { 401 } else { 200 }).await;
    }
    assert_eq!(running.notes().await, "ready\n");
    let asked = front.asked();
    assert!(!asked.iter().any(|asked| asked.is_http2));
    let reads = asked.iter().filter(|asked| asked.path == named(&ns.name, KEYS)).count();
    assert_eq!(reads, 2, "one read and one patch for the first key: {asked:?}");
}
