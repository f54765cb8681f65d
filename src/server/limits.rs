//! Bounds and deadlines of one connection.

use std::time::Duration;

/// Bounds and deadlines of one connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// Bytes of one request's head.
    pub(crate) header_bytes: usize,
    /// For a head, from its first byte.
    pub(crate) header_timeout: Duration,
    /// Between requests; within one, for a client that takes nothing of its answer.
    pub(crate) idle_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
}
