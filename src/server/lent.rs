//! A byte stream that comes back: the HTTP library owns what it drives, and a connection at rest does without the library.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where a stream comes back to.
pub(super) struct Owner<T>(Arc<Mutex<Option<Box<T>>>>);

/// The stream for somebody else; dropped, it goes back to its owner, or ends with the last of both.
pub(super) struct Lent<T> {
    /// There until the drop.
    stream: Option<Box<T>>,
    owner: Owner<T>,
}

impl<T> Owner<T> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn lend(&self, stream: Box<T>) -> Lent<T> {
        Lent { stream: Some(stream), owner: Self(Arc::clone(&self.0)) }
    }

    /// What has come back.
    pub(super) fn take(&self) -> Option<Box<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        *self.owner.0.lock().unwrap_or_else(PoisonError::into_inner) = self.stream.take();
    }
}

impl<T: Unpin> Lent<T> {
    fn stream(self: Pin<&mut Self>) -> Pin<&mut T> {
        Pin::new(self.get_mut().stream.as_mut().expect("only the drop takes it"))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lent<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Lent<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
