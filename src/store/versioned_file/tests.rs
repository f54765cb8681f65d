//! Races between threads and processes, writers that get killed, and directories that refuse.

use std::env;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::*;

fn file(content: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("keys.jwks");
    fs::write(&path, content).unwrap();
    (dir, path)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_made_and_replaced_whole() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("keys.jwks");
    let nothing = Snapshot::read(&path).unwrap();
    assert_eq!(nothing.content(), None);
    replace(&path, &nothing, b"one", 0o600).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let one = Snapshot::read(&path).unwrap();
    assert_eq!(one.content(), Some(&b"one"[..]));
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    replace(&path, &one, b"two", 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    assert_eq!(names(dir.path()), [".keys.jwks.lock", "keys.jwks"]);
    assert_eq!(fs::metadata(beside(&path, ".lock")).unwrap().mode() & 0o777, 0o600);
}

/// An operator's `mv` takes no lock; a key that it revokes is not to come back with a rotation of the same moment.
#[test]
fn a_file_that_is_replaced_while_a_version_is_written_is_a_conflict() {
    const ROUNDS: u64 = 40;
    let ours = vec![b'x'; 4 << 20];
    let mut lost = 0;
    for round in 0..ROUNDS {
        let (dir, path) = file("old");
        let expected = Snapshot::read(&path).unwrap();
        let theirs = dir.path().join("theirs");
        fs::write(&theirs, "theirs").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| replace(&path, &expected, &ours, 0o600));
            thread::sleep(Duration::from_micros(round * 100));
            fs::rename(&theirs, &path).unwrap();
        });
        lost += u64::from(fs::read(&path).unwrap() != b"theirs");
    }
    // No system call compares and renames at once: a moment is left.
    assert!(lost <= ROUNDS / 10, "{lost} of {ROUNDS}");
}

#[test]
fn whatever_changed_since_the_read_is_a_conflict_and_stays() {
    type Change = fn(&Path);
    let changes: &[(&str, Option<&str>, Change, Option<&str>)] = &[
        ("changed", Some("old"), |path| fs::write(path, "else").unwrap(), Some("else")),
        ("removed", Some("old"), |path| fs::remove_file(path).unwrap(), None),
        ("made", None, |path| fs::write(path, "else").unwrap(), Some("else")),
        ("made empty", None, |path| fs::write(path, "").unwrap(), Some("")),
    ];
    for (name, before, change, after) in changes {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("keys.jwks");
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        let expected = Snapshot::read(&path).unwrap();
        change(&path);
        let error = replace(&path, &expected, b"new", 0o600).unwrap_err();
        assert!(matches!(error, ReplaceError::Conflict { .. }), "{name}: {error}");
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), *after, "{name}");
    }
}

