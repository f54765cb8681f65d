//! New versions of users, keys, certificates and configuration: good ones count at once, bad ones change nothing.

mod certificate;
mod config;
mod keys;
mod start;
mod users;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

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

/// Publishes files as kubelet does: a new directory, and a link that is renamed over the old one.
fn publish(volume: &Path, version: &str, files: &[(&str, &str)]) {
    fs::create_dir_all(volume).expect("a directory");
    let data = volume.join(format!("..{version}"));
    fs::create_dir(&data).expect("a directory");
    for (name, content) in files {
        fs::write(data.join(name), content).expect("a file");
        let link = volume.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).expect("a link");
        }
    }
    let old = fs::read_link(volume.join("..data")).ok();
    symlink(format!("..{version}"), volume.join("..data_tmp")).expect("a link");
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("a rename");
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).expect("a directory to remove");
    }
}

async fn login_status(vestibule: &Vestibule, user: &str) -> u16 {
    vestibule.client().login(user, &password_of(user)).await.status
}
