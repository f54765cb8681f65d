//! The echo application: answers with what it received, and streams, so that forwarding can be seen at work.

mod body;
mod reflect;
mod socket;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::body::EchoBody;

/// Connections at once, tunnels included; more wait.
const MAX_CONNECTIONS: usize = 1_024;

/// As many as a proxy's limit on a head's bytes may let through.
const MAX_HEADERS: usize = 2_000;

/// For a head; longer than proxies keep idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The most that `/bytes/N` sends.
const MAX_BYTES: u64 = 1 << 30;

/// How long to wait where accepting failed, which is for want of something.
const BREATH: Duration = Duration::from_millis(100);

/// Starts it on a free port of 127.0.0.1, on a thread of its own, until the process ends; returns where it listens.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    thread::Builder::new().name("echo".to_owned()).spawn(move || runtime.block_on(accept(listener)))?;
    Ok(address)
}

async fn accept(listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes this semaphore");
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, Arc::new(place)));
            }
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}

async fn serve(stream: TcpStream, place: Arc<OwnedSemaphorePermit>) {
    // Without it answers are only slower.
    drop(stream.set_nodelay(true));
    let service = service_fn(|request| {
        let place = Arc::clone(&place);
        async move { Ok::<_, Infallible>(answer(request, place).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A connection that broke is its client's affair.
    drop(connection.await);
}

async fn answer(request: Request<Incoming>, place: Arc<OwnedSemaphorePermit>) -> Response<EchoBody> {
    let path = request.uri().path();
    if let Some(code) = path.strip_prefix("/status/") {
        return match status(code) {
            Some(code) => with_status(code),
            None => bad("/status/NNN takes a status from 200 to 599"),
        };
    }
    if let Some(count) = path.strip_prefix("/bytes/") {
        return match whole_number(count).filter(|count| *count <= MAX_BYTES) {
            Some(count) => typed(StatusCode::OK, "application/octet-stream", EchoBody::filler(count)),
            None => bad("/bytes/N takes a whole number up to 1073741824"),
        };
    }
    match path {
        "/sse" => typed(StatusCode::OK, "text/event-stream", EchoBody::events()),
        "/ws" => socket::upgrade(request, place),
        "/slow" => match pause(request.uri().query()) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                reflect::answer(request).await
            }
            None => bad("/slow?ms=N takes a whole number up to 60000"),
        },
        _ => reflect::answer(request).await,
    }
}

fn status(code: &str) -> Option<StatusCode> {
    let code = u16::try_from(whole_number(code)?).ok()?;
    if (200..=599).contains(&code) { StatusCode::from_u16(code).ok() } else { None }
}

fn with_status(code: StatusCode) -> Response<EchoBody> {
    // Neither has a body (RFC 9110, sections 15.3.5 and 15.4.5).
    if matches!(code, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        let mut response = Response::new(EchoBody::whole(""));
        *response.status_mut() = code;
        return response;
    }
    text(code, json!({ "status": code.as_u16() }).to_string())
}

/// The value of `ms`, which stands once.
fn pause(query: Option<&str>) -> Option<Duration> {
    let mut values = query?.split('&').filter_map(|pair| pair.strip_prefix("ms="));
    let pause = Duration::from_millis(whole_number(values.next()?)?);
    (values.next().is_none() && pause <= MAX_PAUSE).then_some(pause)
}

/// Digits alone: what `parse` takes besides, such as a plus sign, is not meant.
fn whole_number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn bad(message: &str) -> Response<EchoBody> {
    text(StatusCode::BAD_REQUEST, json!({ "message": message, "status": 400 }).to_string())
}

/// JSON with a line's end, for terminals.
fn text(status: StatusCode, json: String) -> Response<EchoBody> {
    typed(status, "application/json", EchoBody::whole(json + "\n"))
}

fn typed(status: StatusCode, media_type: &'static str, body: EchoBody) -> Response<EchoBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    headers.insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_paths_and_queries() {
        for (query, expected) in [
            (Some("ms=0"), Some(0)),
            (Some("ms=250"), Some(250)),
            (Some("ms=60000"), Some(60_000)),
            (Some("a=b&ms=5"), Some(5)),
            (Some("ms=60001"), None),
            (Some("ms=99999999999999999999999"), None),
            (Some("ms="), None),
            (Some("ms=-1"), None),
            (Some("ms=+1"), None),
            (Some("ms=1.5"), None),
            (Some("ms=1&ms=2"), None),
            (Some("xms=1"), None),
            (Some(""), None),
            (None, None),
        ] {
            assert_eq!(pause(query), expected.map(Duration::from_millis), "{query:?}");
        }
        for (code, good) in
            [("200", true), ("418", true), ("599", true), ("199", false), ("600", false), ("", false), ("4x4", false)]
        {
            assert_eq!(status(code).is_some(), good, "{code}");
        }
    }
}
