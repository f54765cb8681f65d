//! Sends a permitted request to the application and brings the answer back.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, EXPECT, HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version, request};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::answer_body::AnswerBody;
use super::connect::{ConnectError, Protocol};
use super::expect::{self, Release};
use super::headers::{self, Hop};
use super::in_flight::{InFlight, Overloaded, Place};
use super::pool::{Connection, Link, Pool};
use super::request_body::{BodyProgress, Broken, RequestBody};
use super::spare::Spare;
use crate::gate::{IdentityHeaders, Permit};
use crate::metrics::UpstreamErrorReason;

/// Tries of one request: the first, and two more for requests that provably were not sent.
const ATTEMPTS: usize = 3;

/// One worker's way to the application.
pub(crate) struct Forwarder {
    pub(crate) pool: Rc<Pool>,
    pub(crate) in_flight: InFlight,
    /// Largest request body in bytes.
    pub(crate) body_limit: Option<u64>,
    /// How long a client may send nothing in the middle of a body.
    pub(crate) body_idle: Duration,
}

/// Why there is no answer of the application's.
#[derive(Debug)]
pub(crate) enum Failure {
    /// More body than allowed.
    TooLarge,
    /// No place at the application.
    Overloaded,
    /// The client's own body broke.
    Body(Broken),
    /// The application could not be reached, or did not answer as HTTP asks.
    Upstream { reason: UpstreamErrorReason, detail: String },
}

/// The application's answer.
pub(crate) struct Answer {
    pub(crate) response: Response<Box<AnswerBody>>,
    /// Both halves of a connection that has switched protocols.
    pub(crate) upgraded: Option<(OnUpgrade, OnUpgrade)>,
    /// From when the request was handed over to when the answer's head had come.
    pub(crate) waited: Duration,
}

/// What one try came to.
enum Sent {
    Answer(Response<Incoming>, Option<Link>),
    /// Not a byte was written: it may go out again, whatever it is.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended before a byte of an answer came.
    Unanswered(Failure),
    Failed(Failure),
}

impl Forwarder {
    /// Forwards with the proof in hand; there is no other way to the application.
    ///
    /// A request goes out again, on a fresh connection, only when it provably was not sent, or when its method is
    /// idempotent, it has no body and not a byte of an answer has come (RFC 9110, section 9.2.2).
    pub(crate) async fn forward(
        &self,
        permit: &Permit,
        mut request: Request<Incoming>,
        hop: &Hop,
        identity: &Arc<IdentityHeaders>,
        progress: &Rc<BodyProgress>,
    ) -> Result<Answer, Failure> {
        let place = self.in_flight.enter().await.map_err(|Overloaded| Failure::Overloaded)?;
        if request.body().size_hint().lower() > self.body_limit.unwrap_or(u64::MAX) {
            return Err(Failure::TooLarge);
        }
        let client_upgrade = self.client_upgrade(&mut request);
        let (mut parts, body) = request.into_parts();
        parts.extensions.clear();
        let bodiless = body.is_end_stream();
        let expects = self.passes_expectation_on(&parts) && !bodiless;
        let repeatable = bodiless && parts.method.is_idempotent() && client_upgrade.is_none();

        let upgrade = client_upgrade.as_ref().map(|(protocol, _)| protocol.clone());
        headers::rewrite_request(&mut parts, permit, identity, hop, upgrade, expects);
        self.address(&mut parts);

        let body = if bodiless {
            RequestBody::empty(progress)
        } else {
            let patience = (!self.may_be_silent(&parts)).then_some(self.body_idle);
            let (progress, identity) = (Rc::clone(progress), Arc::clone(identity));
            RequestBody::streaming(body, self.body_limit, progress, identity, permit.leaves_request_alone(), patience)
        };
        let mut request = Request::from_parts(parts, body);
        let release = expects.then(|| {
            let (held, release) = expect::hold(&mut request);
            request.body_mut().hold(held);
            release
        });

        let handed_over = Instant::now();
        let (response, link) = self.send(request, repeatable, progress).await?;
        let waited = handed_over.elapsed();
        Ok(self.answer(response, link, client_upgrade, place, release, progress, waited))
    }

