//! The plain-HTTP listener for probes and scrapes: `/livez`, `/readyz`, `/metrics`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::server::Linger;
use crate::shutdown::Phase;
use crate::telemetry::{EventName, Level, Logger};

/// Connections at a time. When another comes, the oldest is closed: whoever holds them all open cannot keep a probe out.
const CONNECTIONS: usize = 64;

/// From a request's first byte, and between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection lives at most, however slowly its peer reads.
const CONNECTION_AGE: Duration = Duration::from_secs(300);

const BUFFER_BYTES: usize = 16 * 1024;

/// What is read and thrown away behind the last request, so that its answer arrives: a socket that is closed at once is
/// the first to be reset where a node runs out of memory for connections.
const LINGER_BYTES: usize = 64 * 1024;

/// A pause after an accept that failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// What the listener shows.
pub struct AdminState {
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    /// Brings those metrics up to date that are only looked up when somebody asks.
    pub before_scrape: Box<dyn Fn(&Metrics) + Send + Sync>,
}

/// Serves until the phase is `Closing`: while the process drains, probes still have their answer.
pub async fn serve(listener: TcpListener, state: AdminState, mut phase: watch::Receiver<Phase>, logger: Logger) {
    let state = Arc::new(state);
    let mut connections = Connections::default();
    let mut closing = pin!(phase.wait_for(|phase| *phase >= Phase::Closing));
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut closing => return,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                connections.add(connection(stream, state.clone()));
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                if !failing {
                    logger
                        .event(Level::Error, EventName::AcceptFailed, "the admin listener cannot accept")
                        .field("error", format_args!("{error}"))
                        .emit();
                }
                failing = true;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The open connections, oldest first. All are closed when this is dropped.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|task| !task.is_finished());
        if self.oldest_first.len() >= CONNECTIONS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        self.oldest_first.push_back(self.tasks.spawn(connection));
    }
}

