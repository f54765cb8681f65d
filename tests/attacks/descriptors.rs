//! Out of file descriptors: whoever has a connection keeps it, the accept loop waits, and goes on afterwards.

use std::time::Duration;

use tokio::time::sleep;

use super::alone;
use super::figures::{figure, long};
use crate::support::{App, Setup, get};

const TOO_MANY: usize = 50;

#[tokio::test]
async fn accepting_waits_where_descriptors_run_out_and_goes_on_afterwards() {
    let _alone = alone().await;
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let mut early = vestibule.client().connect().await;
    assert_eq!(early.send(get("/").bearer(&token)).await.status, 200);

    vestibule.limit_open_files(vestibule.open_files().await + 4);
    let mut others = Vec::new();
    for _ in 0..TOO_MANY {
        others.push(vestibule.client().tcp_stream().await.expect("the backlog has room"));
    }
    vestibule.event("accept_failed", |_| true).await;

    let (cpu, errors) = (vestibule.cpu(), vestibule.events("accept_failed").len());
    let seconds: u32 = if long() { 10 } else { 1 };
    sleep(seconds * Duration::from_secs(1)).await;
    let (cpu, errors) = (vestibule.cpu() - cpu, vestibule.events("accept_failed").len() - errors);
    figure("processor time for each second without file descriptors", format!("{} ms", (cpu / seconds).as_millis()));
    figure("lines in the log for each second without file descriptors", errors / seconds as usize);
    assert!(cpu / seconds < Duration::from_millis(300), "it spins: {cpu:?}");
    // One breath is 100 ms, on each of the workers and on the admin listener.
    assert!(errors / seconds as usize <= 60, "{errors} lines");
    for _ in 0..10 {
        assert_eq!(early.send(get("/").bearer(&token)).await.status, 200, "a connection that was there before");
    }

    drop(others);
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200, "a new connection");
    assert_eq!(vestibule.admin("/livez").await.0, 200);
}
