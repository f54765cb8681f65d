//! Changes to real files, as editors, rotations and kubelet make them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::*;

/// Well below `POLL`: what wakes in this time was told by inotify.
const SOON: Duration = Duration::from_millis(1_000);

async fn wakes(watch: &mut FileWatch, within: Duration) -> bool {
    timeout(within, watch.changed()).await.is_ok()
}

/// A directory made by kubelet's atomic writer holding one version.
fn mounted(content: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("..first")).unwrap();
    fs::write(dir.path().join("..first/users.yaml"), content).unwrap();
    symlink("..first", dir.path().join("..data")).unwrap();
    symlink("..data/users.yaml", dir.path().join("users.yaml")).unwrap();
    dir
}

fn swap(dir: &Path, from: &str, to: &str, content: &str) {
    fs::create_dir(dir.join(to)).unwrap();
    fs::write(dir.join(to).join("users.yaml"), content).unwrap();
    symlink(to, dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    fs::remove_dir_all(dir.join(from)).unwrap();
}

#[tokio::test]
async fn each_kind_of_change_wakes_at_once() {
    type Change = fn(&Path);
    let changes: &[(&str, Change)] = &[
        ("written in place", |dir| {
            fs::write(dir.join("users/a.yaml"), "new").unwrap();
        }),
        ("replaced by a rename", |dir| {
            fs::write(dir.join("users/.a.tmp"), "new").unwrap();
            fs::rename(dir.join("users/.a.tmp"), dir.join("users/a.yaml")).unwrap();
        }),
        ("removed", |dir| {
            fs::remove_file(dir.join("users/a.yaml")).unwrap();
        }),
        ("added", |dir| {
            fs::write(dir.join("users/b.yaml"), "new").unwrap();
        }),
        ("directory removed", |dir| {
            fs::remove_dir_all(dir.join("users")).unwrap();
        }),
        ("directory moved away", |dir| {
            fs::rename(dir.join("users"), dir.join("old")).unwrap();
        }),
        ("directory replaced", |dir| {
            fs::create_dir(dir.join("new")).unwrap();
            fs::rename(dir.join("users"), dir.join("old")).unwrap();
            fs::rename(dir.join("new"), dir.join("users")).unwrap();
        }),
    ];
    for (name, change) in changes {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("users")).unwrap();
        fs::write(dir.path().join("users/a.yaml"), "old").unwrap();
        let mut watch = FileWatch::new([dir.path().join("users")]);
        assert_eq!(watch.warning(), None);
        change(dir.path());
        assert!(wakes(&mut watch, SOON).await, "{name}");
        assert!(!wakes(&mut watch, QUIET * 4).await, "{name} woke twice");
    }
}

#[tokio::test]
async fn reading_and_hidden_files_and_strangers_do_not_wake() {
    let dir = mounted("users");
    let mut watch = FileWatch::new([dir.path().to_owned()]);
    fs::read(dir.path().join("users.yaml")).unwrap();
    fs::read_dir(dir.path()).unwrap().count();
    fs::write(dir.path().join(".users.yaml.lock"), "").unwrap();
    fs::write(dir.path().with_extension("stranger"), "").unwrap();
    assert!(!wakes(&mut watch, POLL + SOON).await);
    fs::remove_file(dir.path().with_extension("stranger")).unwrap();
}

#[tokio::test]
async fn every_swap_of_a_mounted_volume_wakes_for_directory_and_file() {
    for target in ["", "users.yaml"] {
        let dir = mounted("one");
        let mut watch = FileWatch::new([dir.path().join(target)]);
        for (from, to) in [("..first", "..second"), ("..second", "..third")] {
            swap(dir.path(), from, to, to);
            assert!(wakes(&mut watch, SOON).await, "{target:?} {to}");
            assert_eq!(fs::read_to_string(dir.path().join("users.yaml")).unwrap(), to);
        }
    }
}

