//! Processes that do not agree: about the policy, as in the middle of a rollout, or about the time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::shared::{Versions, with_keys};
use crate::alone;
use crate::figures::{figure, long};
use crate::support::{
    App, Fast, Jwk, NEEDS_FAKETIME, Setup, decode, eventually, faketime, get, now, rotations_of, skipped, time,
};

/// Two policies in the middle of a rollout; only the second says that it is time.
#[tokio::test]
async fn two_policies_do_not_rotate_against_each_other() {
    let _alone = alone().await;
    let app = App::start().await;
    let aged = |kid: &str| Jwk::fresh("HS512", kid).with(&json!({"iat": now() - 2700, "nbf": now() - 2700}));
    let old = "{keys: {rotateEvery: 1h, propagation: 1s}, tokens: {algorithm: HS512}}";
    let new = "{keys: {rotateEvery: 30m, propagation: 1s}, tokens: {algorithm: ES256}}";
    let first = Setup::new().upstream(&app).keys(&[aged("aged")]).config(old).start().await;
    let second = with_keys(Setup::new().upstream(&app), &first.path("keys")).config(new).start().await;
    let served = [first, second];
    let rounds = if long() { 5 } else { 1 };
    for round in 0..rounds {
        if round > 0 {
            served[0].keys(&[aged(&round.to_string())]).await;
        }
        let versions = Versions::follow(served[0].path("keys/keys.jwks"));
        eventually("the rotation that is due by one policy", async || (served[0].ring().len() == 2).then_some(()))
            .await;
        // The new key signs, and both look at the ring again and again.
        let until = Instant::now() + Duration::from_secs(if long() { 12 } else { 3 });
        while Instant::now() < until {
            fs::write(served[0].path("keys/touched"), format!("{:?}", Instant::now())).expect("a file");
            sleep(Duration::from_millis(100)).await;
        }
        let versions = versions.end();
        assert_eq!(versions.len(), 2, "one write: {versions:?}");
        for vestibule in &served {
            let (header, _) = decode(&vestibule.token("admin").await);
            assert_eq!(header["alg"], "ES256", "the ring says what is signed with");
        }
    }
    let each = [rotations_of(&served[..1], "ok").await, rotations_of(&served[1..], "ok").await];
    figure(
        "rotations by the policy under which none was due, and by the other",
        format!("{} and {}", each[0], each[1]),
    );
    assert_eq!(each, [0.0, rounds as f64]);
}

/// One of three has a clock that is 10 minutes off. With tokens as long as can be had, none that the others gave out
/// is refused by the others before its end.
#[tokio::test]
async fn one_wrong_clock_of_three_ends_no_token_early() {
    let _alone = alone().await;
    let Some(library) = faketime() else { return skipped(NEEDS_FAKETIME) };
    tokio::join!(wrong_by(600.0, &library), wrong_by(-600.0, &library));
}

async fn wrong_by(off: f64, library: &Path) {
    let app = App::start().await;
    let policy = "{keys: {rotateEvery: 1h, propagation: 2m}, tokens: {ttl: 5m, maxTtl: 5m}}";
    let began = now() - 3590;
    let signer = Jwk::fresh("HS512", "signer").with(&json!({"iat": began, "nbf": began}));
    let right = Setup::new().upstream(&app).keys(&[signer]).config(policy).start().await;
    let other = with_keys(Setup::new().upstream(&app), &right.path("keys")).config(policy).start().await;
    let wrong = with_keys(Setup::new().upstream(&app), &right.path("keys")).config(policy);
    let wrong = Fast::new(1.0).of(wrong, library, off).start().await;
    let token = right.token("admin").await;
    // For the right clocks the rotation is due in seconds.
    let deadline = Instant::now() + Duration::from_secs(40);
    while right.ring().len() < 2 {
        fs::write(right.path("keys/touched"), format!("{:?}", Instant::now())).expect("a file");
        sleep(Duration::from_millis(100)).await;
        assert!(Instant::now() < deadline, "no rotation");
    }
    let ring = right.ring();
    let old = ring.iter().find(|key| key.kid() == "signer").expect("the predecessor stays");
    let exp = decode(&token).1["exp"].as_u64().expect("a time");
    let by_wrong = rotations_of(std::slice::from_ref(&wrong), "ok").await;
    figure(&format!("clock off by {off} s: rotations by it, of 1"), by_wrong);
    let longer = time(old, "exp").expect("it retires") - exp;
    figure(&format!("clock off by {off} s: the old key outlives the last token by"), format!("{longer} s at least"));
    assert!(longer >= 240, "{old:?}");
    assert_eq!(by_wrong, if off > 0.0 { 1.0 } else { 0.0 }, "the first whose clock says so");
    for vestibule in [&right, &other] {
        assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200);
        let new = vestibule.token("admin").await;
        assert_eq!(right.client().send(get("/").bearer(&new)).await.status, 200);
    }
    let both = [right, other];
    assert_eq!(rotations_of(&both, "ok").await + by_wrong, 1.0);
}
