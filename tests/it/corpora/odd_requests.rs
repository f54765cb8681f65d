//! Thousands of requests that a fuzzer found odd, with a token in none: nothing of them reaches the application, every
//! connection ends, and the process serves on.

use std::process::Command;

use super::*;

#[tokio::test]
async fn odd_requests_reach_nobody_and_hurt_nobody() {
    let Some(archive) = corpus("http1/go-fuzz-httpreq.tar.gz") else { return };
    let unpacked = tempfile::tempdir().expect("a temporary directory");
    let tar = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(unpacked.path()).status();
    assert!(tar.expect("tar runs").success());
    let files = std::fs::read_dir(unpacked.path().join("httpreq/corpus")).expect("a folder of requests");
    let requests: Vec<_> =
        files.map(|file| std::fs::read(file.expect("an entry").path()).expect("a request")).collect();
    assert!(requests.len() >= 2000, "{} requests", requests.len());

    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config("log: {access: false}").start().await;
    let count = requests.len();
    let answers = drive_all(&vestibule, requests).await;
    assert_eq!(witness.requests().len(), 0, "without a token");
    let answered = answers.iter().filter(|count| **count > 0).count();
    eprintln!("{answered} of {count} odd requests were answered, none reached the application");
    assert!(answered > count / 2, "{answered} of {count}");

    let token = vestibule.token("admin").await;
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200);
    assert_eq!(vestibule.events("panic"), Vec::<Value>::new());
    eventually("every connection has ended", async || {
        (vestibule.metrics().await.value("vestibule_connections") == 0.0).then_some(())
    })
    .await;
}
