//! Many replicas whose clocks differ, an API server that is far away, and a rotation that is due for all at once.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::cluster::{Faults, KEYS, namespace};
use crate::sidecar::{ring, secrets, sidecar};
use crate::support::{App, Jwk, NEEDS_FAKETIME, Vestibule, claims, eventually, faketime, get, now, skipped};

const REPLICAS: usize = 20;
/// The first clock is behind by this, the last one ahead, in seconds; with over 30 s nothing would be planned.
const OFF: f64 = 28.0;
/// What any two clocks differ by (56 s), and a patch, its event and a busy machine on top of it: the fastest clock signs
/// with a successor that the slowest one has made as early as 10 s after that was planned.
const PROPAGATION: u64 = 66;
/// What a request and an answer, and each event, take: a patch is on its way while others still plan.
const FAR: Duration = Duration::from_millis(1500);
/// Until the last of them has had its turn, and its patch has been answered.
const ALL: Duration = Duration::from_secs(18);

#[tokio::test]
async fn of_many_replicas_with_skewed_clocks_one_rotates() {
    let Some(ns) = namespace().await else { return };
    let Some(library) = faketime() else { return skipped(NEEDS_FAKETIME) };
    secrets(&ns).await;
    let old = Jwk::fresh("HS512", "old").with(&json!({"iat": now() - 600, "nbf": now() - 600}));
    ns.set(KEYS, &[("keys.jwks", Jwk::ring(std::slice::from_ref(&old)))]).await;
    let account = ns.account().await;
    let trail = account.trail(&ns);
    let kubeconfig = account.kubeconfig().await;
    let network = Faults::start(kubeconfig.address).await;
    let kubeconfig = kubeconfig.by_way_of(network.address);
    let app = App::start().await;
    let replicas = (0..REPLICAS).map(|number| {
        let ahead = OFF * (2.0 * number as f64 / (REPLICAS - 1) as f64 - 1.0);
        let setup = sidecar(&kubeconfig).upstream(&app.url).clock(&library, ahead, 1.0);
        setup.config(&format!("keys: {{rotateEvery: 1h, propagation: {PROPAGATION}s}}")).start()
    });
    let replicas = join_all(replicas).await;

    network.delay(FAR);
    let over = old.with(&json!({"iat": now() - 7200, "nbf": now() - 7200}));
    ns.set(KEYS, &[("keys.jwks", Jwk::ring(&[over]))]).await;
    let end = Instant::now() + ALL;
    let mut tokens = Vec::new();
    while Instant::now() < end {
        tokens.push(replicas[tokens.len() % REPLICAS].token("admin").await);
        all_accept(&replicas, tokens.last().expect("there is one")).await;
    }
    sleep_until(end).await;
    let rotated = ring(&ns).await;
    assert_eq!(rotated.iter().map(Jwk::kid).filter(|kid| *kid == "old").count(), 1);
    assert!(rotated.len() == 2 && rotated[0].0["exp"].is_u64(), "one successor: {} keys", rotated.len());
    all_accept(&replicas, &tokens[0]).await;
    all_accept(&replicas, &rotated[1].token(&claims("admin"))).await;

    let counted = async |result: &str| {
        let series = format!("vestibule_key_rotations_total{{result=\"{result}\"}}");
        join_all(replicas.iter().map(Vestibule::metrics))
            .await
            .iter()
            .map(|metrics| metrics.value(&series))
            .sum::<f64>()
    };
    assert_eq!((counted("ok").await, counted("error").await), (1.0, 0.0));
    let Some(trail) = trail else { return };
    // The log is a moment behind.
    let patches = eventually("the patch in the audit log", async || {
        let patches: Vec<_> = trail.requests().into_iter().filter(|entry| entry.verb == "patch").collect();
        patches.iter().any(|entry| entry.status == 200).then_some(patches)
    })
    .await;
    let with = |status: u16| patches.iter().filter(|entry| entry.status == status).count();
    println!("{REPLICAS} replicas, a rotation: {} patches, {} lost; {} tokens", patches.len(), with(409), tokens.len());
    assert_eq!((with(200), with(200) + with(409)), (1, patches.len()), "{patches:?}");
}

async fn all_accept(replicas: &[Vestibule], token: &str) {
    for replica in replicas {
        let answer = replica.client().send(get("/").bearer(token)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
