//! Who a verified token speaks for, at this moment.

use std::sync::Arc;

use http::HeaderValue;

use super::refusal::InvalidToken;
use super::trust::Trust;
use crate::auth::claims::Claims;
use crate::auth::keys::Key;
use crate::auth::password::CredentialId;
use crate::auth::token::{self, Expected, TokenError};
use crate::auth::users::User;

/// A token's claims and the present state of its user.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) claims: Claims,
    pub(crate) kid: Arc<str>,
    /// When the key that signed it is over, in the ring that it was verified with.
    key_end: Option<u64>,
    pub(crate) user: Arc<User>,
    pub(crate) user_header: HeaderValue,
    pub(crate) groups_header: HeaderValue,
}

impl Identity {
    /// Verifies the token, and that its user is still who they were.
    pub(super) fn verify(token: &str, trust: &Trust, now: u64, expected: &Expected) -> Result<Self, InvalidToken> {
        let verified = token::verify(token, &trust.ring, now, expected)?;
        let user = present_user(trust, &verified.claims)?;
        // Names are visible ASCII, or the user would be unusable.
        let header = |text: &str| HeaderValue::try_from(text).map_err(|_| InvalidToken::UserInactive);
        Ok(Self {
            user_header: header(user.name())?,
            groups_header: header(user.groups_joined())?,
            claims: verified.claims,
            key_end: trust.ring.find(&verified.kid).and_then(Key::exp),
            kid: verified.kid,
            user,
        })
    }

    /// The password that the session began with is past its date: its tokens run out, and are not renewed.
    pub(crate) fn password_has_expired(&self, now: u64) -> bool {
        let credential = self.claims.cred.as_deref().and_then(CredentialId::parse);
        credential.and_then(|credential| self.user.password(credential)).is_some_and(|entry| entry.is_expired(now))
    }

    /// Neither the token nor its key is over: nothing else changes without a new version of what it was verified on.
    pub(super) fn still_good(&self, now: u64) -> Result<(), InvalidToken> {
        if self.key_end.is_some_and(|end| end <= now) {
            Err(InvalidToken::Token(TokenError::UnknownKey))
        } else if self.claims.exp <= now {
            Err(InvalidToken::Token(TokenError::Expired))
        } else {
            Ok(())
        }
    }

    pub(super) fn group_names(&self) -> impl Iterator<Item = &str> {
        group_names(&self.user)
    }

    /// The user as they are now, if the token is still theirs.
    pub(super) fn present_user(&self, trust: &Trust) -> Result<Arc<User>, InvalidToken> {
        present_user(trust, &self.claims)
    }
}

pub(crate) fn group_names(user: &User) -> impl Iterator<Item = &str> {
    user.groups().iter().map(|group| &**group)
}

/// The user's present state counts, not the token's age.
fn present_user(trust: &Trust, claims: &Claims) -> Result<Arc<User>, InvalidToken> {
    let user =
        trust.users.find(claims.sub.as_bytes()).filter(|user| user.is_active()).ok_or(InvalidToken::UserInactive)?;
    if user.tokens_not_before().is_some_and(|not_before| claims.iat < not_before) {
        return Err(InvalidToken::LoggedOut);
    }
    let stands = claims.cred.as_deref().is_none_or(|credential| {
        CredentialId::parse(credential).is_some_and(|credential| user.has_credential(credential))
    });
    if stands { Ok(Arc::clone(user)) } else { Err(InvalidToken::PasswordChanged) }
}
