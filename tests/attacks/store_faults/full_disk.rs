//! No room on the disk: what is there stays whole and in force, the error is told at a bounded rate, and writing goes
//! on when there is room again.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::mounts::Mount;
use crate::alone;
use crate::figures::{figure, long};
use crate::rotation::{command, run};
use crate::support::{App, Jwk, Ran, Setup, claims, default_users, eventually, eventually_after, get, now};

const ERRORS: &str = "vestibule_key_rotations_total{result=\"error\"}";

#[tokio::test]
async fn a_full_disk_leaves_what_is_there_and_is_tried_again() {
    let _alone = alone().await;
    let app = App::start().await;
    let disk = tempfile::tempdir().expect("a directory");
    let at = |name: &str| disk.path().join(name);
    let Some(mount) = Mount::memory(disk.path(), 64) else { return };
    for name in ["users", "keys", "none"] {
        fs::create_dir(at(name)).expect("a directory");
    }
    let due = Jwk::fresh("HS512", "due").with(&json!({"iat": now() - 7200, "nbf": now() - 7200}));
    fs::write(at("keys/keys.jwks"), Jwk::ring(&[due])).expect("room");
    fs::write(at("users/users.yaml"), default_users().to_string()).expect("room");
    let filler = mount.fill();
    let whole = || ["keys/keys.jwks", "users/users.yaml"].map(|name| fs::read(at(name)).expect("a file"));
    let before = whole();

    let policy = "keys: {rotateEvery: 1h, propagation: 2m}";
    let stores = |keys: &str| {
        let (users, keys) = (at("users"), at(keys));
        format!("store: {{directory: {{users: {}, keys: {}}}}}", users.display(), keys.display())
    };
    let rotating = Setup::new().upstream(&app).config(policy).config(&stores("keys")).start().await;
    let began = Instant::now();
    let empty = Setup::new().upstream(&app).config(policy).config(&stores("none")).without_readiness().start().await;

    let dir = disk.path().display().to_string();
    for ran in [
        run(&["keys", "rotate", "--dir", &dir]).await,
        run(&["keys", "revoke", "due", "--dir", &dir]).await,
        passwd(&["users", "add", "new", "--password-stdin", "--dir", &dir]),
        passwd(&["users", "passwd", "admin", "--password-stdin", "--dir", &dir]),
        run(&["users", "disable", "admin", "--dir", &dir]).await,
        run(&["users", "remove", "admin", "--dir", &dir]).await,
    ] {
        assert_eq!((ran.code, ran.err.lines().count(), ran.out.as_str()), (1, 1, ""), "{ran:?}");
        assert!(ran.err.contains("No space left on device"), "{ran:?}");
    }
    assert_eq!(whole(), before, "the old files stand whole");

    let (_, told) = empty.admin("/readyz").await;
    assert!(told.contains("can sign"), "{told}");
    // Clients with tokens of keys that are gone have the empty ring read again and again, which puts nothing off.
    let old = Jwk::fresh("HS512", "gone").token(&claims("admin"));
    let clients = tokio::spawn({
        let client = empty.client();
        async move {
            loop {
                assert_eq!(client.send(get("/").bearer(&old)).await.status, 401);
                sleep(Duration::from_millis(200)).await;
            }
        }
    });
    let errors = async || (rotating.metrics().await.value(ERRORS), empty.metrics().await.value(ERRORS));
    eventually("both have tried in vain", async || {
        let (rotating, empty) = errors().await;
        (rotating >= 1.0 && empty >= 1.0).then_some(())
    })
    .await;
    let seconds: u64 = if long() { 60 } else { 4 };
    sleep(Duration::from_secs(seconds)).await;
    // Pauses of 1 s, 2 s, 4 s and so on up to 10 s.
    let refusals = empty.events("refusal").len() + empty.events("access").len();
    let (lines, tried, spent) = (empty.lines().len() - refusals, errors().await.1, began.elapsed().as_secs());
    figure(&format!("attempts at a first key in {spent} s on a full disk"), tried);
    figure(&format!("lines in the log in {spent} s on a full disk"), lines);
    assert!((2.0..=f64::from(6 + spent as u32 / 10)).contains(&tried), "{:?}", empty.lines());
    assert!(lines <= tried as usize + 4, "{:?}", empty.lines());
    let told = rotating.event("rotation", |event| event["outcome"] == "error").await;
    assert_eq!(told["level"], "error", "{told}");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("No space left")), "{told}");
    let token = rotating.token("admin").await;
    assert_eq!(rotating.client().send(get("/").bearer(&token)).await.status, 200, "it goes on");
    assert_eq!(rotating.admin("/readyz").await.0, 200);
    assert_eq!(whole(), before, "the old files stand whole");
    for dir in ["keys", "users", "none"] {
        let left: Vec<_> =
            fs::read_dir(at(dir)).expect("a directory").map(|entry| entry.expect("one").path()).collect();
        assert!(!left.iter().any(|path| path.extension().is_some_and(|ending| ending == "tmp")), "{left:?}");
    }

    fs::remove_file(filler).expect("a file");
    let began = Instant::now();
    // Not longer than the pause.
    empty.ready().await;
    clients.abort();
    figure("from room on the disk until the first key", format!("{:.1} s", began.elapsed().as_secs_f64()));
    // The longest pause, and the time that replicas are apart.
    eventually_after(Duration::from_secs(40), "a rotation", async || {
        (Jwk::read_ring(&at("keys/keys.jwks")).len() == 2).then_some(())
    })
    .await;
    figure("from room on the disk until the rotation", format!("{:.1} s", began.elapsed().as_secs_f64()));
    let ran = passwd(&["users", "passwd", "admin", "--password-stdin", "--dir", &dir]);
    assert_eq!(ran.code, 0, "{ran:?}");
    drop((rotating, empty));
}

fn passwd(arguments: &[&str]) -> Ran {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().expect("the program starts");
    // It may end without having read.
    drop(child.stdin.take().expect("a pipe").write_all(b"another-password\n"));
    Ran::of(child.wait_with_output().expect("the program ends"))
}
