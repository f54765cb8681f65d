//! Closes a client's byte stream so that the client can read what was sent last.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A client that is still sending when its answer has been sent must be able to read it: closing a socket with bytes
/// unread resets the connection, and takes the answer back (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// Wraps a stream whose shutdown takes until the other side has closed as well, or for as long as it is worth.
pub(crate) struct Linger<T> {
    inner: T,
    /// What may be read and thrown away.
    bytes: usize,
    /// Our side is closed; the client's is waited for.
    lingering: Option<Lingering>,
}

struct Lingering {
    deadline: Pin<Box<Sleep>>,
    /// What is left of it.
    bytes: usize,
}

impl<T> Linger<T> {
    /// `bytes`: how much may be read and thrown away.
    pub(crate) fn new(inner: T, bytes: usize) -> Self {
        Self { inner, bytes, lingering: None }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Linger<T> {
    /// Closes our side, and leaves the client's to whoever reads on.
    pub(super) fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    /// Throws away what comes.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(lingering) = &mut self.lingering else { return Poll::Ready(Ok(())) };
        let mut scratch = [MaybeUninit::uninit(); 8 * 1024];
        loop {
            let mut buf = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Pending => return lingering.deadline.as_mut().poll(cx).map(Ok),
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => match lingering.bytes.checked_sub(buf.filled().len()) {
                    Some(left) if left < lingering.bytes => lingering.bytes = left,
                    // The client has closed, or sends more than an answer is worth.
                    _ => return Poll::Ready(Ok(())),
                },
            }
        }
    }
}

impl<T: AsyncBufRead + Unpin> Linger<T> {
    /// Something has come, be it the end; it is left for the next read.
    pub(super) fn poll_come(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.inner).poll_fill_buf(cx).map(drop)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Linger<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(this.poll_half_close(cx))?;
            this.lingering = Some(Lingering { deadline: Box::pin(tokio::time::sleep(LINGER)), bytes: this.bytes });
        }
        this.poll_linger(cx)
    }
}
