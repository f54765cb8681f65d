//! An answer's body on its way to the client; when it has ended, its connection is free for the next request.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::expect::Release;
use super::in_flight::Place;
use super::pool::{Link, Pool};
use super::request_body::{BodyProgress, Broken};

pub(crate) struct AnswerBody {
    source: Incoming,
    ended: bool,
    failed: bool,
    link: Option<Link>,
    pool: Rc<Pool>,
    _place: Option<Place>,
    release: Option<Release>,
    progress: Rc<BodyProgress>,
}

impl AnswerBody {
    pub(super) fn new(
        source: Incoming,
        link: Option<Link>,
        pool: Rc<Pool>,
        place: Option<Place>,
        release: Option<Release>,
        progress: Rc<BodyProgress>,
    ) -> Self {
        Self { source, ended: false, failed: false, link, pool, _place: place, release, progress }
    }

    /// The application broke off in its answer.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// The whole answer has been taken.
    pub(crate) fn complete(&self) -> bool {
        self.ended || self.source.is_end_stream()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.source).poll_frame(cx));
        match &frame {
            None => this.ended = true,
            // What its client has not finished, the application cannot answer.
            Some(Err(_)) => this.failed = this.progress.broken.get() != Some(Broken::Stalled),
            Some(Ok(_)) => this.progress.answered.set(this.progress.answered.get().wrapping_add(1)),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(release) = &self.release {
            release.cancel();
        }
        // An answer that came before its request had ended leaves the connection in the middle of it.
        if self.complete()
            && self.progress.ended.get()
            && let Some(link) = self.link.take()
        {
            self.pool.put_back(link);
        }
    }
}
