//! A running Vestibule process: where it listens, what it logs, how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tokio::net::TcpStream;

use super::setup::Setup;
use super::wire::Wire;
use super::{Client, Head, Jwk, Metrics, eventually, password_of};

/// Killed when it is dropped.
pub(crate) struct Vestibule {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(super) child: Child,
    lines: Lines,
    pub(super) setup: Setup,
}

/// A process that ended by itself.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    dir: tempfile::TempDir,
}

type Lines = Arc<Mutex<Vec<String>>>;

impl Vestibule {
    pub(super) async fn start(setup: Setup) -> Self {
        let mut child = setup.command().spawn().expect("the binary starts");
        let lines = follow(child.stderr.take().expect("standard error is a pipe"));
        let listening = eventually("the event `listening`", async || {
            let found =
                lines_of(&lines).iter().filter_map(|line| parsed(line)).find(|line| line["event"] == "listening");
            if found.is_none() && child.try_wait().expect("a child").is_some() {
                panic!("it ended instead of listening:\n{}", lines_of(&lines).join("\n"));
            }
            found
        })
        .await;
        let address = |name: &str| listening[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
        let await_ready = setup.await_ready;
        let vestibule = Self { listen: address("listen"), admin: address("admin"), child, lines, setup };
        if await_ready {
            vestibule.ready().await;
        }
        vestibule
    }

    /// A client that trusts the certificate, with HTTP/1.1.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.listen, self.setup.ca.cert_pem())
    }

    /// A token from the Densify login with the default password.
    pub(crate) async fn token(&self, user: &str) -> String {
        let answer = self.client().login(user, &password_of(user)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["apiToken"].as_str().expect("a token").to_owned()
    }

    /// A file of the directory that it was set up in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    /// Replaces a file whole, as an editor does.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        replace(&self.path(name), text);
    }

    /// Replaces `users.yaml` and waits until it is in force.
    pub(crate) async fn users(&self, users: &Value) {
        self.reload("users", "users/users.yaml", &users.to_string()).await;
    }

    /// Replaces the key ring and waits until it is in force.
    pub(crate) async fn keys(&self, keys: &[Jwk]) {
        self.reload("keys", "keys/keys.jwks", &Jwk::ring(keys)).await;
    }

    /// Replaces a file and waits until it is in force.
    pub(crate) async fn reload(&self, what: &str, name: &str, text: &str) {
        self.reloaded(what, "ok", async { self.replace(name, text) }).await;
    }

    /// Makes a change and waits until `vestibule_reloads_total` says that it has had this result; how long that took.
    pub(crate) async fn reloaded<T>(&self, what: &str, result: &str, change: impl Future<Output = T>) -> Duration {
        let before = self.reloads(what, result).await;
        let began = Instant::now();
        change.await;
        eventually(&format!("a reload of {what}: {result}"), async || {
            (self.reloads(what, result).await > before).then_some(())
        })
        .await;
        began.elapsed()
    }

    /// How many reloads have had this result.
    pub(crate) async fn reloads(&self, what: &str, result: &str) -> f64 {
        let series = format!("vestibule_reloads_total{{what=\"{what}\",result=\"{result}\"}}");
        self.metrics().await.find(&series).unwrap_or_default()
    }

    /// Replaces a file and waits until it has been read, with whatever result.
    pub(crate) async fn replaced(&self, what: &str, name: &str, text: &str) {
        let count = async || self.reloads(what, "ok").await + self.reloads(what, "error").await;
        let before = count().await;
        self.replace(name, text);
        eventually(&format!("{what} being read"), async || (count().await > before).then_some(())).await;
    }

    /// The keys as they stand in the directory.
    pub(crate) fn ring(&self) -> Vec<Jwk> {
        Jwk::read_ring(&self.path("keys/keys.jwks"))
    }

    /// Asks the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let stream = TcpStream::connect(self.admin).await.expect("the admin listener");
        let mut wire = Wire::new(stream);
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")).await;
        let (head, body): (Head, _) = wire.answer("GET").await;
        (head.status(), String::from_utf8(body).expect("text"))
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        let (status, text) = self.admin("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&self) {
        eventually("readiness", async || (self.admin("/readyz").await.0 == 200).then_some(())).await;
    }

    /// Every line of standard error so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        lines_of(&self.lines)
    }

    /// Every event of this name so far.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        self.lines().iter().filter_map(|line| parsed(line)).filter(|line| line["event"] == event).collect()
    }

    /// Waits for an event of this name that fits.
    pub(crate) async fn event(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("a fitting event `{event}`"), async || self.events(event).into_iter().find(&fits)).await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Ends it as Kubernetes does and returns its exit code.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended().await.code()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", async || self.child.try_wait().expect("a child")).await
    }
}

impl Drop for Vestibule {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("--- standard error of the process ---\n{}", self.lines().join("\n"));
        }
    }
}

impl Failed {
    pub(super) async fn run(setup: Setup) -> Self {
        let mut child = setup.command().spawn().expect("the binary starts");
        let lines = follow(child.stderr.take().expect("standard error is a pipe"));
        let status = eventually("the end of a process that must not start", async || {
            if lines_of(&lines).iter().any(|line| line.contains("\"listening\"")) {
                drop(child.kill());
                panic!("it listens:\n{}", lines_of(&lines).join("\n"));
            }
            child.try_wait().expect("a child")
        })
        .await;
        // The reading thread holds the other clone until the pipe is empty.
        eventually("the last line", async || (Arc::strong_count(&lines) == 1).then_some(())).await;
        let stderr = lines_of(&lines).join("\n");
        Self { code: status.code(), stderr, dir: setup.dir }
    }

    /// The one line that it ended with; panics where there are more or none.
    pub(crate) fn line(&self) -> &str {
        assert_eq!(self.stderr.lines().count(), 1, "one line is promised:\n{}", self.stderr);
        &self.stderr
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Replaces a file whole: readers see the old text or the new one.
pub(crate) fn replace(file: &Path, text: &str) {
    // Hidden, or it would be a document of the store's for a moment.
    let name = file.file_name().expect("a file").to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.new"));
    fs::write(&beside, text).expect("a file");
    fs::rename(&beside, file).expect("a rename");
}

fn follow(stderr: std::process::ChildStderr) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        while stderr.by_ref().read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            kept.lock().expect("nobody panics under this lock").push(text);
            line.clear();
        }
    });
    lines
}

fn lines_of(lines: &Lines) -> Vec<String> {
    lines.lock().expect("nobody panics under this lock").clone()
}

fn parsed(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}
