//! One stream of HTTP/2: ends when its client takes nothing of its answer for too long, whatever else the connection does.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep};

use super::roster::Roster;

tokio::task_local! {
    static CURRENT: Turn;
}

/// Whether an answer waits for the application or for the client. The HTTP library asks for an answer's next piece only
/// when the client's window has let it send the last one.
#[derive(Clone, Default)]
pub(crate) struct Turn(Rc<State>);

#[derive(Default)]
struct State {
    is_clients: Cell<bool>,
    pieces: Cell<u64>,
}

impl Turn {
    /// That of the stream whose request is being served right now; HTTP/1.1 has none.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// A piece has been handed over, for the client to take.
    pub(crate) fn is_clients(&self) {
        self.0.is_clients.set(true);
        self.0.pieces.set(self.0.pieces.get().wrapping_add(1));
    }

    /// The next piece is asked for.
    pub(crate) fn is_ours(&self) {
        self.0.is_clients.set(false);
    }
}

/// Runs the streams of one connection on the worker's thread.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    /// How long a client may take nothing.
    pub(super) patience: Duration,
    /// Says when all streams are cut off.
    pub(super) roster: Rc<Roster>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        let stream =
            Stream { serving: Box::pin(future), turn: Turn::default(), waiting: None, patience: self.patience };
        let roster = Rc::clone(&self.roster);
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                () = stream => {}
                () = roster.has_been_cut() => {}
            }
        });
    }
}

struct Stream<F> {
    serving: Pin<Box<F>>,
    turn: Turn,
    /// The number of the piece that is not taken, and until when it must be.
    waiting: Option<(u64, Pin<Box<Sleep>>)>,
    patience: Duration,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    /// Ended early, the stream is reset, for nothing holds it any more.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if CURRENT.sync_scope(this.turn.clone(), || this.serving.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        if !this.turn.0.is_clients.get() {
            return Poll::Pending;
        }
        let piece = this.turn.0.pieces.get();
        match &mut this.waiting {
            Some((waiting, _)) if *waiting == piece => {}
            Some((waiting, deadline)) => {
                *waiting = piece;
                deadline.as_mut().reset(Instant::now() + this.patience);
            }
            None => this.waiting = Some((piece, Box::pin(sleep(this.patience)))),
        }
        this.waiting.as_mut().map_or(Poll::Pending, |(_, deadline)| deadline.as_mut().poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use super::*;

    async fn lifetime(future: impl Future<Output = ()>) -> u64 {
        let (started, patience) = (Instant::now(), Duration::from_secs(120));
        let stream = Stream { serving: Box::pin(future), turn: Turn::default(), waiting: None, patience };
        match tokio::time::timeout(Duration::from_secs(3600), stream).await {
            Ok(()) => started.elapsed().as_secs(),
            Err(_) => 3600,
        }
    }

    fn turn() -> Turn {
        Turn::current().expect("within a stream")
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_takes_nothing_ends_its_stream() {
        let application = lifetime(pending()).await;
        assert_eq!(application, 3600, "the application may take as long as it likes");
        let client = lifetime(async {
            turn().is_clients();
            pending::<()>().await;
        });
        assert_eq!(client.await, 120);
        let slow = lifetime(async {
            for _ in 0..10 {
                turn().is_clients();
                sleep(Duration::from_secs(100)).await;
                turn().is_ours();
            }
            turn().is_clients();
            pending::<()>().await;
        });
        assert_eq!(slow.await, 1120, "each piece has its time");
        let quiet = lifetime(async {
            turn().is_clients();
            sleep(Duration::from_secs(100)).await;
            turn().is_ours();
            poll_fn(|_| Poll::<()>::Pending).await;
        });
        assert_eq!(quiet.await, 3600, "nothing is owed");
    }
}