    async fn send(
        &self,
        mut request: Request<RequestBody>,
        repeatable: bool,
        progress: &Rc<BodyProgress>,
    ) -> Result<(Response<Incoming>, Option<Link>), Failure> {
        let mut connection = self.pool.take(repeatable).await.map_err(Failure::from)?;
        for attempt in 1.. {
            // Only a connection that was used before may be on its way down; a fresh one needs no spare.
            let reused = matches!(connection, Connection::Http1 { reused: true, .. });
            let spare = (repeatable && reused).then(|| Spare::of(&request));
            match self.try_send(connection, request, progress).await {
                Sent::Answer(response, link) => return Ok((response, link)),
                Sent::Unsent(unsent) if attempt < ATTEMPTS => request = *unsent,
                Sent::Unsent(_) => return Err(Failure::closed("the connection closed before the request was sent")),
                Sent::Unanswered(failure) => match spare.filter(|_| attempt < ATTEMPTS) {
                    Some(spare) => request = spare.into_request(RequestBody::empty(progress)).ok_or(failure)?,
                    None => return Err(failure),
                },
                Sent::Failed(failure) => return Err(failure),
            }
            connection = self.pool.fresh().await.map_err(Failure::from)?;
        }
        unreachable!("the loop returns on its last attempt")
    }

    async fn try_send(&self, connection: Connection, request: Request<RequestBody>, progress: &BodyProgress) -> Sent {
        match connection {
            Connection::Http2(mut sender) => {
                let answer = pin!(sender.try_send_request(request));
                match self.deadline(answer, progress).await {
                    Ok(response) => Sent::Answer(response, None),
                    Err(error) => unsuccessful(error, true, progress),
                }
            }
            Connection::Http1 { mut link, .. } => {
                let before = link.received.bytes();
                let answer = pin!(link.sender.try_send_request(request));
                match self.deadline(answer, progress).await {
                    Ok(response) => Sent::Answer(response, Some(link)),
                    Err(error) => unsuccessful(error, link.received.bytes() > before, progress),
                }
            }
        }
    }

    /// Waits for the head no longer than allowed; `None`: too long.
    async fn deadline<F, R>(
        &self,
        mut answer: Pin<&mut F>,
        progress: &BodyProgress,
    ) -> Result<Response<Incoming>, Option<TrySendError<R>>>
    where
        F: Future<Output = Result<Response<Incoming>, TrySendError<R>>>,
    {
        let Some(limit) = self.pool.target().headers_timeout else { return answer.await.map_err(Some) };
        loop {
            let (ended, bytes) = (progress.ended.get(), progress.bytes.get());
            if let Ok(result) = tokio::time::timeout(limit, answer.as_mut()).await {
                return result.map_err(Some);
            }
            // An application cannot answer what it has not been sent: the time counts from the body's end.
            let still_sending = !ended && (progress.ended.get() || progress.bytes.get() > bytes);
            if !still_sending {
                return Err(None);
            }
        }
    }

    /// Both sides must know interim answers: the body waits for the application's.
    fn passes_expectation_on(&self, parts: &request::Parts) -> bool {
        let expected =
            parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        expected && parts.version == Version::HTTP_11 && self.pool.target().protocol == Protocol::Http1
    }

    /// Streams of gRPC are open for as long as either side likes, and silence is no fault; each costs a stream of a shared
    /// connection and not a connection.
    fn may_be_silent(&self, parts: &request::Parts) -> bool {
        let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        self.pool.target().protocol == Protocol::Http2
            && content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc"))
    }

    fn client_upgrade(&self, request: &mut Request<Incoming>) -> Option<(HeaderValue, OnUpgrade)> {
        if self.pool.target().protocol != Protocol::Http1 {
            return None;
        }
        let protocol = headers::wanted_upgrade(request)?;
        Some((protocol, hyper::upgrade::on(request)))
    }

