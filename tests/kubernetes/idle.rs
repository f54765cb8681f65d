//! What a sidecar costs that starts and then idles: the API server, and the node.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::cluster::{Faults, KEYS, USERS, namespace};
use crate::sidecar::{Running, secrets, sidecar};
use crate::support::Setup;
use crate::support::figures::{figure, long};

/// Long enough for what would come each few seconds. The watches themselves come each 5 to 10 minutes: for these the long
/// one is.
const IDLE: Duration = Duration::from_secs(45);
const LONG_IDLE: Duration = Duration::from_secs(1200);
/// About one a minute and Secret.
const MOST_AN_HOUR: f64 = 120.0;

#[tokio::test]
async fn an_idle_sidecar_asks_nothing() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    let running = Running::start(sidecar(&account.kubeconfig().await)).await;
    running.vestibule.token("admin").await;
    let directory = Running::start(Setup::new()).await;
    directory.vestibule.token("admin").await;
    // The log is a moment behind.
    sleep(Duration::from_secs(1)).await;
    let trail = account.trail(&ns);
    let synced = async || {
        let metrics = running.vestibule.metrics().await;
        metrics.value("vestibule_store_synced_timestamp_seconds{store=\"keys\"}")
    };
    let before = synced().await;
    let idle = if long() { LONG_IDLE } else { IDLE };
    sleep(idle).await;
    assert!(synced().await > before, "a watch that stands is a contact");
    for (store, running) in [("Secrets", &running), ("directories", &directory)] {
        let (resident, peak) = (running.vestibule.resident() / 1024, running.vestibule.resident_peak() / 1024);
        figure(&format!("memory of an idle process with {store}"), format!("{resident} KiB, {peak} KiB at the most"));
    }
    // Not for the connection, its TLS and two watches as much again as for all the rest.
    assert!(running.vestibule.resident() < 2 * directory.vestibule.resident() + (16 << 20));
    if let Some(trail) = trail {
        let requests = trail.requests();
        let an_hour = requests.len() as f64 * 3600.0 / idle.as_secs_f64();
        figure(&format!("requests in {} s without a change", idle.as_secs()), requests.len());
        figure("which is in an hour", format!("{an_hour:.0}"));
        assert!(requests.is_empty() || (long() && an_hour <= MOST_AN_HOUR), "{requests:?}");
    }
}

#[tokio::test]
async fn a_start_makes_one_connection_for_all_secrets() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let more = ["users-a", "users-b", "users-c", "users-d"];
    for (number, name) in more.iter().enumerate() {
        ns.create_secret(name, &[("more.yaml", json!({"users": {format!("more-{number}"): {}}}).to_string())]).await;
    }
    let users = [&[USERS], &more[..]].concat();
    let kubeconfig = ns.account_of("vestibule", &users, KEYS).await.kubeconfig().await;
    let mut connections = Vec::new();
    // On a machine that is busy one of them may take its turn before the first has a connection.
    for _ in 0..3 {
        let network = Faults::start(kubeconfig.address).await;
        let setup = sidecar(&kubeconfig.by_way_of(network.address));
        let running = Running::start(setup.store(json!({"kubernetes": {"users": users}}))).await;
        running.vestibule.token("admin").await;
        connections.push(network.connections());
    }
    assert!(connections.contains(&1), "{connections:?}");
}
