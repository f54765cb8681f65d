//! A password in the clear, for as short as possible.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// 144 bits: 24 characters without padding.
const GENERATED_BYTES: usize = 18;

/// A plaintext password: wiped when dropped, unprintable, compared in constant time.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// A random password of 24 characters (`A-Z a-z 0-9 - _`).
    #[must_use]
    pub fn generate() -> Self {
        let mut random = Zeroizing::new([0; GENERATED_BYTES]);
        super::fill_random(random.as_mut());
        Self::new(BASE64_URL_SAFE_NO_PAD.encode(random.as_slice()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_unprintable() {
        assert_eq!(format!("{:?}", Password::new("secret")), "Password(..)");
    }

    #[test]
    fn passwords_compare_by_their_bytes() {
        assert_eq!(Password::new("a"), Password::new("a"));
        assert_ne!(Password::new("a"), Password::new("b"));
        assert_ne!(Password::new("a"), Password::new("aa"));
    }

    #[test]
    fn generated_passwords_are_long_printable_and_differ() {
        let generated = Password::generate();
        assert_eq!(generated.as_bytes().len(), 24);
        assert!(generated.as_bytes().is_ascii());
        assert_ne!(generated, Password::generate());
    }
}
