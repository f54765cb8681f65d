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

/// Waits until the metrics say so of the newest version.
async fn failing(vestibule: &Vestibule, what: &str, expected: bool) {
    let series = format!("vestibule_reload_failing{{what=\"{what}\"}}");
    eventually(&format!("{series} {expected}"), async || {
        (vestibule.metrics().await.value(&series) == f64::from(u8::from(expected))).then_some(())
    })
    .await;
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

/// Whatever kind it is of, and also where the old version comes back, which is no reload of a file.
#[tokio::test]
async fn a_bad_version_shows_until_a_good_one_is_there() {
    let vestibule = Setup::new().start().await;
    for (what, file) in [
        ("users", "users/users.yaml"),
        ("keys", "keys/keys.jwks"),
        ("certificate", "tls.crt"),
        ("config", "vestibule.yaml"),
    ] {
        failing(&vestibule, what, false).await;
        let good = fs::read_to_string(vestibule.path(file)).expect("a file");
        for bad in ["garbage: [", "other garbage: ["] {
            reloaded(&vestibule, what, "error", || vestibule.replace(file, bad)).await;
            failing(&vestibule, what, true).await;
        }
        vestibule.replace(file, &good);
        failing(&vestibule, what, false).await;
    }
}

async fn login_status(vestibule: &Vestibule, user: &str) -> u16 {
    vestibule.client().login(user, &password_of(user)).await.status
}
