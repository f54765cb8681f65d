//! The echo application's bodies: a text, events that go on for ever, or so many bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior, interval};

const BETWEEN_EVENTS: Duration = Duration::from_secs(1);

const FILLER: Bytes = Bytes::from_static(&[b'.'; 64 * 1024]);

pub(super) enum EchoBody {
    Whole(Bytes),
    Events {
        interval: Interval,
        next: u64,
    },
    /// So many bytes are still to be sent.
    Filler(u64),
}

impl EchoBody {
    pub(super) fn whole(text: impl Into<Bytes>) -> Self {
        Self::Whole(text.into())
    }

    /// Server-sent events (WHATWG HTML, section 9.2): one at once, then one a second, until the client leaves.
    pub(super) fn events() -> Self {
        let mut interval = interval(BETWEEN_EVENTS);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Events { interval, next: 1 }
    }

    pub(super) fn filler(bytes: u64) -> Self {
        Self::Filler(bytes)
    }
}

impl Body for EchoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut *self {
            Self::Whole(bytes) => std::mem::take(bytes),
            Self::Events { interval, next } => {
                ready!(interval.poll_tick(context));
                let id = *next;
                *next += 1;
                Bytes::from(format!("id: {id}\ndata: {{\"event\":{id}}}\n\n"))
            }
            Self::Filler(left) => {
                let part = usize::try_from(*left).unwrap_or(usize::MAX).min(FILLER.len());
                *left -= part as u64;
                FILLER.slice(..part)
            }
        };
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Events { .. } => false,
            Self::Filler(left) => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events { .. } => SizeHint::default(),
            Self::Filler(left) => SizeHint::with_exact(*left),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn filler_is_as_long_as_it_says() {
        for length in [0, 1, FILLER.len() as u64, FILLER.len() as u64 + 1, 1_000_000] {
            let body = EchoBody::filler(length);
            assert_eq!(body.size_hint().exact(), Some(length));
            assert_eq!(body.collect().await.unwrap().to_bytes().len() as u64, length);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_event_comes_at_once_and_then_one_a_second() {
        let started = tokio::time::Instant::now();
        let mut events = EchoBody::events();
        for count in 0..3_u64 {
            let frame = events.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame, format!("id: {0}\ndata: {{\"event\":{0}}}\n\n", count + 1));
            assert_eq!(started.elapsed().as_secs(), count);
        }
    }
}
