//! Requests to the API server as one identity, whose credentials are read again when they are refused.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use jiff::fmt::rfc2822::DateTimeParser;
use kube::client::{AuthError, Body};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::api_error::Fault;
use super::identity::{ConnectError, Identity};
use super::stack;
use crate::clock::epoch_ms;

/// For a request and its whole answer; for a watch, until the answer begins.
const DEADLINE: Duration = Duration::from_secs(10);
/// What a request waits at most for one that began before it, which may be about to make the connection for both.
const TURN: Duration = Duration::from_secs(2);
/// Between two readings of the credentials, for all who find that they are refused.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);
/// A Secret holds 1 MiB at most, in base64 a third more, and managed fields and annotations besides.
pub(super) const MAX_ANSWER: usize = 8 << 20;

pub(super) struct Connection {
    identity: Identity,
    server: String,
    client: Mutex<kube::Client>,
    /// When the credentials were read again last; held while they are.
    renewed: tokio::sync::Mutex<Option<Instant>>,
    /// Held by a request until its answer begins: those that begin together would each make a connection, with HTTP/2 all
    /// but one in vain.
    turn: Semaphore,
}

/// A whole answer, good or bad.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    /// Milliseconds by which this machine's clock is ahead of the answer's `Date`.
    pub(super) skew_ms: Option<i64>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// An answer that goes on.
pub(super) struct Opened {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) skew_ms: Option<i64>,
    pub(super) body: Body,
}

impl Connection {
    /// Reads who to be; asks nothing yet. Also returns the namespace that goes with it.
    pub(super) async fn new(identity: Identity) -> Result<(Self, String), ConnectError> {
        let (config, client) = build(identity.clone()).await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let (client, turn) = (Mutex::new(client), Semaphore::new(1));
        Ok((Self { identity, server, client, renewed: tokio::sync::Mutex::default(), turn }, config.default_namespace))
    }

    pub(super) fn server(&self) -> String {
        self.server.clone()
    }

    /// Reads the credentials again and connects anew, unless somebody else has lately; returns when that is done. Where they
    /// cannot be read, or not within 10 s, the old ones stay.
    pub(super) async fn renew(&self) {
        // Who is refused at the same moment waits for what is being read, and goes on with it.
        let mut renewed = self.renewed.lock().await;
        if renewed.is_some_and(|renewed| renewed.elapsed() < RENEWAL_INTERVAL) {
            return;
        }
        *renewed = Some(Instant::now());
        if let Ok(Ok((_, client))) = timeout(DEADLINE, build(self.identity.clone())).await {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
        }
    }

    pub(super) async fn ask(&self, request: Request<Vec<u8>>) -> Result<Answer, Fault> {
        in_time(async { self.send(request.map(Body::from)).await?.collect().await }).await
    }

    /// Until the answer begins.
    pub(super) async fn open(&self, path: &str) -> Result<Opened, Fault> {
        let request = Request::get(path).body(Body::empty());
        let request = request.map_err(|_| Fault::Invalid("its namespace or name is none".to_owned()))?;
        in_time(self.send(request)).await
    }

    async fn send(&self, request: Request<Body>) -> Result<Opened, Fault> {
        // One that gets no answer does not hold up the others for long.
        let turn = timeout(TURN, self.turn.acquire()).await;
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sent = epoch_ms();
        let answer = client.send(request).await.map_err(|error| Fault::Unavailable(cause(&error)))?;
        drop(turn);
        let (head, body) = Response::into_parts(answer);
        let skew_ms = skew(&head.headers, sent, epoch_ms());
        Ok(Opened { status: head.status, retry_after: retry_after(&head.headers), skew_ms, body })
    }
}

