//! New versions of users, keys, certificates and configuration: good ones count at once, bad ones change nothing.

mod certificate;
mod config;
mod keys;
mod start;
mod upstream_ca;
mod users;

use std::fs;

use crate::support::*;

async fn count(vestibule: &Vestibule, what: &str, result: &str) -> f64 {
    let series = format!("vestibule_reloads_total{{what=\"{what}\",result=\"{result}\"}}");
    vestibule.metrics().await.find(&series).unwrap_or_default()
}

/// Does something and waits until a reload with this result is counted.
async fn reloaded(vestibule: &Vestibule, what: &str, result: &str, change: impl FnOnce()) {
    let before = count(vestibule, what, result).await;
    change();
    eventually(&format!("a reload of {what}: {result}"), async || {
        (count(vestibule, what, result).await > before).then_some(())
    })
    .await;
}

async fn login_status(vestibule: &Vestibule, user: &str) -> u16 {
    vestibule.client().login(user, &password_of(user)).await.status
}
