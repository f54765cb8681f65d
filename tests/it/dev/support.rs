//! Starts `vestibule dev`, reads what it prints, and talks to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `vestibule dev`, killed when it is dropped.
pub(super) struct Dev {
    child: Child,
    dir: PathBuf,
    printed: Text,
    log: Text,
}

/// What a pipe has brought so far.
type Text = Arc<Mutex<String>>;

impl Dev {
    /// Starts on free ports of 127.0.0.1, and waits until it has printed its last line and logged where it listens.
    pub(super) fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut child = command(dir, arguments).spawn().unwrap();
        let printed = collect(child.stdout.take().unwrap());
        let log = collect(child.stderr.take().unwrap());
        let mut dev = Self { child, dir: dir.to_owned(), printed, log };
        let deadline = Instant::now() + PATIENCE;
        while !dev.printed().ends_with("/metrics\n\n") || !dev.log().contains("\"listening\"") {
            let ended = dev.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?} {} {}", dev.printed(), dev.log());
            thread::sleep(Duration::from_millis(10));
        }
        dev
    }

    /// Runs one that is to end by itself: its exit code, and what it says on standard error.
    pub(super) fn fail(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
        let mut child = command(dir, arguments).spawn().unwrap();
        let (printed, log) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                // The pipes are read to their ends by then, or shortly after.
                thread::sleep(Duration::from_millis(50));
                return (status.code(), text(&log));
            }
            if Instant::now() >= deadline {
                child.kill().unwrap();
                panic!("still running: {}", text(&printed));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as Ctrl-C does; its exit code.
    pub(super) fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "Ctrl-C is to be quick");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn printed(&self) -> String {
        text(&self.printed)
    }

    pub(super) fn log(&self) -> String {
        text(&self.log)
    }

    /// The lines that are meant to be pasted.
    pub(super) fn commands(&self) -> Vec<String> {
        let printed = self.printed();
        printed
            .lines()
            .filter(|line| line.starts_with("curl ") || line.starts_with("TOKEN="))
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn password(&self) -> Option<String> {
        self.printed().lines().find_map(|line| line.trim().strip_prefix("password:")).map(|word| word.trim().to_owned())
    }

    /// A connection that trusts the directory's authority alone.
    pub(super) async fn connect(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir.join("tls/ca.crt")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.listen()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends bytes, and reads the answer to its end.
    pub(super) async fn request(&self, request: &str) -> String {
        self.request_until(request, "\0never").await
    }

    /// Sends bytes, and reads until the answer holds `end`, or is over.
    pub(super) async fn request_until(&self, request: &str, end: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = async {
            let mut part = [0; 16 * 1024];
            loop {
                match stream.read(&mut part).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => answer.extend_from_slice(&part[..count]),
                }
                if String::from_utf8_lossy(&answer).contains(end) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
        String::from_utf8(answer).unwrap()
    }

    /// Logs in with the password that was shown.
    pub(super) async fn token(&self) -> String {
        let body = format!(r#"{{"userName":"admin","pwd":"{}"}}"#, self.password().unwrap());
        let length = body.len();
        let head =
            format!("POST /authorize HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let answer = self.request(&(head + &body)).await;
        let json: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        json["apiToken"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// As the log has it.
    fn listen(&self) -> SocketAddr {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let listening = lines.into_iter().find(|line| line["event"] == "listening").unwrap_or_else(|| panic!("{log}"));
        listening["listen"].as_str().unwrap().parse().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Either may fail where it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a script in a new bash; its standard output.
pub(super) fn bash(script: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new("bash");
    command.args(["-c", script]).envs(variables.iter().copied());
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let (out, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.is_empty(), "{script}\n{out}\n{errors}");
    out
}

/// Says so where the printed lines cannot be run.
pub(super) fn lacks_curl() -> bool {
    let lacks = |program: &str| {
        let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        !status.is_ok_and(|status| status.success())
    };
    let lacks = lacks("curl") || lacks("bash");
    if lacks {
        eprintln!("SKIPPED: the printed lines were not run, as curl or bash is missing");
    }
    lacks
}

/// Every file below a directory by its path in it; locks aside.
pub(super) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension() != Some(OsStr::new("lock")) {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.arg("dev").arg("--dir").arg(dir).args(arguments);
    for (flag, address) in [("--listen", "127.0.0.1:0"), ("--admin", "127.0.0.1:0")] {
        if !arguments.contains(&flag) {
            command.args([flag, address]);
        }
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VESTIBULE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn collect(mut pipe: impl Read + Send + 'static) -> Text {
    let text = Text::default();
    let shared = Arc::clone(&text);
    thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut part) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..count]));
        }
    });
    text
}

fn text(text: &Text) -> String {
    text.lock().unwrap().clone()
}