impl Opened {
    pub(super) async fn collect(mut self) -> Result<Answer, Fault> {
        let length = self.body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        let mut body = Zeroizing::new(Vec::with_capacity(length.min(MAX_ANSWER)));
        while let Some(chunk) = next_chunk(&mut self.body).await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Fault::Unavailable("the answer is larger than 8 MiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: self.status, retry_after: self.retry_after, skew_ms: self.skew_ms, body })
    }
}

/// The next bytes of an answer; `None` at its end.
pub(super) async fn next_chunk(body: &mut Body) -> Result<Option<bytes::Bytes>, Fault> {
    loop {
        return match body.frame().await {
            None => Ok(None),
            Some(Err(error)) => Err(Fault::Unavailable(cause(&error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Ok(Some(data)),
                // Trailers.
                Err(_) => continue,
            },
        };
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let late = |_| Fault::Unavailable(format!("no answer within {} s", DEADLINE.as_secs()));
    timeout(DEADLINE, request).await.map_err(late)?
}

/// An exec plugin takes its time, and files may: on a thread of its own.
async fn build(identity: Identity) -> Result<(kube::Config, kube::Client), ConnectError> {
    let building = tokio::task::spawn_blocking(move || {
        let config = stack::load(&identity)?;
        let client = stack::client(&config)?;
        Ok((config, client))
    });
    building.await.unwrap_or_else(|_| Err(ConnectError::new("the credentials' loading broke off: try again")))
}

/// The answer was made between sending and receiving, and its `Date` leaves out what is less than a second (RFC 9110,
/// section 6.6.1).
fn skew(headers: &HeaderMap, sent_ms: i64, received_ms: i64) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = DateTimeParser::new().parse_timestamp(date).ok()?;
    Some((sent_ms + received_ms) / 2 - (date.as_millisecond() + 500))
}

/// In seconds; the other form, a date, is not used by API servers (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What broke, in words that are the same at every try.
fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut found = "the request failed".to_owned();
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return tls_cause(error);
        }
        if let Some(error) = error.downcast_ref::<AuthError>() {
            return ConnectError::of_auth(error).to_string();
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            found = if error.is_timeout() { "it no longer answers" } else { "the connection broke off" }.to_owned();
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // What is inside is passed over by `source`, which tells what is behind that: rustls' errors are two deep.
            if let Some(inner) = error.get_ref() {
                next = Some(inner);
            }
            match error.kind() {
                io::ErrorKind::Other | io::ErrorKind::UnexpectedEof => {}
                kind => found = kind.to_string(),
            }
        }
        if error.to_string().starts_with("dns error") {
            return "its name cannot be resolved".to_owned();
        }
    }
    found
}

fn tls_cause(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "its certificate is of a CA that is not trusted",
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "its certificate has expired, or this machine's clock is wrong"
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or this machine's clock is wrong"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "its certificate is for another address",
            _ => "its certificate is no good",
        },
        _ => "the TLS handshake failed",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_request() {
        let mut headers = HeaderMap::new();
        assert_eq!(skew(&headers, 0, 0), None);
        headers.insert(DATE, "Sun, 22 Nov 2026 10:00:00 GMT".parse().unwrap());
        let server = 1_795_341_600_000;
        for (sent, received, expected) in [(-1_000, 2_000, 0), (59_500, 61_500, 60_000), (-90_500, -88_500, -90_000)] {
            assert_eq!(skew(&headers, server + sent, server + received), Some(expected));
        }
        headers.insert(DATE, "yesterday".parse().unwrap());
        assert_eq!(skew(&headers, 0, 0), None);
    }

    #[test]
    fn a_wait_is_in_whole_seconds() {
        let mut headers = HeaderMap::new();
        for (value, expected) in
            [("7", Some(7)), (" 7 ", Some(7)), ("-7", None), ("Sun, 22 Nov 2026 10:00:00 GMT", None)]
        {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn what_broke_is_told_from_the_whole_chain() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let tls = || io::Error::new(io::ErrorKind::InvalidData, tls.clone());
        let cases: [(io::Error, &str); 5] = [
            (io::ErrorKind::ConnectionRefused.into(), "connection refused"),
            (tls(), "its certificate is of a CA that is not trusted"),
            (io::Error::other(tls()), "its certificate is of a CA that is not trusted"),
            (io::Error::other(io::Error::from(io::ErrorKind::ConnectionReset)), "connection reset"),
            (io::Error::other("something else"), "the request failed"),
        ];
        for (error, expected) in cases {
            let wrapped = kube::Error::Service(Box::new(error));
            assert_eq!(cause(&wrapped), expected);
        }
    }
}
