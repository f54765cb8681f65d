//! Why a request is not forwarded: a closed set, for answers, metrics and logs alike.

use crate::auth::token::TokenError;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No bearer token.
    NoToken,
    /// A bearer token that is not good (RFC 6750, section 3.1: `invalid_token`).
    Invalid(InvalidToken),
    /// A good token of a user who may not call this (`insufficient_scope`).
    Forbidden,
    BadRequest(BadRequest),
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidToken {
    /// The token itself is no good.
    Token(TokenError),
    /// The user is not there, or disabled.
    UserInactive,
    /// The password that it was got with no longer stands.
    PasswordChanged,
    /// Issued before `tokensNotBefore`.
    LoggedOut,
}

/// What is wrong with a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadRequest {
    SeveralAuthorizations,
    /// Two readers could take the path for two different ones.
    AmbiguousPath,
    /// No `Host`, or several, or one that is not the request target's (RFC 9112, section 3.2).
    Host,
    /// A length beside `chunked`, or another coding (RFC 9112, section 6.3).
    Framing,
    /// `CONNECT`: this is no forward proxy.
    Method,
}

impl Refusal {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Invalid(invalid) => invalid.as_str(),
            Self::Forbidden => "insufficient_scope",
            Self::BadRequest(BadRequest::SeveralAuthorizations) => "several_authorization_headers",
            Self::BadRequest(BadRequest::AmbiguousPath) => "ambiguous_path",
            Self::BadRequest(BadRequest::Host) => "bad_host",
            Self::BadRequest(BadRequest::Framing) => "ambiguous_framing",
            Self::BadRequest(BadRequest::Method) => "bad_method",
        }
    }
}

impl InvalidToken {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Token(error) => error.as_str(),
            Self::UserInactive => "user_inactive",
            Self::PasswordChanged => "password_changed",
            Self::LoggedOut => "logged_out",
        }
    }
}

impl From<TokenError> for InvalidToken {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}
