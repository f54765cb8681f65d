//! The two ways in which login endpoints say the same things.

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;

use super::reply;
use crate::login::Minted;
use crate::metrics::{AuthorizeOutcome, Dialect};

/// Why a login endpoint gives no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoToken {
    Malformed(&'static str),
    TooLarge,
    TimedOut,
    Method,
    Unauthorized,
    PasswordExpired,
    /// Seconds to wait.
    Throttled(u64),
    /// The hashing queue is full; seconds to wait.
    QueueFull(u64),
    NoSigner,
    /// The users have not been read yet.
    NoUsers,
}

/// Seconds after which the store may have been mended.
const STORE_RETRY_AFTER: u64 = 5;

impl NoToken {
    pub(super) fn outcome(self) -> AuthorizeOutcome {
        match self {
            Self::Malformed(_) | Self::TooLarge | Self::TimedOut | Self::Method => AuthorizeOutcome::Malformed,
            Self::Unauthorized => AuthorizeOutcome::Denied,
            Self::PasswordExpired => AuthorizeOutcome::Expired,
            Self::Throttled(_) => AuthorizeOutcome::Throttled,
            Self::QueueFull(_) | Self::NoSigner | Self::NoUsers => AuthorizeOutcome::Overloaded,
        }
    }

    /// Status, message, and the code of the Redis Enterprise dialect.
    fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed(text) => (StatusCode::BAD_REQUEST, text, "bad_request"),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 4096 bytes", "request_too_large")
            }
            Self::TimedOut => (StatusCode::REQUEST_TIMEOUT, "The body did not come in time", "request_timeout"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "method_not_allowed"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized", "unauthorized"),
            Self::PasswordExpired => (StatusCode::UNAUTHORIZED, "Password expired", "password_expired"),
            Self::Throttled(_) => (StatusCode::TOO_MANY_REQUESTS, "Too many failed attempts", "too_many_attempts"),
            Self::QueueFull(_) => (StatusCode::SERVICE_UNAVAILABLE, "Too many logins at once", "overloaded"),
            Self::NoUsers => (StatusCode::SERVICE_UNAVAILABLE, "The users cannot be read at the moment", "no_users"),
            Self::NoSigner => (StatusCode::SERVICE_UNAVAILABLE, "No key can sign at the moment", "no_signing_key"),
        }
    }

    fn retry_after(self) -> Option<u64> {
        match self {
            Self::Throttled(seconds) | Self::QueueFull(seconds) => Some(seconds),
            Self::NoSigner | Self::NoUsers => Some(STORE_RETRY_AFTER),
            _ => None,
        }
    }
}

/// The answer with a token.
pub(super) fn granted(dialect: Dialect, minted: &Minted) -> Response<Bytes> {
    let body = match dialect {
        Dialect::Densify => json!({ "apiToken": minted.token, "expires": minted.exp * 1_000, "status": 200 }),
        Dialect::Redis | Dialect::Refresh => json!({ "access_token": minted.token }),
    };
    reply::json(StatusCode::OK, &body)
}

/// The answer without.
pub(super) fn refused(dialect: Dialect, why: NoToken) -> Response<Bytes> {
    let (status, message, code) = why.words();
    let body = match dialect {
        Dialect::Densify => json!({ "message": message, "status": status.as_u16() }),
        Dialect::Redis | Dialect::Refresh => json!({ "error_code": code, "message": message }),
    };
    let mut response = reply::json(status, &body);
    if let Some(seconds) = why.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if why == NoToken::Method {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}