    /// The request target in the form of the application's protocol (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
    fn address(&self, parts: &mut request::Parts) {
        let target = self.pool.target();
        match target.protocol {
            Protocol::Http1 => {
                parts.version = Version::HTTP_11;
                if parts.uri.authority().is_some() {
                    parts.uri = parts.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
                }
                if !parts.headers.contains_key(HOST) {
                    parts.headers.insert(HOST, target.authority.clone());
                }
            }
            Protocol::Http2 => {
                parts.version = Version::HTTP_2;
                let host = parts.headers.remove(HOST);
                let host = host.as_ref().unwrap_or(&target.authority);
                let authority =
                    Authority::try_from(host.as_bytes()).or_else(|_| Authority::try_from(target.authority.as_bytes()));
                let mut uri = std::mem::take(&mut parts.uri).into_parts();
                if let Ok(authority) = authority {
                    uri.scheme = Some(Scheme::HTTP);
                    uri.authority = Some(authority);
                }
                // Every part comes from a valid URI.
                parts.uri = Uri::from_parts(uri).unwrap_or_default();
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where all that one exchange holds comes together")]
    fn answer(
        &self,
        mut response: Response<Incoming>,
        link: Option<Link>,
        client: Option<(HeaderValue, OnUpgrade)>,
        place: Place,
        release: Option<Release>,
        progress: &Rc<BodyProgress>,
        waited: Duration,
    ) -> Answer {
        let switched = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
        let upgraded = client.filter(|_| switched).map(|(_, client)| (client, hyper::upgrade::on(&mut response)));
        let (mut parts, body) = response.into_parts();
        parts.extensions.clear();
        // The application's version is its connection's affair.
        parts.version = Version::HTTP_11;
        let protocol = upgraded.is_some().then(|| parts.headers.get(http::header::UPGRADE).cloned()).flatten();
        headers::rewrite_answer(&mut parts.headers);
        if let Some(protocol) = protocol {
            parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(http::header::UPGRADE, protocol);
        }
        let place = if upgraded.is_some() { None } else { Some(place) };
        let body = AnswerBody::new(body, link, Rc::clone(&self.pool), place, release, Rc::clone(progress));
        Answer { response: Response::from_parts(parts, Box::new(body)), upgraded, waited }
    }
}

fn unsuccessful(error: Option<TrySendError<Request<RequestBody>>>, answered: bool, progress: &BodyProgress) -> Sent {
    let Some(mut error) = error else {
        return Sent::Failed(Failure::Upstream {
            reason: UpstreamErrorReason::HeadersTimeout,
            detail: "no answer within limits.upstreamHeaders".to_owned(),
        });
    };
    if let Some(request) = error.take_message() {
        return Sent::Unsent(Box::new(request));
    }
    if progress.too_large.get() {
        return Sent::Failed(Failure::TooLarge);
    }
    if let Some(broken) = progress.broken.get() {
        return Sent::Failed(Failure::Body(broken));
    }
    let error = error.error();
    if error.is_parse() || error.is_parse_too_large() {
        let reason = UpstreamErrorReason::Protocol;
        return Sent::Failed(Failure::Upstream { reason, detail: error.to_string() });
    }
    let failure = Failure::closed(&error.to_string());
    if answered { Sent::Failed(failure) } else { Sent::Unanswered(failure) }
}

impl Failure {
    fn closed(detail: &str) -> Self {
        Self::Upstream { reason: UpstreamErrorReason::Closed, detail: detail.to_owned() }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Upstream { reason: error.reason, detail: error.detail }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    #[test]
    fn the_library_agrees_on_what_is_idempotent() {
        for (method, repeatable) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::OPTIONS, true),
            (Method::POST, false),
            (Method::PATCH, false),
        ] {
            assert_eq!(method.is_idempotent(), repeatable, "{method}");
        }
    }
}
