//! The watches that go through a `Front`: what they say, and what they are made to say.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};

/// Events on their way to a slow client.
const EVENTS: usize = 64;

/// All open watches.
#[derive(Clone, Default)]
pub(super) struct Watches {
    open: Arc<Mutex<Vec<Open>>>,
    dropping: watch::Sender<bool>,
}

/// What is done to a watch.
#[derive(Clone)]
pub(super) enum Change {
    /// A line of JSON.
    Event(Bytes),
    End,
}

struct Open {
    secret: String,
    changes: mpsc::UnboundedSender<Change>,
}

impl Watches {
    pub(super) fn drop_events(&self, drop: bool) {
        self.dropping.send_replace(drop);
    }

    /// Does it to all open watches of a Secret, and returns how many these are.
    pub(super) fn change(&self, secret: &str, change: &Change) -> usize {
        let open = self.watching();
        open.iter().filter(|open| open.secret == secret && open.changes.send(change.clone()).is_ok()).count()
    }

    /// How many watches of a Secret are open.
    pub(super) fn open(&self, secret: &str) -> usize {
        self.watching().iter().filter(|open| open.secret == secret && !open.changes.is_closed()).count()
    }

    /// The body for the client of a watch whose answer is `body`.
    pub(super) fn follow(&self, secret: &str, body: Incoming) -> UnsyncBoxBody<Bytes, io::Error> {
        let (changes, to_do) = mpsc::unbounded_channel();
        let mut watching = self.watching();
        watching.retain(|open| !open.changes.is_closed());
        watching.push(Open { secret: secret.to_owned(), changes });
        let (events, told) = mpsc::channel(EVENTS);
        tokio::spawn(relay(body, to_do, self.dropping.subscribe(), events));
        let frames = stream::unfold(told, async |mut told| {
            let event: io::Result<Bytes> = told.recv().await?;
            Some((event.map(Frame::data), told))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    fn watching(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().expect("nobody panics under this lock")
    }
}

/// Hands events on, whole lines, until either side ends or a change does.
async fn relay(
    mut body: Incoming,
    mut changes: mpsc::UnboundedReceiver<Change>,
    dropping: watch::Receiver<bool>,
    events: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut buffer = BytesMut::new();
    loop {
        let lines = tokio::select! {
            () = events.closed() => return,
            change = changes.recv() => match change {
                Some(Change::Event(line)) => line,
                Some(Change::End) | None => return,
            },
            frame = body.frame() => match frame {
                None => return,
                Some(Err(error)) => return drop(events.send(Err(io::Error::other(error))).await),
                Some(Ok(frame)) => {
                    buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    let end = buffer.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
                    let lines = buffer.split_to(end).freeze();
                    if *dropping.borrow() { Bytes::new() } else { lines }
                }
            },
        };
        if !lines.is_empty() && events.send(Ok(lines)).await.is_err() {
            return;
        }
    }
}