#[tokio::test]
async fn what_is_not_there_yet_and_what_comes_back_is_followed() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("vestibule/tls/tls.crt");
    let mut watch = FileWatch::new([deep.clone()]);
    for _ in 0..2 {
        fs::create_dir(dir.path().join("vestibule")).unwrap();
        assert!(wakes(&mut watch, SOON).await);
        fs::create_dir(dir.path().join("vestibule/tls")).unwrap();
        assert!(wakes(&mut watch, SOON).await);
        fs::write(&deep, "certificate").unwrap();
        assert!(wakes(&mut watch, SOON).await);
        fs::write(&deep, "renewed").unwrap();
        assert!(wakes(&mut watch, SOON).await);
        fs::remove_dir_all(dir.path().join("vestibule")).unwrap();
        assert!(wakes(&mut watch, SOON).await);
        while wakes(&mut watch, QUIET * 4).await {}
    }
}

#[tokio::test]
async fn what_inotify_does_not_tell_is_found_by_looking() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("a/b/users")).unwrap();
    fs::create_dir_all(dir.path().join("other/b/users")).unwrap();
    let mut watch = FileWatch::new([dir.path().join("a/b/users")]);
    fs::rename(dir.path().join("a"), dir.path().join("old")).unwrap();
    fs::rename(dir.path().join("other"), dir.path().join("a")).unwrap();
    assert!(wakes(&mut watch, POLL + SOON).await);
    // From now on the new directory counts, and the old one does not.
    fs::write(dir.path().join("old/b/users/x.yaml"), "").unwrap();
    assert!(!wakes(&mut watch, QUIET * 8).await);
    fs::write(dir.path().join("a/b/users/x.yaml"), "").unwrap();
    assert!(wakes(&mut watch, SOON).await);
}

#[tokio::test]
async fn without_inotify_changes_are_late_and_the_warning_says_so() {
    let dir = mounted("one");
    let mut watch = FileWatch::new([dir.path().to_owned()]);
    watch.inotify = Err(Errno::NOSPC);
    watch.arm();
    let warning = watch.warning().unwrap();
    assert!(warning.contains("max_user_watches") && warning.contains("2 s"), "{warning}");
    swap(dir.path(), "..first", "..second", "two");
    assert!(wakes(&mut watch, POLL + SOON).await);
    assert!(explain(Errno::MFILE).contains("max_user_instances"));
}

#[tokio::test]
async fn all_watches_look_at_the_same_moments() {
    let one = FileWatch::new([]);
    sleep(POLL / 3).await;
    let two = FileWatch::new([]);
    let apart = two.next_poll.duration_since(one.next_poll).as_millis() % POLL.as_millis();
    let apart = apart.min(POLL.as_millis() - apart);
    assert!(apart < POLL.as_millis() / 6, "{apart} ms apart");
}

#[tokio::test]
async fn a_burst_is_one_wake_that_ends_in_bounded_time() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("users.yaml");
    let mut watch = FileWatch::new([path.clone()]);
    let writer = tokio::spawn(async move {
        loop {
            fs::write(&path, "x").unwrap();
            sleep(Duration::from_millis(5)).await;
        }
    });
    let mut count = 0;
    let _ = timeout(SOON, async {
        loop {
            watch.changed().await;
            count += 1;
        }
    })
    .await;
    writer.abort();
    // A busy machine may make silences of its own between the writes: a wake takes one, at the least.
    let most = SOON.as_millis() / QUIET.as_millis();
    assert!((1..=most).contains(&count), "{count} wakes");
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("users.yaml");
    let mut watch = FileWatch::new([path.clone()]);
    fs::write(&path, "x").unwrap();
    // One poll takes the event and is dropped in the silence after it.
    while watch.burst.is_none() {
        sleep(Duration::from_millis(5)).await;
        assert!(watch.changed().now_or_never().is_none());
    }
    assert!(wakes(&mut watch, SOON).await);
}

#[test]
fn it_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let watching = async {
        let mut watch = FileWatch::new([]);
        watch.changed().await;
    };
    is_send(&watching);
}
