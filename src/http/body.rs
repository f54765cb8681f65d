//! Reads a small request body whole, within a bound and a deadline.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use crate::proxy::Broken;

/// Why a small body could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    /// It did not come in time.
    TimedOut,
    Broken(Broken),
}

/// The whole body; `limit` in bytes.
pub(super) async fn read(body: Incoming, limit: usize, deadline: Duration) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLarge);
    }
    match tokio::time::timeout(deadline, Limited::new(body, limit).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Ok(Err(error)) => Err(Unread::Broken(error.downcast_ref().map_or(Broken::Malformed, Broken::from))),
        Err(_) => Err(Unread::TimedOut),
    }
}
