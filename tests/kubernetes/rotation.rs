//! Rotation in a Secret under traffic: several sidecars whose clocks or settings differ.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::cluster::{KEYS, USERS, namespace};
use crate::sidecar::{ring, sidecar};
use crate::support::figures::{figure, long};
use crate::support::{
    App, Called, Fast, Jwk, NEEDS_FAKETIME, Spans, Vestibule, decode, default_users, eventually, faketime, get,
    log_in_and_call, now, rotations_of, skipped, time,
};

const CLIENTS: usize = 3;

#[tokio::test]
async fn no_valid_token_is_ever_refused() {
    // A new key is used by the fastest clock `propagation` after the slowest published it, less what these differ by.
    if long() {
        traffic([0.0, 28.0, -28.0], Spans::of(65), 3).await;
    } else {
        traffic([0.0, 3.0, -3.0], Spans::of(8), 2).await;
    }
}

async fn traffic(errors: [f64; 3], spans: Spans, rotations: usize) {
    let Some(ns) = namespace().await else { return };
    let Some(library) = faketime() else { return skipped(NEEDS_FAKETIME) };
    ns.create_secret(USERS, &[("users.yaml", default_users().to_string())]).await;
    ns.create_secret(KEYS, &[("keys.jwks", Jwk::ring(&spans.due(now())))]).await;
    let account = ns.account().await;
    let trail = account.trail(&ns);
    let kubeconfig = account.kubeconfig().await;
    let (app, clock) = (App::start().await, Fast::new(1.0));
    let mut versions = vec![ring(&ns).await];
    let mut all = Vec::new();
    for error in errors {
        let setup = sidecar(&kubeconfig).upstream(&app).config(&spans.config());
        all.push(clock.of(setup, &library, error).start().await);
    }

    let seen = Rc::new(RefCell::new(Called::default()));
    let local = LocalSet::new();
    for number in 0..CLIENTS {
        let clients: Vec<_> = all.iter().map(Vestibule::client).collect();
        local.spawn_local(log_in_and_call(number, clients, move || clock.now(), || true, Rc::clone(&seen)));
    }
    let slowest = errors.into_iter().fold(0.0, f64::max);
    let patience = Duration::from_secs((spans.rotate_every + spans.propagation + 60) * rotations as u64);
    let deadline = Instant::now() + patience;
    local
        .run_until(async {
            loop {
                sleep(Duration::from_millis(50)).await;
                let last = ring(&ns).await;
                let newest = last.iter().filter_map(|key| time(key, "nbf")).max().expect("a key");
                if versions.last() != Some(&last) {
                    versions.push(last);
                }
                let made = versions.len() - 1;
                // The slowest signs with it as well.
                if made >= rotations && (newest as f64) + slowest + 1.0 < clock.now() {
                    break;
                }
                assert!(Instant::now() < deadline, "{made} rotations: {:?}", seen.borrow().refused);
            }
        })
        .await;
    drop(local);
    let made = versions.len() - 1;
    let name = format!("in a Secret, clocks {} s", errors.map(|error| format!("{error:+}")).join("/"));
    figure(&format!("{name}: rotations"), made);
    seen.take().judge(&name, &versions, spans);
    assert_eq!(rotations_of(&all, "ok").await, made as f64, "every write is one rotation");
    assert_eq!(rotations_of(&all, "error").await, 0.0);
    if let Some(trail) = trail {
        let patches: Vec<_> = trail.requests().into_iter().filter(|entry| entry.verb == "patch").collect();
        let with = |status: u16| patches.iter().filter(|entry| entry.status == status).count();
        figure(&format!("{name}: patches, and of these lost races"), format!("{}, {}", patches.len(), with(409)));
        assert_eq!((with(200), with(200) + with(409)), (made, patches.len()), "{patches:?}");
    }
}

/// Three settings in the middle of a rollout, by one of which a rotation is due: the ring is the truth for all.
#[tokio::test]
async fn settings_that_differ_do_not_rotate_against_each_other() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(USERS, &[("users.yaml", default_users().to_string())]).await;
    let aged = json!({"iat": now() - 2700, "nbf": now() - 2700});
    ns.create_secret(KEYS, &[("keys.jwks", Jwk::ring(&[Jwk::fresh("HS512", "aged").with(&aged)]))]).await;
    let account = ns.account().await;
    let trail = account.trail(&ns);
    let kubeconfig = account.kubeconfig().await;
    let app = App::start().await;
    let mut all = Vec::new();
    for config in [
        "{keys: {rotateEvery: 1h, propagation: 1s}, tokens: {algorithm: HS512}}",
        "{keys: {rotateEvery: 2h, propagation: 1m}, tokens: {algorithm: EdDSA, ttl: 1m, maxTtl: 10m}}",
        "{keys: {rotateEvery: 30m, propagation: 1s}, tokens: {algorithm: ES256}}",
    ] {
        all.push(sidecar(&kubeconfig).upstream(&app).config(config).start().await);
    }
    eventually("the rotation that is due by one setting", async || (ring(&ns).await.len() == 2).then_some(())).await;
    // The new key signs, and all look at the ring again: something else in the Secret changes.
    for number in 0..30 {
        ns.patch_secret(KEYS, &json!({"metadata": {"annotations": {"touched": number.to_string()}}})).await;
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ring(&ns).await.len(), 2);
    let mut each = Vec::new();
    for vestibule in &all {
        each.push(rotations_of(std::slice::from_ref(vestibule), "ok").await);
        let token = vestibule.token("admin").await;
        assert_eq!(decode(&token).0["alg"], "ES256", "the ring says what is signed with");
        for other in &all {
            assert_eq!(other.client().send(get("/").bearer(&token)).await.status, 200);
        }
    }
    assert_eq!(each, [0.0, 0.0, 1.0]);
    if let Some(trail) = trail {
        let patches = trail.requests().into_iter().filter(|entry| entry.verb == "patch").count();
        assert_eq!(patches, 1, "{:?}", trail.requests());
    }
}
