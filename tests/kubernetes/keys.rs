//! The key ring in a Secret: made and rotated by one patch, whoever many replicas there are.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::{Front, KEYS, Reply, USERS, named, namespace};
use crate::sidecar::{Running, ring, secrets, sidecar, token_ahead};
use crate::support::figures::figure;
use crate::support::{App, Jwk, claims, decode, eventually, eventually_after, get, now, rotations_of};

/// Replicas that begin together.
const REPLICAS: usize = 8;

#[tokio::test]
async fn replicas_that_begin_together_agree_on_one_key_and_rotate_it_once() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    let trail = account.trail(&ns);
    let kubeconfig = account.kubeconfig().await;
    let app = App::start().await;
    let setup = || sidecar(&kubeconfig).upstream(&app.url).config("keys: {rotateEvery: 8s, propagation: 3s}");
    let replicas = join_all((0..REPLICAS).map(|_| setup().start())).await;
    let first = ring(&ns).await;
    assert_eq!(first.len(), 1, "one key for all");
    let lost_for_first = rotations_of(&replicas, "conflict").await;
    let token = replicas[0].token("admin").await;
    let accepted = async |token: &str| {
        for replica in &replicas {
            let answer = replica.client().send(get("/").bearer(token)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    accepted(&token).await;
    let reads =
        || trail.as_ref().map_or(0, |trail| trail.requests().iter().filter(|entry| entry.verb == "get").count());
    let reads_for_first = reads();

    // No token of any replica is refused by any other, before, while and after the successor comes.
    let rotated = eventually_after(Duration::from_secs(20), "a rotation", async || {
        for replica in &replicas {
            accepted(&replica.token("admin").await).await;
        }
        let now = ring(&ns).await;
        (now.len() > 1).then_some(now)
    })
    .await;
    assert_eq!(rotated.len(), 2, "one successor");
    assert_eq!(rotated[0].kid(), first[0].kid());
    assert!(rotated[0].0["exp"].is_u64());
    let signs = async |kid: &str| {
        let token = replicas[0].token("admin").await;
        (decode(&token).0["kid"] == kid).then_some(token)
    };
    let token = eventually("a token of the successor", async || signs(rotated[1].kid()).await).await;
    accepted(&token).await;
    // They hear of the first one's rotation meanwhile: few read before they write.
    let lost = rotations_of(&replicas, "conflict").await - lost_for_first;
    assert!(lost <= 2.0, "{lost} patches of a rotation in vain");
    let reads = reads() - reads_for_first;
    assert!(reads <= REPLICAS / 2, "{reads} reads for a rotation");

    if let Some(trail) = trail {
        let patches: Vec<_> = trail.requests().into_iter().filter(|entry| entry.verb == "patch").collect();
        let with = |status: u16| patches.iter().filter(|entry| entry.status == status).count();
        figure(
            &format!("{REPLICAS} replicas, a first key and a rotation"),
            format!("{} patches, {} of them lost races", patches.len(), with(409)),
        );
        // Another rotation may have come due meanwhile.
        assert_eq!(with(200), ring(&ns).await.len(), "{patches:?}");
        assert_eq!(with(200) + with(409), patches.len(), "{patches:?}");
        assert!(patches.iter().all(|entry| entry.name == KEYS));
    }
}

/// All hear at the same moment that a rotation is due: one reads and patches, the others wait their time and hear of it.
#[tokio::test]
async fn a_rotation_that_is_due_for_all_at_once_is_made_by_one() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let aged = |seconds: u64| json!({"iat": now() - seconds, "nbf": now() - seconds});
    let old = Jwk::fresh("HS512", "old").with(&aged(600));
    ns.set(KEYS, &[("keys.jwks", Jwk::ring(std::slice::from_ref(&old)))]).await;
    let account = ns.account().await;
    let kubeconfig = account.kubeconfig().await;
    let setup = || sidecar(&kubeconfig).config("keys: {rotateEvery: 1h, propagation: 1m}");
    let replicas = join_all((0..REPLICAS).map(|_| setup().start())).await;
    let trail = account.trail(&ns);
    ns.set(KEYS, &[("keys.jwks", Jwk::ring(&[old.with(&aged(7200))]))]).await;
    eventually_after(Duration::from_secs(10), "a rotation", async || (ring(&ns).await.len() == 2).then_some(())).await;
    let lost = rotations_of(&replicas, "conflict").await;
    assert!(lost <= 2.0, "{lost} patches in vain");
    if let Some(trail) = trail {
        let requests = eventually("the patch in the audit log", async || {
            Some(trail.requests()).filter(|requests| requests.iter().any(|entry| entry.verb == "patch"))
        })
        .await;
        let reads = requests.iter().filter(|entry| entry.verb == "get").count();
        assert!(reads <= REPLICAS / 2, "{reads} reads for a rotation");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_plans_nothing() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let front = Front::start(&kubeconfig).await;
    front.set_clock(-45);
    let setup = sidecar(&front.kubeconfig(&kubeconfig)).without_readiness();
    let running = Running::start(setup).await;
    let (status, text) = running.vestibule.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains(" s ahead of the API server's") && text.contains("no key in Secret"), "{text}");
    let failed = running.vestibule.event("rotation", |line| line["outcome"] == "error").await;
    assert!(failed["error"].to_string().contains("ahead of"), "{failed}");
    assert!(front.asked().iter().all(|asked| asked.method == "GET"));

    front.set_clock(10);
    running.vestibule.ready().await;
    running.vestibule.token("admin").await;
    assert_eq!(ring(&ns).await.len(), 1);
}

/// What somebody else has made meanwhile is found by reading again; the plan that lost is not sent a second time.
#[tokio::test]
async fn a_lost_race_is_planned_anew() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let front = Front::start(&kubeconfig).await;
    front.answer(usize::MAX, Reply::status(409), |asked| asked.method == "PATCH");
    let running = Running::start(sidecar(&front.kubeconfig(&kubeconfig)).without_readiness()).await;
    let patches = || front.asked().iter().filter(|asked| asked.method == "PATCH").count();
    // It has read and planned again, and lost again.
    eventually("a second try", async || (patches() >= 2).then_some(())).await;
    let tries = front.asked();
    let reads = tries.iter().filter(|asked| asked.method == "GET" && asked.path == named(&ns.name, KEYS)).count();
    assert!(reads + 1 >= tries.iter().filter(|asked| asked.method == "PATCH").count(), "{tries:?}");
    assert_eq!(running.vestibule.admin("/readyz").await.0, 503);

    front.drop_events(true);
    let faster = Jwk::fresh("HS512", "faster");
    ns.set(KEYS, &[("keys.jwks", Jwk::ring(std::slice::from_ref(&faster)))]).await;
    running.vestibule.ready().await;
    front.pass();
    let (header, _) = decode(&running.vestibule.token("admin").await);
    assert_eq!(header["kid"], "faster");
    assert_eq!(ring(&ns).await, [faster]);
    assert!(running.vestibule.metrics().await.value("vestibule_key_rotations_total{result=\"conflict\"}") >= 2.0);
}

