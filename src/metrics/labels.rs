//! The closed label sets: a label's value is a variant here, so no client can invent one.

/// A type with a fixed list of values, each with the one name it has in metrics and logs.
pub trait ClosedSet: Copy + 'static {
    /// Every value, in the order of [`ClosedSet::index`].
    const ALL: &'static [Self];

    /// The name, in snake_case.
    fn as_str(self) -> &'static str;

    /// The position in [`ClosedSet::ALL`].
    fn index(self) -> usize;
}

/// Declares an enum and its names in one list, so that neither can miss a variant of the other.
macro_rules! closed_set {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $crate::metrics::ClosedSet for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use closed_set;

closed_set! {
    /// How a request ended, as `vestibule_requests_total` counts it.
    Outcome {
        /// A valid token, sent on to the application.
        Forwarded = "forwarded",
        /// A rule lets anyone in; sent on to the application.
        Open = "open",
        /// One of the login endpoints, whatever it answered.
        Login = "login",
        /// No token, or one that is not valid.
        Unauthenticated = "unauthenticated",
        /// A valid token of a user who may not do this.
        Forbidden = "forbidden",
        /// Malformed, ambiguous or too large.
        BadRequest = "bad_request",
        /// The application could not be reached, broke off or was too slow.
        UpstreamError = "upstream_error",
        /// Turned away because the queue was full or its wait too long.
        Overloaded = "overloaded",
    }
}

closed_set! {
    /// What failed between Vestibule and the application.
    UpstreamErrorReason {
        /// No connection: refused, unreachable, or no such name or socket.
        Connect = "connect",
        /// No connection in `limits.upstreamConnect`.
        ConnectTimeout = "connect_timeout",
        /// The TLS handshake with the application failed.
        Tls = "tls",
        /// No response headers in `limits.upstreamHeaders`.
        HeadersTimeout = "headers_timeout",
        /// The connection ended before the response began.
        Closed = "closed",
        /// The application's answer was not HTTP.
        Protocol = "protocol",
        /// The response's body broke off.
        Body = "body",
    }
}

closed_set! {
    /// How a TLS handshake with a client ended.
    HandshakeResult {
        /// It succeeded.
        Ok = "ok",
        /// It took longer than `limits.handshakeTimeout`.
        Timeout = "timeout",
        /// The client's certificate was missing or refused.
        Certificate = "certificate",
        /// The client left before the end.
        Closed = "closed",
        /// Not TLS, or nothing in common: version, cipher, protocol.
        Protocol = "protocol",
    }
}

closed_set! {
    /// Why a client's certificate is refused; for the log.
    CertificateFault {
        /// There is none, and one is required.
        Missing = "missing",
        Expired = "expired",
        NotYetValid = "not_yet_valid",
        /// Not of `tls.clientCa`.
        UnknownIssuer = "unknown_issuer",
        /// Not made for clients (RFC 5280, section 4.2.1.12).
        WrongPurpose = "wrong_purpose",
        /// Altered, or of a key that the client does not have.
        BadSignature = "bad_signature",
        /// Anything else.
        Invalid = "invalid",
    }
}

closed_set! {
    /// The login endpoint that was asked.
    Dialect {
        /// `POST /authorize`.
        Densify = "densify",
        /// `POST /v1/users/authorize`.
        Redis = "redis",
        /// `POST /v1/users/refresh_jwt`.
        Refresh = "refresh",
    }
}

closed_set! {
    /// What a login endpoint decided.
    AuthorizeOutcome {
        /// A token was issued.
        Granted = "granted",
        /// Wrong credentials, or a token that cannot be refreshed.
        Denied = "denied",
        /// An earlier failure's wait was not over.
        Throttled = "throttled",
        /// The request was not understood.
        Malformed = "malformed",
        /// The right password, but past its date.
        Expired = "expired",
        /// The hashing queue was full, or no key could sign.
        Overloaded = "overloaded",
    }
}

closed_set! {
    /// The state of a signing key.
    KeyState {
        /// Published, and not signing yet.
        Pending = "pending",
        /// The signer.
        Active = "active",
        /// Verifies only, until it expires.
        Retiring = "retiring",
    }
}

closed_set! {
    /// The state of a user.
    UserState {
        /// May log in.
        Active = "active",
        /// Disabled by an operator.
        Disabled = "disabled",
        /// No usable password, or a name or group that is not allowed.
        Unusable = "unusable",
    }
}

closed_set! {
    /// How an attempted key rotation ended.
    RotationResult {
        /// A successor was published.
        Ok = "ok",
        /// Another replica wrote first.
        Conflict = "conflict",
        /// The write failed.
        Error = "error",
    }
}

closed_set! {
    /// One of the two stores.
    StoreName {
        /// The user table.
        Users = "users",
        /// The key ring.
        Keys = "keys",
    }
}

closed_set! {
    /// Why a store could not be read or written.
    StoreErrorReason {
        /// The Secret, directory or entry is not there.
        Missing = "missing",
        /// A document does not parse or contradicts another.
        Invalid = "invalid",
        /// The API server or the file system refuses access.
        Forbidden = "forbidden",
        /// No answer, or an error that may pass.
        Unavailable = "unavailable",
        /// Someone else wrote first.
        Conflict = "conflict",
    }
}

closed_set! {
    /// What was loaded anew.
    ReloadTarget {
        /// The user table.
        Users = "users",
        /// The key ring.
        Keys = "keys",
        /// The certificate and its key, as one pair.
        Certificate = "certificate",
        /// The configuration's reloadable parts.
        Config = "config",
    }
}

closed_set! {
    /// How a reload ended.
    ReloadResult {
        /// The new version is in force.
        Ok = "ok",
        /// The new version is bad: the last good one stays in force.
        Error = "error",
    }
}
