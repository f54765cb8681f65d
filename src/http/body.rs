//! Reads a small request body whole, within a bound and a deadline, or passes over one that nobody wants.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::EXPECT;
use http::{Request, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use crate::proxy::{BodyProgress, Broken};

/// How often a body that nobody wants is asked for more.
const PASSES: usize = 8;

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

/// Passes over what has come already of a body that nobody wants, so that the next request finds the connection open. Over
/// HTTP/1 alone: elsewhere a stream ends by itself. Waits for nothing.
pub(super) async fn pass_over(request: Request<Incoming>, progress: &BodyProgress) {
    // Who waits to be asked for the body is not asked.
    let is_withheld = request.headers().contains_key(EXPECT);
    if progress.ended.get() || is_withheld || request.version() >= Version::HTTP_2 {
        return;
    }
    let mut body = request.into_body();
    for _ in 0..PASSES {
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                progress.bytes.set(progress.bytes.get() + bytes);
            }
            Some(Some(Err(_))) => return,
            Some(None) => return progress.ended.set(true),
            // Now that it is asked for, the connection hands it over on its next turn.
            None => tokio::task::yield_now().await,
        }
    }
}
