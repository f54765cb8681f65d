//! The only signer is revoked while logins, downloads and tunnels are under way.
