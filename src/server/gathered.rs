//! What an HTTP/2 connection writes in one go, sent together: answers of several streams share a TLS record and a system
//! call.
//!
//! The HTTP library hands over and flushes each answer by itself. Here they wait until it has nothing more to do.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::kept_heads::KeptHeads;

/// What one TLS record holds (RFC 8446, section 5.1); more than that does not wait.
const RECORD: usize = 16 * 1024;

/// The stream that the HTTP library reads and writes. Clones share it: one goes to the library, one to [`InTurns`].
pub(super) struct Gathered<T>(Rc<RefCell<State<T>>>);

struct State<T> {
    inner: T,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that `inner` has taken.
    taken: usize,
    /// `inner` may hold bytes that the system has not taken.
    unflushed: bool,
    /// The system takes no more: until it does, nothing is added.
    stalled: bool,
    heads: KeptHeads,
    /// What the library may keep for them; beyond it nothing more is read.
    most_kept: usize,
}

impl<T> Clone for Gathered<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Gathered<T> {
    /// `most_kept`: bytes that the library may keep for the client's heads; then the connection ends.
    pub(super) fn new(inner: T, most_kept: usize) -> Self {
        let (waiting, heads) = (Vec::new(), KeptHeads::new());
        let state = State { inner, waiting, taken: 0, unflushed: false, stalled: false, heads, most_kept };
        Self(Rc::new(RefCell::new(state)))
    }

    /// Bytes that the library may keep for the heads that it has read.
    pub(super) fn kept(&self) -> usize {
        self.0.borrow().heads.bytes()
    }
}

impl<T: AsyncWrite + Unpin> State<T> {
    /// Sends what waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stalled = true;
        while self.taken < self.waiting.len() {
            let taken = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.waiting[self.taken..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
        }
        // An idle connection keeps no buffer.
        (self.waiting, self.taken) = (Vec::new(), 0);
        if self.unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        }
        (self.unflushed, self.stalled) = (false, false);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.borrow_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut state.inner).poll_read(cx, buf))?;
        state.heads.read(&buf.filled()[before..]);
        if state.heads.bytes() > state.most_kept {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.borrow_mut();
        let more: usize = bufs.iter().map(|buf| buf.len()).sum();
        if state.stalled || state.waiting.len() + more > RECORD {
            ready!(state.poll_send(cx))?;
        }
        state.unflushed = true;
        if more > RECORD {
            return Pin::new(&mut state.inner).poll_write_vectored(cx, bufs);
        }
        if state.waiting.capacity() == 0 {
            state.waiting.reserve_exact(RECORD);
        }
        for buf in bufs {
            state.waiting.extend_from_slice(buf);
        }
        Poll::Ready(Ok(more))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing yet: [`InTurns`] does it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.borrow_mut();
        ready!(state.poll_send(cx))?;
        Pin::new(&mut state.inner).poll_shutdown(cx)
    }
}

/// A connection that sends what it has written each time that it has nothing more to do.
pub(super) struct InTurns<'a, C, T> {
    pub(super) connection: Pin<&'a mut C>,
    pub(super) io: Gathered<T>,
}

impl<C: Future, T: AsyncWrite + Unpin> Future for InTurns<'_, C, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match self.io.0.borrow_mut().poll_send(cx) {
            // The client is gone.
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, poll_fn};
    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Notes how much was written at once, and takes nothing while it is full.
    #[derive(Default)]
    struct Socket {
        writes: Vec<usize>,
        full: bool,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            if self.full {
                return Poll::Pending;
            }
            self.writes.push(buf.len());
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.full { Poll::Pending } else { Poll::Ready(Ok(())) }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn writes(io: &Gathered<Socket>) -> Vec<usize> {
        io.0.borrow().inner.writes.clone()
    }

    /// One turn of a connection that writes these many bytes, flushing each; what it wrote at all.
    async fn turn(io: &Gathered<Socket>, sizes: &[usize]) -> usize {
        let written = Cell::new(0);
        let mut library = io.clone();
        let connection = pin!(async {
            for size in sizes {
                library.write_all(&vec![b'a'; *size]).await.expect("it takes them");
                library.flush().await.expect("it takes them");
                written.set(written.get() + size);
            }
            pending::<()>().await;
        });
        let mut in_turns = InTurns { connection, io: io.clone() };
        poll_fn(|cx| {
            assert!(Pin::new(&mut in_turns).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        written.get()
    }

    #[tokio::test]
    async fn what_is_written_in_one_turn_is_sent_at_its_end_as_one() {
        let io = Gathered::new(Socket::default(), usize::MAX);
        turn(&io, &[100, 1_000, 1]).await;
        assert_eq!(writes(&io), [1_101]);
        turn(&io, &[7]).await;
        assert_eq!(writes(&io), [1_101, 7]);
        assert_eq!(io.0.borrow().waiting.capacity(), 0, "an idle connection keeps no buffer");
    }

    #[tokio::test]
    async fn no_more_waits_than_a_record_holds_and_in_order() {
        let io = Gathered::new(Socket::default(), usize::MAX);
        turn(&io, &[100, RECORD, 5, RECORD + 1, 6]).await;
        assert_eq!(writes(&io), [100, RECORD, 5, RECORD + 1, 6]);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_makes_the_library_wait() {
        let io = Gathered::new(Socket { full: true, ..Socket::default() }, usize::MAX);
        assert_eq!(turn(&io, &[100, 200]).await, 300, "what one turn wrote waits");
        assert_eq!(turn(&io, &[300]).await, 0, "the next one waits with it");
        io.0.borrow_mut().inner.full = false;
        assert_eq!(turn(&io, &[400]).await, 400);
        assert_eq!(writes(&io), [300, 400]);
    }

    #[tokio::test]
    async fn an_end_is_not_before_what_was_written() {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut io = Gathered::new(near, usize::MAX);
        io.write_all(b"goodbye").await.expect("a duplex takes it");
        io.shutdown().await.expect("a duplex closes");
        let mut seen = String::new();
        far.read_to_string(&mut seen).await.expect("text");
        assert_eq!(seen, "goodbye");
    }
}
