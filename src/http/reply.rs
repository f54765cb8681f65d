//! Statuses and bodies of everything that Vestibule itself answers to callers of the application: one place.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::json;

use crate::gate::{BadRequest, Refusal};
use crate::metrics::{Outcome, UpstreamErrorReason};
use crate::proxy::{Broken, Failure};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"vestibule\"");
const FORBIDDEN: HeaderValue = HeaderValue::from_static(
    "Bearer realm=\"vestibule\", error=\"insufficient_scope\", error_description=\"not in a group that may call this\"",
);

/// An answer, and how the request counts.
pub(super) struct Reply {
    pub(super) response: Response<Bytes>,
    pub(super) outcome: Outcome,
}

impl Reply {
    pub(super) fn new(response: Response<Bytes>, outcome: Outcome) -> Self {
        Self { response, outcome }
    }
}

/// JSON that is not to be stored.
pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// `{"message", "status"}`: the form of every refusal outside the login dialects.
fn message(status: StatusCode, text: &str) -> Response<Bytes> {
    json(status, &json!({ "message": text, "status": status.as_u16() }))
}

/// The answer to a request that may not reach the application (RFC 6750, section 3).
pub(super) fn refused(refusal: Refusal) -> Reply {
    let (status, text) = match refusal {
        Refusal::NoToken | Refusal::Invalid(_) => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        Refusal::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
        Refusal::BadRequest(bad) => (StatusCode::BAD_REQUEST, explain(bad)),
    };
    let mut response = message(status, text);
    let challenge = match refusal {
        Refusal::NoToken => Some(CHALLENGE),
        Refusal::Invalid(invalid) => {
            let reason = invalid.as_str().replace('_', " ");
            let challenge =
                format!("Bearer realm=\"vestibule\", error=\"invalid_token\", error_description=\"{reason}\"");
            Some(HeaderValue::try_from(challenge).unwrap_or(CHALLENGE))
        }
        Refusal::Forbidden => Some(FORBIDDEN),
        Refusal::BadRequest(_) => None,
    };
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if refusal == Refusal::BadRequest(BadRequest::Framing) {
        // Whoever is before us may see the next request elsewhere. (HTTP/2 has no such framing.)
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Reply::new(response, outcome(refusal))
}

/// How a refusal counts.
pub(super) fn outcome(refusal: Refusal) -> Outcome {
    match refusal {
        Refusal::NoToken | Refusal::Invalid(_) => Outcome::Unauthenticated,
        Refusal::Forbidden => Outcome::Forbidden,
        Refusal::BadRequest(_) => Outcome::BadRequest,
    }
}

/// How a refusal counts, and its reason, for the audit trail.
pub(super) fn audited(refusal: Refusal) -> (Outcome, &'static str) {
    (outcome(refusal), refusal.as_str())
}

fn explain(bad: BadRequest) -> &'static str {
    match bad {
        BadRequest::SeveralAuthorizations => "More than one Authorization header",
        BadRequest::AmbiguousPath => {
            "Ambiguous path: send it without empty or dot segments, `;`, `\\` and needless escapes"
        }
        BadRequest::Host => "Exactly one Host is needed, the same as the request target's",
        BadRequest::Framing => "Ambiguous framing: either `Content-Length` or `Transfer-Encoding: chunked`",
        BadRequest::Method => "CONNECT is not supported",
    }
}

/// The answer where the application gave none.
pub(super) fn failed(failure: &Failure) -> Reply {
    let (response, outcome) = match failure {
        Failure::Body(Broken::Stalled) => {
            (message(StatusCode::REQUEST_TIMEOUT, "The request body did not come in time"), Outcome::BadRequest)
        }
        Failure::Body(_) => (message(StatusCode::BAD_REQUEST, "The request body is malformed"), Outcome::BadRequest),
        Failure::TooLarge => (message(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"), Outcome::BadRequest),
        Failure::Overloaded => {
            let mut response = message(StatusCode::SERVICE_UNAVAILABLE, "Too many requests at the application");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            (response, Outcome::Overloaded)
        }
        Failure::Upstream { reason, .. } => {
            let response = match reason {
                UpstreamErrorReason::ConnectTimeout | UpstreamErrorReason::HeadersTimeout => {
                    message(StatusCode::GATEWAY_TIMEOUT, "The application is too slow")
                }
                UpstreamErrorReason::Connect | UpstreamErrorReason::Tls => {
                    message(StatusCode::BAD_GATEWAY, "The application cannot be reached")
                }
                UpstreamErrorReason::Closed | UpstreamErrorReason::Protocol | UpstreamErrorReason::Body => {
                    message(StatusCode::BAD_GATEWAY, "The application gave no proper answer")
                }
            };
            (response, Outcome::UpstreamError)
        }
    };
    Reply::new(response, outcome)
}

/// 431 (RFC 6585, section 5).
pub(super) fn head_too_large() -> Reply {
    let response = message(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request header fields too large");
    Reply::new(response, Outcome::BadRequest)
}

/// 405 for an endpoint of Vestibule's own.
pub(super) fn method_not_allowed(allow: &'static str, outcome: Outcome) -> Reply {
    let mut response = message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    Reply::new(response, outcome)
}

/// A JWK Set for anyone.
pub(super) fn public_keys(set: String) -> Reply {
    let mut response = Response::new(Bytes::from(set));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    Reply::new(response, Outcome::Open)
}

/// The bytes of an HTTP/1.1 answer to a head that the HTTP library refused.
pub(super) fn refused_head(status: u16) -> Bytes {
    let (status, text) = match status {
        414 => (414, "Request target too long"),
        431 => (431, "Request header fields too large"),
        _ => (400, "Bad request"),
    };
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let body = json!({ "message": text, "status": status }).to_string();
    Bytes::from(format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}
