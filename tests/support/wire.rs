//! HTTP/1.1 byte by byte, for what no proper client or server would send.

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::within;

/// A stream and what was read from it but not looked at yet.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: BytesMut,
}

/// The start line and the fields of a message, in their order and spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {}", self.start))
    }

    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request, as it was sent.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a field, its name in any case.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that stands once, or not at all.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands more than once: {all:?}");
        all.first().copied()
    }

    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
            (name.to_owned(), value.trim().to_owned())
        };
        Self { start, fields: lines.filter(|line| !line.is_empty()).map(field).collect() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Writes as it is told; an error is the other side's having closed, which shows when it is read.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.stream.write_all(bytes.as_ref()).await);
        drop(self.stream.flush().await);
    }

    /// The next message's head; `None` at the end of the stream.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = Head::parse(&self.buffer[..end]);
                self.buffer.advance(end + 4);
                return Some(head);
            }
            if !self.fill().await {
                assert!(self.buffer.is_empty(), "it ends in a head: {:?}", self.buffer);
                return None;
            }
        }
    }

    /// The next answer, to a request of this method; passes over 1xx. Panics where there is none.
    pub(crate) async fn answer(&mut self, method: &str) -> (Head, Vec<u8>) {
        loop {
            let head = self.head().await.expect("an answer and not the end of the stream");
            match head.status() {
                100 | 102 | 103 => {}
                101 | 204 | 304 => return (head, Vec::new()),
                _ if method == "HEAD" => return (head, Vec::new()),
                _ => {
                    let body = self.body(&head, true).await;
                    return (head, body);
                }
            }
        }
    }

    /// The next request; `None` at the end of the stream.
    pub(crate) async fn request(&mut self) -> Option<(Head, Vec<u8>)> {
        let head = self.head().await?;
        let body = self.body(&head, false).await;
        Some((head, body))
    }

    /// All that comes until the end of the stream.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        self.buffer.split().to_vec()
    }

    /// At least this many bytes, as they come; fewer at the end of the stream.
    pub(crate) async fn some(&mut self, least: usize) -> Vec<u8> {
        while self.buffer.len() < least && self.fill().await {}
        self.buffer.split().to_vec()
    }

    async fn body(&mut self, head: &Head, until_end: bool) -> Vec<u8> {
        if head.all("transfer-encoding").iter().any(|value| value.contains("chunked")) {
            return self.chunks().await;
        }
        match head.one("content-length") {
            Some(length) => self.exactly(length.parse().expect("a length")).await,
            None if until_end => self.rest().await,
            None => Vec::new(),
        }
    }

    /// A chunked body's data; trailers are passed over.
    async fn chunks(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            let line = self.line().await;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
            if size == 0 {
                while !self.line().await.is_empty() {}
                return data;
            }
            data.extend(self.exactly(size).await);
            assert_eq!(self.line().await, "", "a chunk ends with a line break");
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.advance(end + 2);
                return line;
            }
            assert!(self.fill().await, "it ends in a line");
        }
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill().await, "it ends in a body of {length} bytes, after {}", self.buffer.len());
        }
        self.buffer.split_to(length).to_vec()
    }

    /// Reads more; `false` at the end of the stream, however it ends.
    async fn fill(&mut self) -> bool {
        let read = within("more bytes", self.stream.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|read| read > 0)
    }
}
