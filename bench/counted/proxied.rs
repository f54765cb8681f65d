//! Whole requests through a worker, over TLS, between a client and an application in the same thread that are left out.

use std::io;
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vestibule::auth::keys::Algorithm;
use vestibule::config::Config;
use vestibule::counting::{Started, serve};
use vestibule::pki::LocalCa;
use vestibule::store::tls_material;
use vestibule::telemetry::{Format, Level, Logger, Settings};

use super::marks::{LeftOut, counted};
use super::material;

/// Before it counts: connections are made, buffers have grown.
const WARM_UP: u64 = 20;

/// For everything, under valgrind as well.
const PATIENCE: Duration = Duration::from_secs(300);

const ANSWER_BODY: usize = 1011;

pub(crate) fn http1(times: u64) {
    over_http1(times, 200, &[material::token(&material::key(Algorithm::Hs512), 0, now())]);
}

pub(crate) fn http1_new_tokens(times: u64) {
    let (key, now) = (material::key(Algorithm::Hs512), now());
    let tokens: Vec<String> = (0..WARM_UP + times).map(|number| material::token(&key, number, now)).collect();
    over_http1(times, 200, &tokens);
}

pub(crate) fn http1_refused(times: u64) {
    let good = material::token(&material::key(Algorithm::Hs512), 0, now());
    let (signed, signature) = good.rsplit_once('.').expect("three segments");
    let forged: String = signature.chars().rev().skip(1).collect();
    over_http1(times, 401, &[format!("{signed}.{forged}A")]);
}

pub(crate) fn http2(times: u64) {
    let stage = Stage::new();
    let token = material::token(&material::key(Algorithm::Hs512), 0, now());
    let sender: SendRequest<Bytes> = stage.run(async {
        let (sender, connection) = h2::client::handshake(stage.connect("h2").await).await.expect("HTTP/2");
        spawn_local(LeftOut::new(async move { drop(connection.await) }));
        sender
    });
    let requests = |times: u64| {
        let (mut sender, token) = (sender.clone(), &token);
        async move {
            for _ in 0..times {
                sender = sender.ready().await.expect("the connection is open");
                let request = Request::get("https://localhost/api/v1/items/4711?with=query")
                    .header("authorization", format!("Bearer {token}"))
                    .header("user-agent", "counted")
                    .header("accept", "*/*");
                let request = request.body(()).expect("a sound request");
                let (answer, _) = sender.send_request(request, true).expect("a stream");
                let (head, mut body) = answer.await.expect("an answer").into_parts();
                assert_eq!(head.status, 200);
                let mut read = 0;
                while let Some(data) = body.data().await {
                    let bytes = data.expect("a body").len();
                    body.flow_control().release_capacity(bytes).expect("no more than has come");
                    read += bytes;
                }
                assert_eq!(read, ANSWER_BODY);
            }
        }
    };
    stage.run(requests(WARM_UP));
    counted(&mut || stage.run(requests(times)));
}

/// Each request with the next of these tokens, or the only one.
fn over_http1(times: u64, status: u16, tokens: &[String]) {
    let stage = Stage::new();
    let mut client = stage.run(stage.connect("http/1.1"));
    let heads = tokens.iter().cycle().map(|token| {
        format!(
            "GET /api/v1/items/4711?with=query HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             user-agent: counted\r\naccept: */*\r\n\r\n"
        )
    });
    let heads: Vec<String> = heads.take((WARM_UP + times) as usize).collect();
    let (warm_up, heads) = heads.split_at(WARM_UP as usize);
    stage.run(send_all(&mut client, warm_up, status));
    counted(&mut || stage.run(send_all(&mut client, heads, status)));
}

/// One after the other, each of which must be answered with this status.
async fn send_all(client: &mut TlsStream<TcpStream>, heads: &[String], status: u16) {
    for head in heads {
        client.write_all(head.as_bytes()).await.expect("the connection is open");
        assert_eq!(read_answer(client).await.expect("an answer"), status);
    }
}

/// Reads one answer with a `Content-Length` to its end, and returns its status.
async fn read_answer(stream: &mut TlsStream<TcpStream>) -> io::Result<u16> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        if body.len() >= length.parse::<usize>().expect("a number") {
            return Ok(head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"));
        }
    }
}

/// A worker, the application behind it, and a way to connect; all on one thread, as a worker is in the product.
struct Stage {
    runtime: LocalRuntime,
    address: std::net::SocketAddr,
    tls: ClientConfig,
}

impl Stage {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = runtime.expect("a runtime");
        let (front, application) = (listener(), listener());
        let address = front.local_addr().expect("it is bound");
        let authority = LocalCa::create(now()).expect("an authority");
        let started = started(&authority, application.local_addr().expect("it is bound").port());
        runtime.block_on(async {
            spawn_local(async { serve(started, front).await.expect("a sound configuration") });
            spawn_local(LeftOut::new(serve_application(application)));
        });
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.cert_pem().as_bytes()).expect("PEM");
        roots.add(certificate).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let tls = tls.expect("TLS 1.3").with_root_certificates(roots).with_no_client_auth();
        Self { runtime, address, tls }
    }

    /// Drives a client, which is left out, and with it all the others.
    fn run<T>(&self, client: impl Future<Output = T>) -> T {
        let client = LeftOut::new(async { timeout(PATIENCE, client).await.expect("it takes seconds") });
        self.runtime.block_on(client)
    }

    async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("a handshake")
    }
}

/// What the product has by default, with 1,000 users; the log goes nowhere.
fn started(authority: &LocalCa, application: u16) -> Started {
    let yaml = format!(
        "{{upstream: 'http://127.0.0.1:{application}', tls: {{certificate: tls.crt, key: tls.key}}, \
         store: {{directory: {{users: users, keys: keys}}}}}}"
    );
    let loaded = Config::load_bytes(Path::new("counted.yaml"), yaml.as_bytes(), [], []).expect("a configuration");
    let issued = authority.issue_server(&["localhost"], 30, now()).expect("a certificate");
    let files = [(Path::new("tls.crt"), issued.cert_pem.as_bytes()), (Path::new("tls.key"), issued.key_pem.as_bytes())];
    let settings = Settings { format: Format::Json, level: Level::Info, access: loaded.config.log.access };
    Started {
        config: loaded.config,
        users: material::users(&material::users_entries()),
        ring: material::ring(),
        pair: tls_material::pair(files[0], files[1]).expect("what was issued together"),
        log: Logger::to_writer(settings, io::sink()).expect("a thread"),
    }
}

/// An application that answers each request, none of which has a body, as soon as its head has ended.
async fn serve_application(listener: StdListener) {
    let listener = TcpListener::from_std(listener).expect("a socket that does not block");
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nserver: app\r\ncontent-length: {ANSWER_BODY}\r\n\r\n");
    let answer: Rc<[u8]> = [head.as_bytes(), &[b'a'; ANSWER_BODY]].concat().into();
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let answer = Rc::clone(&answer);
        spawn_local(LeftOut::new(async move {
            let mut head = Vec::new();
            while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    stream.write_all(&answer).await.expect("the connection is open");
                }
            }
        }));
    }
}

fn listener() -> StdListener {
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket option");
    listener
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is right").as_secs()
}
