//! etcd and kube-apiserver on loopback: started, stopped, killed, paused.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rcgen::KeyPair;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::kubeconfig::{Kubeconfig, User};
use super::process::{Folder, Watched};
use super::{Api, Authority};
use crate::support::{Pair, set_mode};

/// `iss` and `aud` of service accounts' tokens.
pub(super) const ISSUER: &str = "https://kubernetes.default.svc";

/// Another process may take a port between our choice and our use of it.
const ATTEMPTS: usize = 3;
/// A start takes 3 to 6 s on two idle cores.
const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(20);
const LOG_LINES: usize = 40;

/// Gone when it is dropped, and when this process ends in any other way.
pub(crate) struct ControlPlane {
    /// Where the API server listens, all its life.
    pub(crate) address: SocketAddr,
    etcd_port: u16,
    binaries: PathBuf,
    flags: Vec<String>,
    administrator: Pair,
    account_key: Vec<u8>,
    running: Mutex<Running>,
    /// Tests begin together.
    recovering: tokio::sync::Mutex<()>,
    folder: Folder,
}

struct Running {
    /// Has signed what the API server shows from its next start on.
    authority: Authority,
    /// Of one test's, besides those that it always has.
    flags: Vec<String>,
    api_server: Option<Watched>,
    #[expect(dead_code, reason = "held for its drop")]
    etcd: Watched,
}

