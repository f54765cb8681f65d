//! Many who would rotate one ring at the same moment: commands, and processes that serve.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::shared::{dir_of, run, with_keys};
use crate::alone;
use crate::figures::{figure, long};
use crate::support::{App, Jwk, Ran, Setup, eventually, now, rotations_of, time};

const COMMANDS: usize = 6;

#[tokio::test]
async fn of_many_rotators_one_publishes_the_successor() {
    let _alone = alone().await;
    let rounds = if long() { 50 } else { 8 };
    let app = App::start().await;
    let due = || Jwk::fresh("HS512", "due").with(&json!({"iat": now() - 7200, "nbf": now() - 7200}));
    let policy = "keys: {rotateEvery: 1h, propagation: 2m}";
    let first = Setup::new().upstream(&app).keys(&[due()]).config(policy).start().await;
    let second = with_keys(Setup::new().upstream(&app), &first.path("keys")).config(policy).start().await;
    let (dir, served) = (dir_of(&first), [first, second]);
    let file = served[0].path("keys/keys.jwks");

    let (mut by_commands, mut idle) = (0, 0);
    for round in 0..rounds {
        served[0].keys(&[due().with(&json!({"round": round}))]).await;
        // The processes wait up to 10 s before they rotate: in some rounds they are part of it.
        sleep(Duration::from_millis(if round % 4 == 0 { 700 } else { 0 })).await;
        let arguments = ["keys", "rotate", "--dir", dir.as_str()];
        let ran = futures_util::future::join_all((0..COMMANDS).map(|_| run(&arguments))).await;
        let published: Vec<&Ran> = ran.iter().filter(|ran| !ran.out.is_empty()).collect();
        for ran in &ran {
            assert_eq!((ran.code, ran.err.lines().count()), (0, 1), "{ran:?}");
            let nothing = ran.err.contains("nothing to do: a successor is published already");
            assert!(nothing == ran.out.is_empty(), "{ran:?}");
            idle += usize::from(nothing);
        }
        by_commands += published.len();
        let ring = Jwk::read_ring(&file);
        let [old, new] = &ring[..] else { panic!("round {round}: not one successor: {:?}", kids(&ring)) };
        assert_eq!((old.kid(), time(new, "exp")), ("due", None));
        assert!(time(new, "nbf") > Some(now()) && time(old, "exp") > time(new, "nbf"));
        match published[..] {
            [] => {}
            [ran] => assert_eq!(ran.out.trim(), new.kid()),
            _ => panic!("round {round}: {} have published", published.len()),
        }
    }
    let by_servers = rotations_of(&served, "ok").await;
    figure("rounds of six `keys rotate` and two servers at once", rounds);
    figure("successors by commands", by_commands);
    figure("successors by servers", by_servers);
    figure("commands that found nothing to do", idle);
    assert_eq!(by_commands + by_servers as usize, rounds, "one each round");
    assert_eq!(rotations_of(&served, "error").await, 0.0);
}

/// A rotation that is due when processes start is planned at jittered times, as any other one.
#[tokio::test]
async fn processes_that_start_together_rotate_once() {
    let _alone = alone().await;
    let due = Jwk::fresh("HS512", "due").with(&json!({"iat": now() - 7200, "nbf": now() - 7200}));
    let policy = "keys: {rotateEvery: 1h, propagation: 2m}";
    let first = Setup::new().keys(&[due]).config(policy).start().await;
    let mut served = vec![first];
    for _ in 0..2 {
        served.push(with_keys(Setup::new(), &served[0].path("keys")).config(policy).start().await);
    }
    let began = std::time::Instant::now();
    eventually("a rotation", async || (served[0].ring().len() > 1).then_some(())).await;
    figure(
        "from the start of three until the rotation that was due",
        format!("{:.1} s", began.elapsed().as_secs_f64()),
    );
    // By then the others have had their turns.
    sleep(Duration::from_secs(if long() { 11 } else { 1 })).await;
    assert_eq!(served[0].ring().len(), 2);
    assert_eq!(rotations_of(&served, "ok").await, 1.0);
}

fn kids(ring: &[Jwk]) -> Vec<&str> {
    ring.iter().map(Jwk::kid).collect()
}
