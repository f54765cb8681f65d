//! A request's body on its way to the application: bounded, counted, its trailers stripped, held back where asked.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

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
    /// Pieces of the answer that have come meanwhile.
    pub(crate) answered: Cell<u64>,
}

/// How a request's body ends that never comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Its framing is wrong (RFC 9112, section 7.1).
    Malformed,
    /// The client has left in the middle of it.
    ClientLeft,
    /// The client has sent nothing for too long.
    Stalled,
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

/// `None`: there is none. Small, for a request is moved often on its way.
pub(crate) struct RequestBody(Option<Box<Streaming>>);

struct Streaming {
    source: Incoming,
    limit: u64,
    progress: Rc<BodyProgress>,
    identity: Arc<IdentityHeaders>,
    keep_claims: bool,
    held: Option<Held>,
    patience: Option<Patience>,
}

impl RequestBody {
    pub(crate) fn empty(progress: &BodyProgress) -> Self {
        progress.ended.set(true);
        Self(None)
    }

    /// `patience`: ends where nothing comes from the client for as long as this, while nothing comes from the
    /// application either.
    pub(crate) fn streaming(
        source: Incoming,
        limit: Option<u64>,
        progress: Rc<BodyProgress>,
        identity: Arc<IdentityHeaders>,
        keep_claims: bool,
        patience: Option<Duration>,
    ) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        let patience = patience.map(|length| Patience { length, answered: 0, armed: false, deadline: None });
        Self(Some(Box::new(Streaming { source, limit, progress, identity, keep_claims, held: None, patience })))
    }

    pub(crate) fn hold(&mut self, held: Held) {
        if let Some(streaming) = &mut self.0 {
            streaming.held = Some(held);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    TooLarge,
    ClientBroke,
    ClientStalled,
    NotWanted,
}

impl std::fmt::Display for BodyEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request body is larger than allowed",
            Self::ClientBroke => "the client broke off in its body",
            Self::ClientStalled => "the client does not go on with its body",
            Self::NotWanted => "the answer came without the body",
        })
    }
}

impl std::error::Error for BodyEnd {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyEnd;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyEnd>>> {
        let Some(this) = self.get_mut().0.as_deref_mut() else { return Poll::Ready(None) };
        if let Some(held) = &mut this.held {
            let wanted = ready!(held.poll_asked(cx));
            this.held = None;
            if !wanted {
                return Poll::Ready(Some(Err(BodyEnd::NotWanted)));
            }
        }
        let Poll::Ready(frame) = Pin::new(&mut this.source).poll_frame(cx) else {
            let Some(patience) = &mut this.patience else { return Poll::Pending };
            ready!(patience.poll(cx, &this.progress));
            this.progress.broken.set(Some(Broken::Stalled));
            return Poll::Ready(Some(Err(BodyEnd::ClientStalled)));
        };
        if let Some(patience) = &mut this.patience {
            patience.armed = false;
        }
        match frame {
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
                    if this.source.is_end_stream() {
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
        self.0.as_ref().is_none_or(|this| this.held.is_none() && this.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |this| this.source.size_hint())
    }
}

/// How long a client may send nothing.
struct Patience {
    length: Duration,
    /// Pieces of the answer when the wait began.
    answered: u64,
    armed: bool,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ready when it is over.
    fn poll(&mut self, cx: &mut Context<'_>, progress: &BodyProgress) -> Poll<()> {
        loop {
            let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.length)));
            if !self.armed {
                deadline.as_mut().reset(Instant::now() + self.length);
                (self.armed, self.answered) = (true, progress.answered.get());
            }
            ready!(deadline.as_mut().poll(cx));
            if progress.answered.get() == self.answered {
                return Poll::Ready(());
            }
            // Both ways at once: the application still has something to say.
            self.armed = false;
        }
    }
}
