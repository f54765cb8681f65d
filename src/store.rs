//! Users, keys and certificates from where they are kept to parsed values, and the versioned write.

pub mod directory;
pub mod file_read;
pub mod file_watch;
pub mod keys_document;
pub mod kubernetes;
pub mod read_error;
pub mod tls_material;
pub mod users_document;
pub mod versioned_file;

pub(crate) mod certificate_document;
pub(crate) mod jitter;

mod certificate_feed;
mod key_feed;
mod key_origin;
mod newest;
mod origin;
mod report;
mod reread;
mod turns;
mod user_feed;

pub(crate) use certificate_feed::CertificateFeed;
pub(crate) use key_feed::KeyFeed;
pub(crate) use origin::Origin;
pub(crate) use report::Report;
pub(crate) use reread::Reread;
pub(crate) use user_feed::UserFeed;

/// The file, or the Secret's entry, that holds the key ring.
pub const KEYS_ENTRY: &str = "keys.jwks";