#[test]
fn of_two_threads_exactly_one_wins() {
    let (dir, path) = file("0");
    for round in 0..20 {
        let expected = Snapshot::read(&path).unwrap();
        let results: Vec<_> = thread::scope(|scope| {
            let writers: Vec<_> = ["a", "b"]
                .map(|who| {
                    let (path, expected) = (&path, &expected);
                    scope.spawn(move || replace(path, expected, format!("{who}{round}").as_bytes(), 0o600))
                })
                .into_iter()
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        let winner = if results[0].is_ok() { "a" } else { "b" };
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{winner}{round}"));
    }
    assert_eq!(names(dir.path()), [".keys.jwks.lock", "keys.jwks"]);
}

/// Starts this very test binary as another process that does `role` to `path`.
fn other_process(role: &str, path: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "store::versioned_file::tests::as_another_process", "--ignored"])
        .env("VERSIONED_FILE_ROLE", role)
        .env("VERSIONED_FILE_PATH", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the other process of the tests beside it"]
fn as_another_process() {
    let path = PathBuf::from(env::var_os("VERSIONED_FILE_PATH").unwrap());
    match env::var("VERSIONED_FILE_ROLE").unwrap().as_str() {
        // Counts up to where a hundred increments have succeeded.
        "count" => {
            let mut done = 0;
            while done < 100 {
                let snapshot = Snapshot::read(&path).unwrap();
                let count: u32 = str::from_utf8(snapshot.content().unwrap()).unwrap().parse().unwrap();
                match replace(&path, &snapshot, (count + 1).to_string().as_bytes(), 0o600) {
                    Ok(()) => done += 1,
                    Err(ReplaceError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        "stage and hang" => {
            let _lock = lock(&path).unwrap();
            let _staged = Staged::write(&path, b"new", 0o600).unwrap();
            thread::sleep(Duration::from_secs(60));
        }
        role => panic!("no role {role}"),
    }
}

#[test]
fn processes_lose_no_update_to_each_other() {
    let (_dir, path) = file("0");
    let writers = [0; 3].map(|_| other_process("count", &path));
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "300");
}

#[test]
fn a_writer_killed_before_the_rename_leaves_the_old_file_and_no_obstacle() {
    let (dir, path) = file("old");
    let mut writer = other_process("stage and hang", &path);
    let end = Instant::now() + Duration::from_secs(10);
    let staged = || fs::read(beside(&path, ".tmp")).is_ok_and(|content| content == b"new");
    while !staged() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(names(dir.path()), [".keys.jwks.lock", ".keys.jwks.tmp", "keys.jwks"]);
    let snapshot = Snapshot::read(&path).unwrap();
    assert_eq!(snapshot.content(), Some(&b"old"[..]));
    replace(&path, &snapshot, b"newer", 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"newer");
    assert_eq!(names(dir.path()), [".keys.jwks.lock", "keys.jwks"]);
}

#[test]
fn a_lock_that_is_never_released_ends_in_busy() {
    let (_dir, path) = file("old");
    let snapshot = Snapshot::read(&path).unwrap();
    let held = lock(&path).unwrap();
    let started = Instant::now();
    let error = replace(&path, &snapshot, b"new", 0o600).unwrap_err();
    assert!(matches!(error, ReplaceError::Busy { .. }), "{error}");
    assert!(started.elapsed() < LOCK_DEADLINE + Duration::from_secs(2));
    drop(held);
    replace(&path, &snapshot, b"new", 0o600).unwrap();
}

#[test]
fn what_kubelet_mounted_or_is_no_file_is_never_written() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("mounted/..one")).unwrap();
    fs::write(at("mounted/..one/keys.jwks"), "old").unwrap();
    symlink("..one", at("mounted/..data")).unwrap();
    symlink("..data/keys.jwks", at("mounted/keys.jwks")).unwrap();
    fs::create_dir_all(at("plain/folder")).unwrap();
    fs::write(at("plain/keys.jwks"), "old").unwrap();
    symlink("keys.jwks", at("plain/link.jwks")).unwrap();
    symlink("nowhere", at("plain/dangling.jwks")).unwrap();
    symlink(at("plain"), at("plain-by-link")).unwrap();
    let cases = [
        ("plain/keys.jwks", true),
        ("plain/new.jwks", true),
        ("plain-by-link/keys.jwks", true),
        ("plain/link.jwks", false),
        ("plain/dangling.jwks", false),
        ("plain/folder", false),
        ("mounted/keys.jwks", false),
        ("mounted/new.jwks", false),
    ];
    for (name, writable) in cases {
        assert_eq!(is_writable(&at(name)), writable, "{name}");
        if !writable {
            let expected = Snapshot::read(&at(name)).unwrap_or(Snapshot { content: None });
            let error = replace(&at(name), &expected, b"new", 0o600).unwrap_err();
            assert!(matches!(error, ReplaceError::ReadOnly { .. }), "{name}: {error}");
        }
    }
    assert_eq!(names(&at("mounted")), ["..data", "..one", "keys.jwks"]);
    assert_eq!(fs::read(at("plain/keys.jwks")).unwrap(), b"old");
    assert!(!is_writable(&at("none/keys.jwks")));
    let error = replace(&at("none/keys.jwks"), &Snapshot { content: None }, b"new", 0o600).unwrap_err();
    assert!(matches!(error, ReplaceError::Io { .. }), "{error}");
}

/// A small tmpfs, where this process may mount one.
struct Mount(TempDir);

impl Mount {
    fn new() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("SKIPPED: this process may not mount a tmpfs; run the tests as root");
        }
        mounted.then_some(Self(dir))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let Some(mount) = Mount::new() else { return };
    let path = mount.0.path().join("keys.jwks");
    fs::write(&path, "old").unwrap();
    let snapshot = Snapshot::read(&path).unwrap();
    let error = replace(&path, &snapshot, &[b'x'; 128 << 10], 0o600).unwrap_err();
    assert!(matches!(error, ReplaceError::Io { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(mount.0.path()), [".keys.jwks.lock", "keys.jwks"]);
}

#[test]
fn a_read_only_mount_is_never_written() {
    let Some(mount) = Mount::new() else { return };
    let path = mount.0.path().join("keys.jwks");
    fs::write(&path, "old").unwrap();
    assert!(is_writable(&path));
    let snapshot = Snapshot::read(&path).unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(mount.0.path()).status().unwrap();
    assert!(remounted.success());
    assert!(!is_writable(&path));
    let error = replace(&path, &snapshot, b"new", 0o600).unwrap_err();
    assert!(matches!(error, ReplaceError::ReadOnly { .. }), "{error}");
    assert_eq!(names(mount.0.path()), ["keys.jwks"]);
}

#[test]
fn the_owner_is_kept_or_taken_from_the_directory() {
    let (dir, path) = file("old");
    if fchown(File::open(dir.path()).unwrap(), Some(65_532), Some(65_532)).is_err() {
        eprintln!("SKIPPED: this process may not change owners; run the tests as root");
        return;
    }
    fchown(File::open(&path).unwrap(), Some(4_000), Some(4_001)).unwrap();
    replace(&path, &Snapshot::read(&path).unwrap(), b"new", 0o600).unwrap();
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    assert_eq!(owner(&path), (4_000, 4_001));
    let fresh = dir.path().join("fresh.jwks");
    replace(&fresh, &Snapshot::read(&fresh).unwrap(), b"new", 0o600).unwrap();
    assert_eq!(owner(&fresh), (65_532, 65_532));
    assert_eq!(owner(&beside(&fresh, ".lock")), (65_532, 65_532));
}

#[test]
fn contents_are_never_printed() {
    let (_dir, path) = file("secret");
    let snapshot = Snapshot::read(&path).unwrap();
    fs::write(&path, "another secret").unwrap();
    let error = replace(&path, &snapshot, b"third secret", 0o600).unwrap_err();
    for printed in [format!("{snapshot:?}"), format!("{error:?}"), error.to_string()] {
        assert!(!printed.contains("secret") && !printed.contains("115"), "{printed}");
    }
}
