//! The levels, the formats and the closed set of event names.

use std::str::FromStr;

use crate::metrics::{ClosedSet, closed_set};

closed_set! {
    /// How grave an event is, gravest first.
    Level {
        /// Something does not work, and will not by itself.
        Error = "error",
        /// Something deserves a look.
        Warn = "warn",
        /// What an operator wants to see in ordinary times: the audit events and the access log.
        Info = "info",
        /// Details of single connections.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

closed_set! {
    /// How a line is written.
    Format {
        /// One JSON object a line.
        Json = "json",
        /// One readable line, its fields as `key=value`.
        Text = "text",
    }
}

closed_set! {
    /// What a line tells of.
    EventName {
        Access = "access",
        AcceptFailed = "accept_failed",
        ClientRefused = "client_refused",
        ConfigWarning = "config_warning",
        Listening = "listening",
        LogDropped = "log_dropped",
        Login = "login",
        Panic = "panic",
        Readiness = "readiness",
        Refresh = "refresh",
        Refusal = "refusal",
        Reload = "reload",
        Renewal = "renewal",
        Revocation = "revocation",
        Rotation = "rotation",
        ShadowRefusal = "shadow_refusal",
        Stopped = "stopped",
        StoreFailed = "store_failed",
        StoreRecovered = "store_recovered",
        TunnelEnded = "tunnel_ended",
        UpstreamFailed = "upstream_failed",
        UserUnusable = "user_unusable",
    }
}

impl EventName {
    /// Whether the event belongs in an audit trail: who got in, who did not, and what changed that.
    #[must_use]
    pub const fn is_audit(self) -> bool {
        matches!(
            self,
            Self::Login
                | Self::Refresh
                | Self::ClientRefused
                | Self::Refusal
                | Self::ShadowRefusal
                | Self::Rotation
                | Self::Renewal
                | Self::Revocation
                | Self::Reload
        )
    }
}

impl Level {
    /// The name in capitals and of one width, as the text format shows it.
    pub(super) const fn padded(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN ",
            Self::Info => "INFO ",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

/// The text is none of a closed set's names.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownName;

impl FromStr for Level {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text)
    }
}

impl FromStr for Format {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text)
    }
}

fn named<T: ClosedSet>(text: &str) -> Result<T, UnknownName> {
    T::ALL.iter().find(|value| value.as_str() == text).copied().ok_or(UnknownName)
}
