//! A directory that cannot be written, as a mounted Secret: served from and never written, without a word of it.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::mounts::Mount;
use crate::alone;
use crate::figures::{figure, long};
use crate::rotation::run;
use crate::support::{App, Jwk, Setup, decode, eventually, get, now};

#[tokio::test]
async fn a_read_only_directory_is_served_from_and_never_written() {
    let _alone = alone().await;
    let app = App::start().await;
    let due = Jwk::fresh("HS512", "due").with(&json!({"iat": now() - 7200, "nbf": now() - 7200}));
    let policy = "keys: {rotateEvery: 1h, propagation: 1s}";
    let setup = Setup::new().upstream(&app).keys(&[due]).config(policy);
    let (keys, mounted) = (setup.path("keys"), setup.path("mounted"));
    let Some(_mount) = Mount::read_only(&keys, &mounted) else { return };
    let (none, nothing) = (setup.path("none"), setup.path("nothing"));
    fs::create_dir(&none).expect("a directory");
    let Some(_nothing) = Mount::read_only(&none, &nothing) else { return };
    let store = |keys: &std::path::Path| format!("store: {{directory: {{keys: {}}}}}", keys.display());
    let served = setup.config(&store(&mounted)).start().await;
    let empty = Setup::new().upstream(&app).config(&store(&nothing)).without_readiness().start().await;

    let before = fs::read(keys.join("keys.jwks")).expect("a file");
    let lines = [served.lines().len(), empty.lines().len()];
    // A rotation that is due, and a first key, are looked at each time that something changes.
    let seconds = if long() { 45 } else { 4 };
    for touched in 0..seconds * 2 {
        fs::write(keys.join("touched"), touched.to_string()).expect("a file");
        sleep(Duration::from_millis(500)).await;
    }
    assert!(fs::read(keys.join("keys.jwks")).expect("a file") == before, "it is never written");
    let names: Vec<_> =
        fs::read_dir(&keys).expect("a directory").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(fs::read_dir(&none).expect("a directory").count(), 0);
    let lines = [served.lines().len() - lines[0], empty.lines().len() - lines[1]];
    figure(&format!("lines in the log in {seconds} s, with a rotation due and without a key"), format!("{lines:?}"));
    assert_eq!(lines, [0, 0]);
    for vestibule in [&served, &empty] {
        let metrics = vestibule.metrics().await;
        assert_eq!(metrics.sum("vestibule_key_rotations_total"), 0.0);
        assert_eq!(metrics.sum("vestibule_store_errors_total"), 0.0);
    }
    assert_eq!(served.metrics().await.value("vestibule_signing_keys{state=\"active\"}"), 1.0);
    assert_eq!(served.admin("/readyz").await.0, 200);
    let (status, told) = empty.admin("/readyz").await;
    assert!(status == 503 && told.contains("signer: no key in"), "{told}");
    assert_eq!(empty.client().login("admin", "admin-password").await.status, 503);

    let token = served.token("admin").await;
    for arguments in [&["keys", "rotate"][..], &["keys", "rotate", "--if-due"], &["keys", "revoke", "due"]] {
        let config = served.path("vestibule.yaml").display().to_string();
        let ran = run(&[arguments, &["--config", &config]].concat()).await;
        assert_eq!((ran.code, ran.err.lines().count(), ran.out.as_str()), (1, 1, ""), "{ran:?}");
        assert!(ran.err.contains("cannot be written"), "{ran:?}");
    }
    // Where it comes from it is rotated as ever, and both keys count here.
    let dir = served.path("").display().to_string();
    let ran = run(&["keys", "rotate", "--if-due", "--rotate-every", "1h", "--propagation", "1s", "--dir", &dir]).await;
    assert_eq!((ran.code, ran.out.is_empty()), (0, false), "{ran:?}");
    eventually("the new key signs", async || {
        (decode(&served.token("admin").await).0["kid"] == ran.out.trim()).then_some(())
    })
    .await;
    assert_eq!(served.client().send(get("/").bearer(&token)).await.status, 200);
    drop((served, empty));
}
