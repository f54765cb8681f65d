//! API servers that speak otherwise: without streaming lists, without HTTP/2, and ones that send connections away.

use std::fs;

use vestibule::store::kubernetes::Cluster;

use crate::cluster::{Faults, Front, KEYS, USERS, Way, alone, named, namespace};
use crate::sidecar::{Running, disable_admin, secrets, sidecar};
use crate::support::figures::figure;
use crate::support::{default_users, eventually};

/// So many requests at `--goaway-chance=0.02` that one in 10,000 runs of this test sees no GOAWAY.
const REQUESTS: usize = 460;

/// In `/proc/net/tcp`: a state, a timer, and what its times are in, for a second (`USER_HZ`).
const ESTABLISHED: &str = "01";
const KEEP_ALIVE: &str = "02";
const TICKS: u64 = 100;

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

/// After its restart an API server remembers nothing of what came before: 410, by an event or an answer.
#[tokio::test]
async fn a_version_that_the_api_server_has_forgotten_is_nothing_wrong() {
    let Some(ns) = alone().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    let kubeconfig = account.kubeconfig().await;
    let faults = Faults::start(kubeconfig.address).await;
    let running = Running::start(sidecar(&kubeconfig.by_way_of(faults.address))).await;
    let token = running.vestibule.token("admin").await;
    // Not long enough to be noticed, so that each watch goes on from where it was.
    faults.silence(&[Way::ToServer, Way::ToClient]);
    // So that it is an old version by then.
    ns.create_secret("other", &[("entry", "text")]).await;
    let trail = account.trail(&ns).expect("a cluster of ours");
    let own = ns.cluster.own();
    own.kill_api_server();
    own.start_api_server().await;
    disable_admin(&ns, true).await;
    faults.heal().await;
    running.comes_to(&token, 401).await;
    running.nothing_is_noted().await;
    eventually("a watch from the old version, then one anew", async || {
        let watches: Vec<_> = trail.requests().into_iter().filter(|entry| entry.uri.contains(USERS)).collect();
        let begun = |anew: bool| watches.iter().position(|entry| entry.uri.contains("sendInitialEvents=true") == anew);
        (begun(false) == Some(0) && begun(true).is_some()).then_some(())
    })
    .await;
    assert!(!running.vestibule.lines().iter().any(|line| line.contains("so old a version")));
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

    // Where a network dies silently only TCP's keep-alive tells: it asks after 15 s.
    let server = format!("0100007F:{:04X}", front.address.port());
    eventually("connections that are kept alive", async || {
        let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table of sockets");
        let rows = table.lines().map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
        let open: Vec<_> = rows.filter(|row| row.get(2..4) == Some(&[&*server, ESTABLISHED])).collect();
        let is_kept = |row: &Vec<&str>| {
            let (timer, ticks) = row.get(5)?.split_once(':')?;
            Some(timer == KEEP_ALIVE && u64::from_str_radix(ticks, 16).ok()? <= 15 * TICKS)
        };
        (!open.is_empty() && open.iter().all(|row| is_kept(row) == Some(true))).then_some(())
    })
    .await;
}
