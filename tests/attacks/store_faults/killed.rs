//! Writers that are killed at any moment: nothing is lost, torn, locked or left behind.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::alone;
use crate::figures::{figure, long};
use crate::rotation::command;
use crate::support::{App, Jwk, Setup, claims, default_users, get, now, replace};

/// A command that writes one file: its arguments, the file, what stands there before.
struct Writer {
    arguments: &'static [&'static str],
    file: &'static str,
    before: String,
    /// Whether a content is what the command writes, whole.
    is_written: fn(&str) -> bool,
}

#[tokio::test]
async fn a_killed_writer_leaves_the_old_version_or_the_new_one() {
    let _alone = alone().await;
    let rounds = if long() { 400 } else { 24 };
    let app = App::start().await;
    let first = Jwk::fresh("HS512", "first").with(&json!({"iat": now() - 7200, "nbf": now() - 7200}));
    let vestibule = Setup::new().upstream(&app).keys(std::slice::from_ref(&first)).start().await;
    let key = first.clone();
    let rotate = Writer {
        arguments: &["keys", "rotate"],
        file: "keys/keys.jwks",
        before: Jwk::ring(&[first]),
        is_written: |text| {
            let ring: Value = serde_json::from_str(text).expect("it is not torn");
            ring["keys"].as_array().is_some_and(|keys| keys.len() == 2 && keys.iter().any(|key| key["kid"] == "first"))
        },
    };
    let passwd = Writer {
        arguments: &["users", "passwd", "admin", "--password-stdin"],
        file: "users/users.yaml",
        before: default_users().to_string(),
        is_written: |text| {
            let users: Value = serde_saphyr::from_str(text).expect("it is not torn");
            let users = users["users"].as_object().expect("users");
            users.len() == 5
                && users["admin"]["passwords"][0]["hash"] != default_users()["users"]["admin"]["passwords"][0]["hash"]
        },
    };
    for writer in [rotate, passwd] {
        writer.killed(&vestibule.path(""), rounds);
    }
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.sum("vestibule_store_errors_total"), 0.0, "a reader never saw half of a file");
    let token = key.token(&claims("two"));
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200, "nothing was lost");
}

impl Writer {
    /// Half of the rounds kill it after a random part of the time that it takes, the others as soon as its new version
    /// lies beside the old one, or some microseconds later.
    fn killed(&self, dir: &Path, rounds: u32) {
        let file = dir.join(self.file);
        let (directory, name) = (file.parent().expect("a directory"), file.file_name().expect("a name"));
        let name = name.to_str().expect("text");
        let temporary = directory.join(format!(".{name}.tmp"));
        let (mut old, mut new, mut left) = (0, 0, 0);
        let takes = self.to_its_end(dir);
        for round in 0..rounds {
            replace(&file, &self.before);
            let part = random();
            let mut child = self.start(dir);
            if round % 2 == 0 {
                sleep(takes.mul_f64(1.1 * part));
            } else {
                let deadline = Instant::now() + Duration::from_secs(5);
                while !temporary.exists() && child.try_wait().expect("a child").is_none() && Instant::now() < deadline {
                    std::hint::spin_loop();
                }
                sleep(Duration::from_micros((800.0 * part * part) as u64));
            }
            // It may have ended.
            drop(child.kill());
            child.wait().expect("a child");

            let text = fs::read_to_string(&file).expect("the file is there");
            if text == self.before {
                old += 1;
            } else {
                assert!((self.is_written)(&text), "neither the old version nor the new one");
                new += 1;
            }
            left += usize::from(temporary.exists());
            let names = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("one").file_name());
            let known = [name.to_owned(), format!(".{name}.lock"), format!(".{name}.tmp")];
            let strange: Vec<_> = names.filter(|name| !known.iter().any(|known| **known == **name)).collect();
            assert!(strange.is_empty(), "left behind: {strange:?}");
            // The next one is not kept out, and cleans up.
            replace(&file, &self.before);
            self.to_its_end(dir);
            assert!((self.is_written)(&fs::read_to_string(&file).expect("a file")));
            assert!(!temporary.exists(), "it is cleaned up");
        }
        let what = self.arguments[..2].join(" ");
        figure(&format!("`{what}`, killed: old version, new version, of these with a new one left beside"), {
            format!("{old}, {new}, {left}")
        });
        assert!(old > 0 && new > 0 && (left > 0 || !long()), "kills before, while and after it writes");
    }

    fn start(&self, dir: &Path) -> Child {
        let mut command = command(self.arguments);
        command.arg("--dir").arg(dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        // It may not want it.
        drop(child.stdin.take().expect("a pipe").write_all(b"another-password\n"));
        child
    }

    /// How long it takes.
    fn to_its_end(&self, dir: &Path) -> Duration {
        let began = Instant::now();
        let status = self.start(dir).wait().expect("a child");
        assert!(status.success(), "the next writer is kept out: {status}");
        began.elapsed()
    }
}

/// From 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
