//! Requests that nobody here wrote, through a real process: one request in, at most one at the application, and
//! nothing of a body is ever read as a request.
//!
//! `VESTIBULE_CORPORA` names a folder with `smuggling/payloads.json` (of defparam/smuggler) and `http1/llhttp.json`
//! (of nodejs/llhttp's tests) and `http1/go-fuzz-httpreq.tar.gz` (of dvyukov/go-fuzz-corpus) in it.

mod odd_requests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::support::*;

/// Connections at once: enough to keep the process busy, and few enough that none waits long.
const AT_ONCE: usize = 32;

/// How long the other side may stay silent before a case is taken to be over.
const SILENCE: Duration = Duration::from_millis(300);

/// A file of the corpora; `None`, said loudly, where there are none.
fn corpus(name: &str) -> Option<PathBuf> {
    let corpora = std::env::var_os("VESTIBULE_CORPORA");
    if corpora.is_none() {
        eprintln!("SKIPPED: VESTIBULE_CORPORA names no folder, so `{name}` is not tested");
    }
    corpora.map(|corpora| Path::new(&corpora).join(name))
}

fn cases(name: &str) -> Option<Vec<Value>> {
    let file = corpus(name)?;
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Some(serde_json::from_slice(&text).expect("a list of cases"))
}

/// What the application received on each of its connections, byte by byte. It answers each `GET`- or `POST`-like head
/// at once, so that a body that is cut off by the client is seen as far as it came.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<Vec<u8>>>>);

impl Witness {
    async fn start() -> (Self, App) {
        let witness = Self::default();
        let own = witness.clone();
        let app = App::raw(move |mut wire, _| {
            let own = own.clone();
            async move {
                let number = {
                    let mut all = own.0.lock().expect("nobody panics under this lock");
                    all.push(Vec::new());
                    all.len() - 1
                };
                // The same parser twice would agree with itself: this one knows only strict framing.
                let mut pending = Vec::new();
                let mut chunk = [0; 16 * 1024];
                loop {
                    let Ok(read) = wire.stream.read(&mut chunk).await else { return };
                    if read == 0 {
                        return;
                    }
                    own.0.lock().expect("nobody panics under this lock")[number].extend(&chunk[..read]);
                    pending.extend_from_slice(&chunk[..read]);
                    while let Some(length) = whole_request(&pending) {
                        pending.drain(..length);
                        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        if wire.stream.write_all(ok).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        (witness, app.await)
    }

    /// The request lines that arrived, with this marker in the head that follows. Bodies are passed over by their
    /// framing; a connection whose bytes do not parse as strict requests is an error.
    fn requests(&self) -> Vec<Arrived> {
        let connections = self.0.lock().expect("nobody panics under this lock").clone();
        let mut all = Vec::new();
        for mut bytes in connections {
            while !bytes.is_empty() {
                let Some(end) = find(&bytes, b"\r\n\r\n") else { break };
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let mut lines = head.split("\r\n");
                let line = lines.next().unwrap_or_default().to_owned();
                assert!(line.ends_with(" HTTP/1.1"), "no request line: {line:?} in {head:?}");
                let fields: Vec<_> = lines
                    .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?} in {head:?}")))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                    .collect();
                all.push(Arrived { line, fields });
                let Some(length) = whole_request(&bytes) else { break };
                bytes.drain(..length);
            }
        }
        all
    }
}

/// A request at the application.
struct Arrived {
    line: String,
    fields: Vec<(String, String)>,
}

impl Arrived {
    fn marker(&self) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == "x-request-id").map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The length of the request that these bytes begin with, where it is whole.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        let mut at = end;
        loop {
            let line = at + find(&bytes[at..], b"\r\n")?;
            let size = std::str::from_utf8(&bytes[at..line]).ok()?;
            let size = usize::from_str_radix(size.split(';').next()?, 16).ok()?;
            if size == 0 {
                // Trailers, if any, end with an empty line.
                let rest = find(&bytes[line..], b"\r\n\r\n")?;
                return Some(line + rest + 4);
            }
            at = line + 2 + size + 2;
            if at > bytes.len() {
                return None;
            }
        }
    }
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(Some(0), |length| length.parse().ok())?;
    (bytes.len() >= end + length).then_some(end + length)
}

/// Sends bytes and reads until the other side closes or falls silent; how many answers came.
async fn drive(client: Client, bytes: Vec<u8>) -> usize {
    let mut wire = client.wire().await;
    wire.send(&bytes).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while let Ok(Ok(read)) = tokio::time::timeout(SILENCE, wire.stream.read(&mut chunk)).await {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..read]);
    }
    // Ours are JSON, and the application's two letters: nothing in a body looks like a status line.
    answer.windows(9).filter(|window| window.starts_with(b"HTTP/1.1 ") || window.starts_with(b"HTTP/1.0 ")).count()
}

/// Drives all cases, some at once; returns the answers to each.
async fn drive_all(vestibule: &Vestibule, cases: impl IntoIterator<Item = Vec<u8>>) -> Vec<usize> {
    let mut running = JoinSet::new();
    let mut answers = Vec::new();
    let mut done = |(number, count): (usize, usize)| {
        if answers.len() <= number {
            answers.resize(number + 1, 0);
        }
        answers[number] = count;
    };
    for (number, bytes) in cases.into_iter().enumerate() {
        if running.len() >= AT_ONCE {
            done(running.join_next().await.expect("one is running").expect("no panic"));
        }
        let client = vestibule.client();
        running.spawn(async move { (number, drive(client, bytes).await) });
    }
    while let Some(result) = running.join_next().await {
        done(result.expect("no panic"));
    }
    answers
}