async fn connection(stream: TcpStream, state: Arc<AdminState>) {
    let service = service_fn(|request: Request<_>| {
        let response = answer(request.method(), request.uri().path(), &state);
        async { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Linger::new(stream, LINGER_BYTES)), service);
    // What a client does wrong here is its own affair, and nobody's log.
    let _ = timeout(CONNECTION_AGE, serving).await;
}

/// Paths are few and fixed; a query is ignored, and so is a body.
fn answer(method: &Method, path: &str, state: &AdminState) -> Response<Full<Bytes>> {
    if !matches!(path, "/livez" | "/readyz" | "/metrics") {
        return reply(StatusCode::NOT_FOUND, TEXT, "not found\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "method not allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            (state.before_scrape)(&state.metrics);
            let (content_type, body) = state.metrics.render();
            reply(StatusCode::OK, content_type, body)
        }
        "/readyz" => {
            let (mut lines, mut status) = (state.readiness.report(), StatusCode::SERVICE_UNAVAILABLE);
            if lines.is_empty() {
                (lines, status) = (vec!["ready".to_owned()], StatusCode::OK);
            }
            lines.extend(state.readiness.notes());
            reply(status, TEXT, lines.join("\n") + "\n")
        }
        _ => reply(StatusCode::OK, TEXT, "ok\n"),
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Errors of one connection that never came to be; the listener itself is well.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | TimedOut)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    use super::*;
    use crate::readiness::Note;
    use crate::shutdown::{Shutdown, Timing};

    struct Running {
        address: SocketAddr,
        readiness: Readiness,
        shutdown: Shutdown,
        serving: tokio::task::JoinHandle<()>,
    }

    async fn start() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let state = AdminState {
            metrics: Arc::new(Metrics::new()),
            readiness: readiness.clone(),
            before_scrape: Box::new(|metrics| metrics.set_throttled_entries(5)),
        };
        let serving = tokio::spawn(serve(listener, state, shutdown.phase(), Logger::disabled()));
        Running { address, readiness, shutdown, serving }
    }

    impl Running {
        /// Sends a request's head as it stands and returns everything until the server closes.
        async fn raw(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let reading = stream.read_to_end(&mut answer);
            timeout(Duration::from_secs(20), reading).await.expect("the server closes").ok();
            String::from_utf8(answer).unwrap()
        }

        async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
            let answer = self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
            let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            (status, head.to_ascii_lowercase(), body.to_owned())
        }
    }

    #[tokio::test]
    async fn answers_probes_and_scrapes() {
        let running = start().await;
        let cases = [
            ("GET", "/livez", 200, "ok\n"),
            ("GET", "/livez?verbose", 200, "ok\n"),
            ("GET", "/readyz", 200, "ready\n"),
            ("HEAD", "/readyz", 200, ""),
            ("HEAD", "/metrics", 200, ""),
            ("POST", "/livez", 405, "method not allowed\n"),
            ("DELETE", "/metrics", 405, "method not allowed\n"),
            ("GET", "/", 404, "not found\n"),
            ("GET", "/livez/", 404, "not found\n"),
            ("GET", "//metrics", 404, "not found\n"),
            ("POST", "/other", 404, "not found\n"),
        ];
        for (method, path, status, body) in cases {
            let (found, head, text) = running.ask(method, path).await;
            assert_eq!((found, text.as_str()), (status, body), "{method} {path}");
            assert_eq!(head.contains("allow: get, head"), status == 405, "{method} {path}");
        }
        let (status, head, body) = running.ask("GET", "/metrics").await;
        assert!(status == 200 && head.contains("content-type: text/plain; version=0.0.4"));
        assert!(body.contains("vestibule_throttled_entries 5"), "looked up for the scrape");
    }

    #[tokio::test]
    async fn readyz_has_a_line_for_each_thing() {
        let running = start().await;
        let guard = running.readiness.pending("users: reading /users");
        running.readiness.set("keys", Some("no key can sign".to_owned()));
        let (status, _, body) = running.ask("GET", "/readyz").await;
        assert_eq!((status, body.as_str()), (503, "users: reading /users\nkeys: no key can sign\n"));
        assert_eq!(running.ask("GET", "/livez").await.0, 200);
        drop(guard);
        running.readiness.set("keys", None);
        assert_eq!(running.ask("GET", "/readyz").await.0, 200);
        running.readiness.note("users", Some(Note { read: None, problem: "no answer".to_owned() }));
        let (status, _, body) = running.ask("GET", "/readyz").await;
        assert_eq!((status, body.as_str()), (200, "ready\nusers: not read since the start: no answer\n"));
    }

    #[tokio::test]
    async fn answers_until_the_very_end() {
        let running = start().await;
        let guard = running.shutdown.guard();
        let timing = Timing { delay: Duration::ZERO, grace: Duration::from_secs(3_600) };
        let (shutdown, readiness) = (running.shutdown.clone(), running.readiness.clone());
        let ending = tokio::spawn(async move { shutdown.run(timing, &readiness).await });
        running.shutdown.request();
        running.shutdown.phase().wait_for(|phase| *phase == Phase::Draining).await.unwrap();
        let (status, _, body) = running.ask("GET", "/readyz").await;
        assert_eq!((status, body.as_str()), (503, "shutting down\n"));
        assert_eq!(running.ask("GET", "/livez").await.0, 200);
        drop(guard);
        ending.await.unwrap();
        timeout(Duration::from_secs(10), running.serving).await.expect("it ends").unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }

    #[tokio::test]
    async fn bad_clients_hurt_only_themselves() {
        let running = start().await;
        let endless = format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "a".repeat(100_000));
        let cases = [
            ("\x16\x03\x01\x02\x00\x01\x00", "HTTP/1.1 400"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
            ("GET /livez HTTP/9.9\r\n\r\n", ""),
            (endless.as_str(), ""),
            // A body that never comes is not waited for.
            ("POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc", "HTTP/1.1 405"),
        ];
        for (request, start) in cases {
            let answer = running.raw(request).await;
            assert!(answer.starts_with(start), "{request:.60}: {answer}");
            assert!(!answer.starts_with("HTTP/1.1 200"), "{request:.60}: {answer}");
        }
        assert_eq!(running.ask("GET", "/livez").await.0, 200);
    }

    /// One that takes little at a time, and has sent what nobody reads.
    #[tokio::test]
    async fn an_answer_arrives_whole_before_its_connection_is_closed() {
        let running = start().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(running.address).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned();
        stream.write_all((request + &"x".repeat(LINGER_BYTES / 2)).as_bytes()).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        let mut answer = String::new();
        timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().expect("no reset");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let length = format!("content-length: {}", body.len());
        assert!(head.to_ascii_lowercase().contains(&length), "{} bytes: {head}", body.len());
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_cut_off() {
        let running = start().await;
        let unfinished = "GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow:";
        let (silent, slow) = tokio::join!(running.raw(""), running.raw(unfinished));
        assert!(!silent.contains("200 OK") && !slow.contains("200 OK"));
    }

    #[tokio::test]
    async fn held_connections_do_not_keep_a_probe_out() {
        let running = start().await;
        let mut held = Vec::new();
        for _ in 0..3 * CONNECTIONS {
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
            held.push(stream);
        }
        let probe = timeout(Duration::from_secs(3), running.ask("GET", "/livez")).await;
        assert_eq!(probe.expect("answered before any timeout").0, 200);
        let oldest = timeout(Duration::from_secs(3), held[0].read(&mut [0; 8])).await.expect("closed");
        assert!(matches!(oldest, Ok(0) | Err(_)));
        let newest = held.last_mut().unwrap();
        newest.write_all(b"Host: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        newest.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "the newest are kept");
    }
}
