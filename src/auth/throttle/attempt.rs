//! What an attempt is known by: keyed digests of its account and source, and of its credentials.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

/// Where an attempt comes from, as far as the throttle tells sources apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// One IPv4 address; an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) is the IPv4 address in it.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address: what one subscriber holds at least.
    V6([u8; 8]),
    /// A peer without an address, such as one behind a Unix socket.
    Local,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// One account from one source: what waits are kept for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptKey([u8; 16]);

impl fmt::Debug for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptKey(..)")
    }
}

/// One account and one password: attempts that carry the same may share a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// Derives keys and fingerprints under a secret of this process, so that nobody outside can choose
/// names that collide, and so that a fingerprint left in memory says nothing about the password.
#[derive(Clone)]
pub struct AttemptDigest(hmac::Key);

impl AttemptDigest {
    /// A fresh secret; fails only where the operating system has no random bytes.
    pub fn generate() -> Result<Self, Unspecified> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map(Self)
    }

    /// The key for an account's name, as it was sent, and a source.
    pub fn key(&self, account: &[u8], source: Source) -> AttemptKey {
        let (kind, address): (&[u8], &[u8]) = match &source {
            Source::V4(address) => (b"key v4", &address.octets()),
            Source::V6(prefix) => (b"key v6", prefix),
            Source::Local => (b"key local", b""),
        };
        AttemptKey(self.digest([kind, account, address]))
    }

    /// The fingerprint of the credentials; the account is part of it, since several accounts may stand in one line.
    pub fn fingerprint(&self, account: &[u8], password: &[u8]) -> Fingerprint {
        Fingerprint(self.digest([b"credentials", account, password]))
    }

    fn digest(&self, parts: [&[u8]; 3]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            // The lengths keep ("ab", "c") and ("a", "bc") apart.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let mut short = [0; 16];
        short.copy_from_slice(&tag.as_ref()[..16]);
        short
    }
}

impl fmt::Debug for AttemptDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn sources_are_an_ipv4_address_or_an_ipv6_64() {
        let cases = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::c000:201", "192.0.2.1", false),
        ];
        for (a, b, same) in cases {
            assert_eq!(source(a) == source(b), same, "{a} {b}");
        }
    }

    #[test]
    fn a_key_is_one_account_from_one_source_in_one_process() {
        let digest = AttemptDigest::generate().unwrap();
        let key = digest.key(b"alice", source("192.0.2.1"));
        assert_eq!(key, digest.key(b"alice", source("::ffff:192.0.2.1")));
        for other in [
            digest.key(b"Alice", source("192.0.2.1")),
            digest.key(b"alice ", source("192.0.2.1")),
            digest.key(b"alice", source("192.0.2.2")),
            digest.key(b"alice", Source::Local),
            AttemptDigest::generate().unwrap().key(b"alice", source("192.0.2.1")),
        ] {
            assert_ne!(key, other);
        }
    }

    #[test]
    fn a_fingerprint_is_one_account_with_one_password() {
        let digest = AttemptDigest::generate().unwrap();
        let fingerprint = digest.fingerprint(b"ab", b"c");
        assert_eq!(fingerprint, digest.fingerprint(b"ab", b"c"));
        for (account, password) in [(&b"a"[..], &b"bc"[..]), (b"abc", b""), (b"ab", b"C"), (b"ab", b"c\0")] {
            assert_ne!(fingerprint, digest.fingerprint(account, password));
        }
    }

    #[test]
    fn nothing_of_it_can_be_printed() {
        let digest = AttemptDigest::generate().unwrap();
        assert_eq!(format!("{digest:?}"), "AttemptDigest(..)");
        assert_eq!(format!("{:?}", digest.fingerprint(b"a", b"b")), "Fingerprint(..)");
        assert_eq!(format!("{:?}", digest.key(b"a", Source::Local)), "AttemptKey(..)");
    }
}
