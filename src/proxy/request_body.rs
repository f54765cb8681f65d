//! A request's body on its way to the application: bounded, counted, its trailers stripped, held back where asked.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::expect::Held;
use super::headers::strip_trailers;
use crate::gate::IdentityHeaders;

/// What has become of a request's body; read by whoever waits for the answer.
#[derive(Debug, Default)]
pub(crate) struct BodyProgress {
    pub(crate) bytes: Cell<u64>,
    pub(crate) too_large: Cell<bool>,
    /// The last byte has been handed over.
    pub(crate) ended: Cell<bool>,
    /// Nothing more can come of it, and why.
    pub(crate) broken: Cell<Option<Broken>>,
}

/// How a request's body ends that never comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Its framing is wrong (RFC 9112, section 7.1).
    Malformed,
    /// The client has left in the middle of it.
    ClientLeft,
}

impl From<&hyper::Error> for Broken {
    fn from(error: &hyper::Error) -> Self {
        let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Malformed,
            _ => Self::ClientLeft,
        }
    }
}

pub(crate) struct RequestBody {
    source: Option<Incoming>,
    limit: u64,
    progress: Rc<BodyProgress>,
    identity: Arc<IdentityHeaders>,
    keep_claims: bool,
    held: Option<Held>,
}

impl RequestBody {
    pub(crate) fn empty(identity: Arc<IdentityHeaders>, progress: Rc<BodyProgress>) -> Self {
        progress.ended.set(true);
        Self { source: None, limit: 0, progress, identity, keep_claims: false, held: None }
    }

    pub(crate) fn streaming(
        source: Incoming,
        limit: Option<u64>,
        progress: Rc<BodyProgress>,
        identity: Arc<IdentityHeaders>,
        keep_claims: bool,
    ) -> Self {
        Self { source: Some(source), limit: limit.unwrap_or(u64::MAX), progress, identity, keep_claims, held: None }
    }

    pub(crate) fn identity(&self) -> Arc<IdentityHeaders> {
        Arc::clone(&self.identity)
    }

    pub(crate) fn hold(&mut self, held: Held) {
        self.held = Some(held);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    TooLarge,
    ClientBroke,
    NotWanted,
}

impl std::fmt::Display for BodyEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request body is larger than allowed",
            Self::ClientBroke => "the client broke off in its body",
            Self::NotWanted => "the answer came without the body",
        })
    }
}

impl std::error::Error for BodyEnd {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyEnd;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyEnd>>> {
        let this = self.get_mut();
        if let Some(held) = &mut this.held {
            let wanted = ready!(held.poll_asked(cx));
            this.held = None;
            if !wanted {
                return Poll::Ready(Some(Err(BodyEnd::NotWanted)));
            }
        }
        let Some(source) = &mut this.source else { return Poll::Ready(None) };
        match ready!(Pin::new(&mut *source).poll_frame(cx)) {
            None => {
                this.progress.ended.set(true);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                this.progress.broken.set(Some(Broken::from(&error)));
                Poll::Ready(Some(Err(BodyEnd::ClientBroke)))
            }
            Some(Ok(mut frame)) => {
                if let Some(data) = frame.data_ref() {
                    let bytes = this.progress.bytes.get() + data.len() as u64;
                    this.progress.bytes.set(bytes);
                    if bytes > this.limit {
                        this.progress.too_large.set(true);
                        return Poll::Ready(Some(Err(BodyEnd::TooLarge)));
                    }
                    if source.is_end_stream() {
                        this.progress.ended.set(true);
                    }
                } else if let Some(trailers) = frame.trailers_mut() {
                    strip_trailers(trailers, &this.identity, this.keep_claims);
                    this.progress.ended.set(true);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.source.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.source.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
