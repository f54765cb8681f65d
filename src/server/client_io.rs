//! The client's byte stream: notes when a request head begins, and gives the HTTP library's bare refusals our form.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::head_scan::HeadScan;
use super::linger::Linger;

/// A head that the HTTP library refused before any service saw it: answers with the bytes to send instead.
pub(crate) trait HeadRefused: Send {
    fn refused(&self, status: u16) -> Bytes;
}

/// Wraps the (TLS) stream of one HTTP/1.1 client.
pub(crate) struct ClientIo<T> {
    inner: Linger<T>,
    activity: Activity,
    refused: Box<dyn HeadRefused>,
    /// Our form of the refusal that the library is writing: what is left of it, and the library's own length.
    replacement: Option<(Bytes, usize)>,
    scan: HeadScan,
}

impl<T> ClientIo<T> {
    pub(crate) fn new(inner: Linger<T>, activity: Activity, refused: Box<dyn HeadRefused>) -> Self {
        Self { inner, activity, refused, replacement: None, scan: HeadScan::new() }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClientIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        let bytes = &buf.filled()[before..];
        if !bytes.is_empty() && !this.activity.is_tunnel() {
            if this.activity.received() {
                this.scan.begin();
            }
            if !this.scan.is_within() {
                this.activity.came_behind(bytes.len());
            } else if let Some((hidden, behind)) = this.scan.read(bytes) {
                this.activity.head_ended(hidden);
                this.activity.came_behind(behind);
            }
        }
        result
    }
}

impl<T: AsyncBufRead + Unpin> ClientIo<T> {
    /// Something has come, be it the end; it is left for the next read.
    pub(super) fn poll_come(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_come(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> ClientIo<T> {
    /// Sends our reply where the library writes one of its own: `None` where these bytes are the service's.
    fn poll_replacement(&mut self, cx: &mut Context<'_>, first: &[u8], len: usize) -> Poll<Option<io::Result<usize>>> {
        if self.activity.is_tunnel() {
            return Poll::Ready(None);
        }
        if self.replacement.is_none() {
            let Some(status) = library_refusal(first).filter(|_| self.activity.owes_nothing()) else {
                return Poll::Ready(None);
            };
            self.replacement = Some((self.refused.refused(status), len));
        }
        while let Some((rest, len)) = &mut self.replacement {
            if rest.is_empty() {
                let len = *len;
                self.replacement = None;
                return Poll::Ready(Some(Ok(len)));
            }
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(written) => rest.advance(written),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match ready!(this.poll_replacement(cx, buf, buf.len())) {
            Some(result) => Poll::Ready(result),
            None => Pin::new(&mut this.inner).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first = bufs.first().map_or(&[][..], |slice| slice);
        match ready!(this.poll_replacement(cx, first, bufs.iter().map(|slice| slice.len()).sum())) {
            Some(result) => Poll::Ready(result),
            None => Pin::new(&mut this.inner).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.inner).poll_flush(cx));
        this.activity.flushed();
        Poll::Ready(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.is_tunnel() {
            return this.inner.poll_half_close(cx);
        }
        this.activity.closes();
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

/// The status of a refusal, if these bytes begin one: `HTTP/1.1 4xx ...`.
fn library_refusal(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" 4")?;
    let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    Some(400 + u16::from(digits[0] - b'0') * 10 + u16::from(digits[1] - b'0'))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Form;
    impl HeadRefused for Form {
        fn refused(&self, status: u16) -> Bytes {
            Bytes::from(format!("ours {status}"))
        }
    }

    #[tokio::test]
    async fn a_refusal_of_the_library_takes_our_form_and_an_answer_of_the_service_stays() {
        let (near, mut far) = tokio::io::duplex(1024);
        let activity = Activity::new();
        let mut io = ClientIo::new(Linger::new(near, 0), activity.clone(), Box::new(Form));
        io.write_all(b"HTTP/1.1 431 Too Large\r\n\r\n").await.expect("a duplex takes it");
        let guard = activity.serve(Some(0));
        drop(guard);
        io.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.expect("a duplex takes it");
        io.flush().await.expect("a duplex flushes");
        drop(io);
        let mut seen = String::new();
        far.read_to_string(&mut seen).await.expect("text");
        assert_eq!(seen, "ours 431HTTP/1.1 404 Not Found\r\n\r\n");
    }

    #[test]
    fn only_refusals_are_recognised() {
        assert_eq!(library_refusal(b"HTTP/1.1 400 Bad"), Some(400));
        assert_eq!(library_refusal(b"HTTP/1.0 414 x"), Some(414));
        for other in [&b"HTTP/1.1 200 OK"[..], b"HTTP/1.1 4", b"HTTP/1.1 100 Continue", b"garbage", b""] {
            assert_eq!(library_refusal(other), None);
        }
    }
}
