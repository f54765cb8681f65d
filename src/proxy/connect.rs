//! Opens connections to the application.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::io::{Stream, UpstreamIo};
use crate::metrics::UpstreamErrorReason;

/// Where the application listens and how it is spoken to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    /// `Some`: the connection is TLS and the server must prove this name. Clones share what is trusted.
    pub(super) tls: Option<(Arc<watch::Sender<Arc<ClientConfig>>>, ServerName<'static>)>,
    pub(crate) protocol: Protocol,
    /// For requests that name no host of their own (HTTP/1.0).
    pub(crate) authority: HeaderValue,
    pub(crate) connect_timeout: Duration,
    /// Until the answer's head, from when the request was handed over; `None`: no limit.
    pub(crate) headers_timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
}

/// Why no connection could be made.
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) reason: UpstreamErrorReason,
    pub(crate) detail: String,
    /// Why there is no TLS, where rustls tells.
    pub(crate) tls: Option<Box<rustls::Error>>,
}

impl ConnectError {
    pub(super) fn new(reason: UpstreamErrorReason, detail: String) -> Self {
        Self { reason, detail, tls: None }
    }

    /// Of a handshake.
    fn tls(error: io::Error) -> Self {
        let detail = error.to_string();
        let tls = error.into_inner().and_then(|cause| cause.downcast().ok());
        Self { reason: UpstreamErrorReason::Tls, detail, tls }
    }
}

impl Target {
    /// Connects within the deadline.
    pub(crate) async fn connect(&self) -> Result<UpstreamIo, ConnectError> {
        match tokio::time::timeout(self.connect_timeout, self.open()).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::new(
                UpstreamErrorReason::ConnectTimeout,
                format!("no connection within {:?}", self.connect_timeout),
            )),
        }
    }

    async fn open(&self) -> Result<UpstreamIo, ConnectError> {
        let refused = |error: io::Error| ConnectError::new(UpstreamErrorReason::Connect, error.to_string());
        let stream = match &self.address {
            Address::Unix(path) => {
                return UnixStream::connect(path).await.map(Stream::Unix).map(UpstreamIo::new).map_err(refused);
            }
            Address::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map_err(refused)?,
        };
        stream.set_nodelay(true).map_err(refused)?;
        let Some((trusted, name)) = &self.tls else { return Ok(UpstreamIo::new(Stream::Tcp(stream))) };
        let config = Arc::clone(&trusted.borrow());
        let handshake = TlsConnector::from(config).connect(name.clone(), stream);
        match handshake.await {
            Ok(stream) => Ok(UpstreamIo::new(Stream::Tls(Box::new(stream)))),
            Err(error) => Err(ConnectError::tls(error)),
        }
    }
}
