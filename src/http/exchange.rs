//! One request from its head to its answer's last byte: counted, timed, and written to the access log at its end.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::peer::Peer;
use super::reply::Reply;
use crate::auth::uuid;
use crate::gate::Identity;
use crate::metrics::Outcome;
use crate::proxy::{AnswerBody, BodyProgress, X_REQUEST_ID};
use crate::server::{Hidden, ServingGuard, Turn};
use crate::telemetry;

/// nginx's code for a client that left before its answer; nothing was sent.
const CLIENT_LEFT: u16 = 499;

/// What is known of a request; its end is recorded when it is dropped.
pub(crate) struct Exchange {
    peer: Rc<Peer>,
    serving: ServingGuard,
    method: Method,
    uri: Uri,
    version: Version,
    pub(super) request_id: HeaderValue,
    /// Where the request comes from, as far as trusted proxies tell.
    pub(super) source: IpAddr,
    pub(super) hidden: Hidden,
    pub(super) progress: Rc<BodyProgress>,
    pub(super) identity: Option<Rc<Identity>>,
    /// Who logged in, where that was what the request was for.
    pub(super) login_user: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) upstream: Option<Duration>,
    /// What was sent; `None`: nobody was there to read it.
    status: Option<u16>,
    client_left: bool,
    bytes_out: u64,
}

impl Exchange {
    pub(super) fn begin(peer: &Rc<Peer>, request: &mut Request<Incoming>, outcome: Outcome) -> Box<Self> {
        let request_id = request.headers().get(X_REQUEST_ID).filter(|id| !id.is_empty()).cloned();
        let request_id = request_id.unwrap_or_else(|| {
            let mut made = HeaderValue::from_maybe_shared(Bytes::from(uuid::v4())).expect("a UUID is visible ASCII");
            // Another for each request: HTTP/2's table of fields has better use for its space (RFC 7541, section 7.1.3).
            made.set_sensitive(true);
            request.headers_mut().insert(X_REQUEST_ID, made.clone());
            made
        });
        let progress = BodyProgress { ended: Cell::new(request.body().is_end_stream()), ..BodyProgress::default() };
        Box::new(Self {
            peer: Rc::clone(peer),
            serving: peer.activity.serve(length(request.body())),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            request_id,
            source: peer.source(request.headers()),
            hidden: peer.activity.take_hidden(),
            progress: Rc::new(progress),
            identity: None,
            login_user: None,
            outcome,
            upstream: None,
            status: None,
            client_left: false,
            bytes_out: 0,
        })
    }

    /// What the application did wrong, where nothing was wrong before: in shadow mode the refusal that would have been
    /// counts.
    pub(super) fn upstream_failed(&mut self) {
        if matches!(self.outcome, Outcome::Forwarded | Outcome::Open) {
            self.outcome = Outcome::UpstreamError;
        }
    }

    /// Whatever is answered from here on, nobody reads it.
    pub(super) fn client_left(&mut self) {
        self.client_left = true;
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The answer is decided; what is left of the exchange travels with its body.
    pub(super) fn answered(
        mut self: Box<Self>,
        response: Response<impl Into<Source>>,
        outcome: Outcome,
    ) -> Response<ReplyBody> {
        if !self.client_left {
            self.outcome = outcome;
            self.status = Some(response.status().as_u16());
            self.serving.answered();
        }
        let (mut head, source) = response.into_parts();
        let mut source = source.into();
        let is_http1 = self.version < Version::HTTP_2 && head.status != StatusCode::SWITCHING_PROTOCOLS;
        // What nobody reads of a request's body is no next request: the connection ends with the answer.
        let is_unread = matches!(source, Source::Full(_)) && !self.progress.ended.get();
        if is_http1 && (is_unread || self.peer.activity.is_draining()) {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let (&Method::HEAD, Source::Full(bytes)) = (&self.method, &mut source) {
            // HTTP/2 does not leave the body out by itself (RFC 9110, section 9.3.2).
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            bytes.clear();
        }
        let turn = Turn::current();
        if let Some(turn) = &turn {
            turn.is_clients();
            detach(&mut head.headers);
        }
        Response::from_parts(head, ReplyBody { source, exchange: self, turn })
    }

    /// An answer of Vestibule's own.
    pub(super) fn replied(self: Box<Self>, reply: Reply) -> Response<ReplyBody> {
        self.answered(reply.response, reply.outcome)
    }
}

/// HTTP/2 remembers fields as long as a connection lives (RFC 7541, section 2.3.2). A value that is a part of the buffer
/// into which the application's answer was read would keep all of it: each is copied into memory of its own.
fn detach(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let is_sensitive = value.is_sensitive();
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
            value.set_sensitive(is_sensitive);
        }
    }
}

/// Of a body, where it is known.
fn length(body: &Incoming) -> Option<u64> {
    if body.is_end_stream() { Some(0) } else { body.size_hint().exact() }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.serving.read(self.progress.bytes.get());
        let worker = &self.peer.worker;
        let took = self.serving.ended();
        let status = self.status.unwrap_or(CLIENT_LEFT);
        worker.metrics.request(self.outcome, status, took);
        if worker.log.access_enabled() {
            let user = self.identity.as_ref().map(|identity| identity.user.name()).or(self.login_user.as_deref());
            worker.log.access(&telemetry::Access {
                method: self.method.as_str(),
                path: self.uri.path(),
                protocol: match self.version {
                    Version::HTTP_2 => "HTTP/2",
                    Version::HTTP_10 => "HTTP/1.0",
                    _ => "HTTP/1.1",
                },
                status,
                outcome: self.outcome,
                bytes_in: self.progress.bytes.get(),
                bytes_out: self.bytes_out,
                duration: took,
                upstream: self.upstream,
                user,
                source: self.source,
                request_id: self.request_id.to_str().unwrap_or_default(),
            });
        }
    }
}

/// The body of every answer, ours or the application's.
pub(crate) struct ReplyBody {
    source: Source,
    exchange: Box<Exchange>,
    turn: Option<Turn>,
}

/// Where an answer's body comes from.
pub(super) enum Source {
    Full(Bytes),
    Application(Box<AnswerBody>),
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self::Full(bytes)
    }
}

impl From<Box<AnswerBody>> for Source {
    fn from(body: Box<AnswerBody>) -> Self {
        Self::Application(body)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(turn) = &this.turn {
            turn.is_ours();
        }
        let mut frame = match &mut this.source {
            Source::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Application(body) => Pin::new(&mut **body).poll_frame(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.exchange.bytes_out += data.len() as u64;
        }
        if let (Some(turn), Poll::Ready(frame)) = (&this.turn, &mut frame) {
            turn.is_clients();
            if let Some(Ok(frame)) = frame
                && let Some(trailers) = frame.trailers_mut()
            {
                detach(trailers);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_empty(),
            Source::Application(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Application(body) => body.size_hint(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if let Source::Application(body) = &self.source
            && body.failed()
        {
            let exchange = &mut self.exchange;
            exchange.upstream_failed();
            exchange.peer.worker.upstream_broke_off(&exchange.request_id);
        }
    }
}