/// Puts fields after the host's line, so that the case's own come first as they were.
fn with_fields(request: &str, fields: &str) -> Vec<u8> {
    let (line, rest) = request.split_once("\r\n").expect("a request line");
    // The host's place in the corpora.
    let rest = rest.replacen("Host: HOST", &format!("Host: a.example\r\n{fields}"), 1);
    format!("{line}\r\n{rest}").chars().map(latin1).collect()
}

/// The corpora hold bytes as characters of the same number.
fn latin1(character: char) -> u8 {
    u8::try_from(u32::from(character)).unwrap_or(b'?')
}

#[tokio::test]
async fn nothing_is_smuggled() {
    let Some(cases) = cases("smuggling/payloads.json") else { return };
    assert!(cases.len() >= 1000, "{} cases", cases.len());
    let (witness, app) = Witness::start().await;
    // With rules, and a token that is good for everything: nothing but the framing stands in the way.
    let rules = "access: {rules: [{prefix: /static/, allow: anyone}]}\nlimits: {headerTimeout: 60s}";
    let vestibule = Setup::new().upstream(&app).config(rules).config("log: {access: false}").start().await;
    let token = vestibule.token("admin").await;
    let marked = cases.iter().enumerate().map(|(number, case)| {
        let request = case["request"].as_str().expect("a request");
        with_fields(request, &format!("X-Request-Id: case-{number}\r\nAuthorization: Bearer {token}"))
    });
    let answers = drive_all(&vestibule, marked).await;
    let arrived = witness.requests();
    let mut counts = vec![0; cases.len()];
    for request in &arrived {
        // A request without a marker, or one that is no POST, is a body that was read as a request.
        let number = request.marker().and_then(|marker| marker.strip_prefix("case-")?.parse::<usize>().ok());
        let number = number.unwrap_or_else(|| panic!("it came from a body: {} {:?}", request.line, request.fields));
        counts[number] += 1;
        let case = &cases[number];
        assert!(request.line.starts_with("POST /"), "{}: {case}", request.line);
        // One framing and no other.
        let (lengths, codings) = (request.all("content-length"), request.all("transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "{lengths:?} {codings:?}: {case}");
        assert!(codings.is_empty() || codings == ["chunked"], "{codings:?}: {case}");
        assert_eq!(request.all("host"), ["a.example"], "{case}");
    }
    for (number, case) in cases.iter().enumerate() {
        assert!(counts[number] <= 1, "{} requests arrived of {case}", counts[number]);
        // What follows the first request may be refused, and is then answered.
        assert!(answers[number] <= 2, "{} answers to {case}", answers[number]);
    }
    let through = counts.iter().sum::<usize>();
    for (number, _) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        eprintln!("reached the application: {}", cases[number]);
    }
    eprintln!("{} of {} cases reached the application", through, cases.len());
    assert_eq!(vestibule.client().send(post("/").bearer(&token).body("fine")).await.status, 200);
    assert_eq!(vestibule.metrics().await.value("vestibule_requests_in_flight"), 0.0);
}

#[tokio::test]
async fn what_a_strict_parser_refuses_is_never_more_than_one_request() {
    let Some(cases) = cases("http1/llhttp.json") else { return };
    assert!(cases.len() >= 100, "{} cases", cases.len());
    // One case after the other, so that it is known what arrived of each; some processes at once.
    let parts = cases.chunks(cases.len().div_ceil(5)).map(drive_in_turn);
    let wrong = futures_util::future::join_all(parts).await.concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Drives cases one by one through a process of their own; returns what is wrong.
async fn drive_in_turn(cases: &[Value]) -> Vec<String> {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).config("access: {rules: [{prefix: /, allow: anyone}]}").start().await;
    let mut wrong = Vec::new();
    for case in cases {
        let request: Vec<u8> = case["req"].as_str().expect("a request").chars().map(latin1).collect();
        let before = witness.requests().len();
        let answers = drive(vestibule.client(), request.clone()).await;
        let arrived = witness.requests().len() - before;
        let accepted = usize::try_from(case["n"].as_u64().expect("a number")).expect("a small number");
        // Where the strict parser stopped in the middle of a request, that one may be on its way already.
        let most = accepted + usize::from(!case["err"].is_null() || accepted == 0);
        // A lone LF may end a line (RFC 9112, section 2.2), which this strict parser does not grant: there its count is
        // not ours, and what arrives was judged request by request.
        let head = &request[..find(&request, b"\r\n\r\n").unwrap_or(request.len())];
        let has_lone_lf =
            head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r'));
        if arrived > most && !has_lone_lf {
            wrong.push(format!("{arrived} requests arrived, {most} at most are in it: {case}"));
        }
        if arrived > answers + 1 {
            wrong.push(format!("{arrived} requests arrived and {answers} were answered: {case}"));
        }
    }
    assert_eq!(vestibule.client().send(get("/fine")).await.status, 200);
    wrong
}
