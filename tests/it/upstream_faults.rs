//! Applications that are down, slow, broken, or close their connections at the worst moment.

mod answers;
mod closing;
mod unreachable;

use crate::support::*;

/// The refusals of an application that failed, in our form.
fn assert_failed(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(answer.json()["status"], status, "{what}");
    assert!(answer.json()["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
}

/// Waits until this many failures of this reason are counted, and none of another.
async fn assert_counted(vestibule: &Vestibule, reason: &str, count: f64) {
    let expected = [(format!("{{reason=\"{reason}\"}}"), count)];
    let mut counted = Vec::new();
    for _ in 0..200 {
        counted = vestibule.metrics().await.counted("vestibule_upstream_errors_total");
        if counted == expected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("expected {expected:?}, counted {counted:?}");
}
