//! The name of a stored password in the tokens that it earned.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

const DIGEST_BYTES: usize = 12;
const TEXT_BYTES: usize = 16;

/// The claim `cred`: base64url of the first 12 bytes of the SHA-256 of the stored hash's text, 16 ASCII
/// characters. Not a secret: whoever holds a token reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId([u8; TEXT_BYTES]);

impl CredentialId {
    /// The name of the entry whose stored hash reads `text`.
    #[must_use]
    pub fn of_stored_hash(text: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let mut id = [0; TEXT_BYTES];
        BASE64_URL_SAFE_NO_PAD
            .encode_slice(&digest.as_ref()[..DIGEST_BYTES], &mut id)
            .expect("12 bytes are 16 characters of base64");
        Self(id)
    }

    /// Reads a claim; `None` for what no stored hash can be called.
    #[must_use]
    pub fn parse(claim: &str) -> Option<Self> {
        let id: [u8; TEXT_BYTES] = claim.as_bytes().try_into().ok()?;
        id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).then_some(Self(id))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("both constructors admit ASCII alone")
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialId({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_the_cut_sha256_of_the_stored_text() {
        // printf %s '$2y$05$abc' | openssl dgst -sha256 -binary | head -c 12 | basenc --base64url
        let id = CredentialId::of_stored_hash("$2y$05$abc");
        assert_eq!(id.as_str(), "eaHGQj3IsxrUfO76");
        assert_eq!(CredentialId::parse(id.as_str()), Some(id));
    }

    #[test]
    fn what_is_no_credential_is_refused() {
        for claim in ["", "short", "0123456789abcdefg", "0123456789abcde=", "0123456789abcd é"] {
            assert_eq!(CredentialId::parse(claim), None, "{claim}");
        }
    }
}