#[tokio::test]
async fn a_kid_that_is_not_known_yet_makes_one_read_for_all() {
    let Some(ns) = namespace().await else { return };
    let (running, front) = Running::behind_front(&ns).await;
    let token = token_ahead(&ns, &front).await;
    let before = front.asked().len();
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let (client, call) = (running.vestibule.client(), get("/").bearer(&token));
        asking.spawn(async move { client.send(call).await.status });
    }
    let answers = asking.join_all().await;
    let asked = front.asked()[before..].to_vec();
    let reads = asked.iter().filter(|asked| asked.method == "GET" && asked.path == named(&ns.name, KEYS)).count();
    assert_eq!((reads, asked.len()), (1, 1), "{asked:?}");
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(running.status(&token).await, 200);

    // A key that nobody has is looked for no more often.
    let nobodys = Jwk::fresh("HS512", "nobodys").token(&claims("admin"));
    let (before, began) = (front.asked().len(), Instant::now());
    for _ in 0..30 {
        assert_eq!(running.status(&nobodys).await, 401);
    }
    let reads = front.asked().len() - before;
    let most = 1 + began.elapsed().as_secs() / 2;
    assert!(reads as u64 <= most, "{reads} reads in {:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_no_ring_leaves_the_last_one_in_force() {
    let Some(ns) = namespace().await else { return };
    let running = Running::in_namespace(&ns).await;
    let token = running.vestibule.token("admin").await;
    let keys = ring(&ns).await;
    let twice = Jwk::ring(&[keys[0].clone(), keys[0].clone()]);
    ns.set(KEYS, &[("keys.jwks", &twice)]).await;
    let failed = running.vestibule.event("store_failed", |line| line["store"] == "keys").await;
    assert_eq!(failed["reason"], "invalid", "{failed}");
    let secret = keys[0].0["k"].as_str().expect("a secret");
    assert!(!running.vestibule.lines().iter().any(|line| line.contains(secret)));
    assert_eq!(running.status(&token).await, 200);
    running.vestibule.token("admin").await;

    // Emptied by hand: the tokens are over, and there is a new key.
    ns.unset(KEYS, "keys.jwks").await;
    running.comes_to(&token, 401).await;
    running.vestibule.ready().await;
    let token = running.vestibule.token("admin").await;
    assert_eq!(running.status(&token).await, 200);
    let anew = ring(&ns).await;
    assert!(anew.len() == 1 && anew[0].kid() != keys[0].kid());
}

#[tokio::test]
async fn a_ring_that_cannot_be_written_says_why() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    ns.patch_secret(KEYS, &json!({"immutable": true})).await;
    let running = Running::start(sidecar(&ns.account().await.kubeconfig().await).without_readiness()).await;
    let failed = running.vestibule.event("rotation", |line| line["outcome"] == "error").await;
    assert!(failed["error"].to_string().contains("is immutable"), "{failed}");
    assert_eq!(running.vestibule.admin("/readyz").await.0, 503);
    ns.delete_secret(KEYS).await;
    ns.create_secret(KEYS, &[] as &[(&str, &str)]).await;
    running.vestibule.ready().await;
    running.vestibule.token("admin").await;
    assert_eq!(ns.secret(USERS).await["metadata"]["name"], USERS);
}