impl ControlPlane {
    /// Starts both and waits until the API server is ready; `flags` are added to the API server's.
    pub(crate) async fn start(binaries: &Path, flags: &[&str]) -> Result<Self, String> {
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let plane = Self::launch(binaries, flags)?;
            match plane.ready().await {
                Ok(()) => return Ok(plane),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }

    fn launch(binaries: &Path, flags: &[&str]) -> Result<Self, String> {
        let folder = Folder::new()?;
        let (port, etcd_port, peer_port) = free_ports();
        let clients = Authority::new();
        let accounts = KeyPair::generate().expect("a key");
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [
                {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]},
                {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
                {"level": "None"},
            ],
        });
        write(&folder, "clients.crt", &clients.certificate);
        write(&folder, "accounts.key", &accounts.serialize_pem());
        write(&folder, "accounts.pub", &accounts.public_key_pem());
        write(&folder, "audit.yaml", &policy.to_string());
        let (client, peer) = (format!("http://127.0.0.1:{etcd_port}"), format!("http://127.0.0.1:{peer_port}"));
        let etcd = [
            "--name=one".to_owned(),
            format!("--data-dir={}", folder.path("etcd").display()),
            // A machine that fails takes the tests with it.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=one={peer}"),
        ];
        let etcd = Watched::start(&binaries.join("etcd"), &etcd, &folder.path("etcd.log"))?;
        let plane = Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            etcd_port,
            binaries: binaries.to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            administrator: clients.client("admin", "system:masters"),
            account_key: accounts.serialize_der(),
            recovering: tokio::sync::Mutex::default(),
            running: Mutex::new(Running { authority: Authority::new(), flags: Vec::new(), api_server: None, etcd }),
            folder,
        };
        plane.new_authority();
        plane.launch_api_server()?;
        Ok(plane)
    }

    /// As the administrator, whose certificate no RBAC rule limits.
    pub(crate) fn admin(&self) -> Api {
        Kubeconfig::new(self.address, &self.ca(), User::Certificate(self.administrator.clone())).api()
    }

    /// The certificate of the authority that the API server's own is signed by, PEM.
    pub(crate) fn ca(&self) -> String {
        self.running().authority.certificate.clone()
    }

    /// The key that service accounts' tokens are signed with, ES256, PKCS #8.
    pub(super) fn account_key(&self) -> &[u8] {
        &self.account_key
    }

    /// Makes a new authority, and a certificate by it, that the API server shows from its next start on; clients'
    /// certificates and tokens stay valid.
    pub(crate) fn new_authority(&self) {
        let authority = Authority::new();
        let pair = authority.server();
        write(&self.folder, "server.crt", &pair.certificate);
        write(&self.folder, "server.key", &pair.key);
        self.running().authority = authority;
    }

    /// The audit log: one JSON object a line (audit.k8s.io/v1).
    pub(super) fn audit_log(&self) -> PathBuf {
        self.folder.path("audit.log")
    }

    /// Stops the API server as an upgrade does, by SIGTERM, and waits for its end.
    pub(crate) async fn stop_api_server(&self) {
        let Some(mut api_server) = self.running().api_server.take() else { return };
        api_server.signal(Signal::TERM);
        let deadline = Instant::now() + STOP;
        while api_server.ended().is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the API server at once.
    pub(crate) fn kill_api_server(&self) {
        drop(self.running().api_server.take());
    }

    /// Starts it again on the same port with the same data, and waits until it is ready.
    pub(crate) async fn start_api_server(&self) {
        self.launch_api_server().expect("the API server starts");
        self.ready().await.expect("the API server is ready");
    }

    /// Stops the API server and starts it with these flags besides, until another test begins.
    pub(crate) async fn restart_with(&self, flags: &[&str]) {
        self.stop_api_server().await;
        self.running().flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.start_api_server().await;
    }

    /// Lets the API server hang: connections stay, nothing is answered (SIGSTOP).
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a [`ControlPlane::pause`].
    pub(crate) fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Makes good what a test has left stopped.
    pub(super) async fn recover(&self) {
        let _recovering = self.recovering.lock().await;
        self.cont();
        let is_plain = self.running().flags.is_empty();
        if !is_plain {
            self.stop_api_server().await;
            self.running().flags.clear();
        }
        let is_running = self.running().api_server.as_mut().is_some_and(|api_server| api_server.ended().is_none());
        if !is_running {
            self.start_api_server().await;
        }
    }

    /// The last lines of the API server's log.
    pub(super) fn log(&self) -> String {
        let text = fs::read(self.folder.path("kube-apiserver.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn launch_api_server(&self) -> Result<(), String> {
        let path = |name: &str| self.folder.path(name).display().to_string();
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.address.port()),
            // Addresses for documentation: nothing is ever sent there.
            "--advertise-address=192.0.2.1".to_owned(),
            "--service-cluster-ip-range=198.51.100.0/24".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", path("unused")),
            format!("--tls-cert-file={}", path("server.crt")),
            format!("--tls-private-key-file={}", path("server.key")),
            format!("--client-ca-file={}", path("clients.crt")),
            "--anonymous-auth=false".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            format!("--service-account-issuer={ISSUER}"),
            format!("--service-account-key-file={}", path("accounts.pub")),
            format!("--service-account-signing-key-file={}", path("accounts.key")),
            format!("--audit-policy-file={}", path("audit.yaml")),
            format!("--audit-log-path={}", path("audit.log")),
            "--audit-log-maxsize=1000".to_owned(),
            "--v=1".to_owned(),
        ];
        let program = self.binaries.join("kube-apiserver");
        let mut running = self.running();
        flags.extend(self.flags.iter().chain(&running.flags).cloned());
        if running.api_server.as_mut().is_none_or(|api_server| api_server.ended().is_some()) {
            running.api_server = Some(Watched::start(&program, &flags, &self.folder.path("kube-apiserver.log"))?);
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        let admin = self.admin();
        let deadline = Instant::now() + START;
        while !admin.is_ready().await {
            let ended = self.running().api_server.as_mut().and_then(Watched::ended);
            if let Some(status) = ended {
                return Err(format!("kube-apiserver ended: {status}\n{}", self.log()));
            }
            if Instant::now() > deadline {
                return Err(format!("kube-apiserver is not ready after {START:?}\n{}", self.log()));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(api_server) = &mut self.running().api_server
            && api_server.ended().is_none()
        {
            api_server.signal(signal);
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().expect("nobody panics under this lock")
    }
}

fn write(folder: &Folder, name: &str, text: &str) {
    fs::write(folder.path(name), text).expect("a file");
    set_mode(&folder.path(name), 0o600);
}

/// Ports that nobody listens on; held together until all are chosen, so that they differ.
fn free_ports() -> (u16, u16, u16) {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let listeners = (listen(), listen(), listen());
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    (port(&listeners.0), port(&listeners.1), port(&listeners.2))
}
