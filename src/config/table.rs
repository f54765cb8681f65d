//! The table of all settings, from which file keys, flags, variables, defaults and their reference are made.

use std::time::Duration;

use crate::config::{
    Algorithm, ClientAuth, LogFormat, LogLevel, MinVersion, Mode, Tunnels,
    setting::{Setting, Shape},
};

/// All settings, in the order of the reference.
// One row a setting: spread over lines, the table could not be read as one.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    Setting::new("listen", Shape::Address, "0.0.0.0:10443", "Where clients connect: TLS, HTTP/1.1 and HTTP/2 by ALPN."),
    Setting::new("admin", Shape::Address, "0.0.0.0:10444", "Where `/metrics`, `/livez` and `/readyz` are served, as plain HTTP."),
    Setting::new("upstream", Shape::Upstream, "http://127.0.0.1:8080", "The application. `h2c://` speaks HTTP/2 without TLS, as gRPC needs."),
    Setting::new("upstreamCa", Shape::File, "null", "PEM certificates that an `https://` application is verified against; null: the system's roots. Read again when the file changes, for new connections.").or_null("/etc/vestibule/upstream/ca.crt"),
    Setting::new("workers", Shape::Count { min: 1, max: 1024 }, "null", "Threads for requests; null: as many as the CPU limit allows.").or_null("4"),
    Setting::new("tls.certificate", Shape::File, "/etc/vestibule/tls/tls.crt", "The server's certificate and its chain, PEM. Read again when the file changes.").or_null("/etc/vestibule/tls/tls.crt"),
    Setting::new("tls.key", Shape::File, "/etc/vestibule/tls/tls.key", "The certificate's private key, PEM. Read again when the file changes.").or_null("/etc/vestibule/tls/tls.key"),
    Setting::new("tls.managed.secret", Shape::Secret, "null", "Instead of `certificate` and `key`: the Secret in which a CA and a certificate are [made and renewed](kubernetes.md#a-certificate-that-is-made-and-renewed). Of the namespace of `store.kubernetes`, else of the pod's own.").or_null("vestibule-tls"),
    Setting::new("tls.managed.hosts", Shape::Hosts, "[]", "The names and addresses that the managed certificate is for, at least one.").such_as("[app.example.org]"),
    Setting::new("tls.clientCa", Shape::File, "null", "PEM certificates that clients' certificates are verified against; null: clients are asked for none. Read again when the file changes. With it, no session is resumed: each connection's certificate is judged.").or_null("/etc/vestibule/clients/ca.crt"),
    Setting::new("tls.clientAuth", Shape::Choice(ClientAuth::NAMES), "required", "With `clientCa`: whether a client may come without a certificate."),
    Setting::new("tls.minVersion", Shape::Choice(MinVersion::NAMES), "\"1.2\"", "The oldest version of TLS that is spoken."),
    Setting::new("store.kubernetes.namespace", Shape::Namespace, "null", "The Secrets' namespace; null: the pod's own.").or_null("default"),
    Setting::new("store.kubernetes.users", Shape::Secrets, "vestibule-users", "The Secret that holds the users, or several that are merged."),
    Setting::new("store.kubernetes.keys", Shape::Secret, "vestibule-keys", "The Secret that holds the signing keys; another than the users'."),
    Setting::new("store.kubernetes.fallback.users", Shape::Directory, "/etc/vestibule/users", "The users' Secret as it is mounted; read when a start finds no API server."),
    Setting::new("store.kubernetes.fallback.keys", Shape::Directory, "/etc/vestibule/keys", "The keys' Secret as it is mounted; read when a start finds no API server."),
    Setting::new("store.directory.users", Shape::Directory, "/etc/vestibule/users", "The directory that holds the users' documents."),
    Setting::new("store.directory.keys", Shape::Directory, "/etc/vestibule/keys", "The directory that holds `keys.jwks`."),
    Setting::new("tokens.algorithm", Shape::Choice(Algorithm::NAMES), "HS512", "What tokens are signed with; counts for the first key and for rotations that are due."),
    Setting::new("tokens.issuer", Shape::Text, "vestibule", "The claim `iss`."),
    Setting::new("tokens.audience", Shape::Text, "null", "The claim `aud`, which is then required; null: none.").or_null("my-application"),
    Setting::new("tokens.ttl", Shape::Seconds { min: SECOND, max: DAY }, "5m", "How long a token is good for when the login does not say; at most `maxTtl`."),
    Setting::new("tokens.maxTtl", Shape::Seconds { min: SECOND, max: DAY }, "24h", "The longest that a login may ask for."),
    Setting::new("tokens.maxSession", Shape::Seconds { min: SECOND, max: YEAR }, "24h", "How long refreshing may prolong one login."),
    Setting::new("keys.rotateEvery", Shape::Seconds { min: SECOND, max: DECADE }, "30d", "How long a key signs; more than twice `propagation`, so that a ring is never rotated faster than it spreads."),
    Setting::new("keys.propagation", Shape::Seconds { min: SECOND, max: DAY }, "2m", "How long before it signs a new key is published."),
    Setting::new("authorize.paths.densify", Shape::Paths, "/authorize", "Where `{\"userName\", \"pwd\"}` logs in; null: nowhere. Clients of the Densify API ask at `[/authorize, /api/v2/authorize]`.").or_null("/authorize"),
    Setting::new("authorize.paths.redis", Shape::Paths, "/v1/users/authorize", "Where `{\"username\", \"password\"}` logs in; null: nowhere.").or_null("/v1/users/authorize"),
    Setting::new("authorize.paths.refresh", Shape::Paths, "/v1/users/refresh_jwt", "Where a token is exchanged for a fresh one; null: nowhere.").or_null("/v1/users/refresh_jwt"),
    Setting::new("authorize.hashing.threads", Shape::Count { min: 1, max: 64 }, "1", "Threads that check passwords, at low priority."),
    Setting::new("authorize.hashing.queue", Shape::Count { min: 1, max: 65_536 }, "64", "Logins that may wait for such a thread; more are answered with 503."),
    Setting::new("throttle.first", Shape::Span { min: MILLISECOND, max: DAY }, "1s", "The wait after the first wrong password; at most `max`.").reloads(),
    Setting::new("throttle.factor", Shape::Number { min: 1.0, max: 1000.0 }, "2", "What every further failure multiplies the wait by.").reloads(),
    Setting::new("throttle.max", Shape::Span { min: MILLISECOND, max: DAY }, "15m", "The longest wait; at most `forgetAfter`.").reloads(),
    Setting::new("throttle.forgetAfter", Shape::Span { min: MILLISECOND, max: YEAR }, "30m", "When failures are forgotten; at least `max`, or the longest wait would be forgotten before it is over.").reloads(),
    Setting::new("throttle.entries", Shape::Count { min: 1, max: 10_000_000 }, "100000", "Accounts and sources remembered at once, which bounds the memory.").reloads(),
    Setting::new("access.apiGroups", Shape::Groups, "[Administrator, SaaS_User]", "The groups whose users may call the application; `[]`: any user may.").reloads(),
    Setting::new("access.identityHeaders.user", Shape::Header, "X-Forwarded-User", "The header that tells the application who calls. A client's own is removed.").reloads(),
    Setting::new("access.identityHeaders.groups", Shape::Header, "X-Forwarded-Groups", "The header that tells the application the caller's groups, parted by commas. A client's own is removed.").reloads(),
    Setting::new("access.forwardToken", Shape::Bool, "false", "Whether the application sees the client's `Authorization`.").reloads(),
    Setting::new("access.rules", Shape::Rules, "[]", "Exceptions by path; see [below](#access-rules).").such_as("[{path: /healthz, allow: anyone}]").reloads(),
    Setting::new("access.tunnels", Shape::Choice(Tunnels::NAMES), "session", "What ends an upgraded connection: the session (login and `tokens.maxSession`) or the token.").reloads(),
    Setting::new("access.mode", Shape::Choice(Mode::NAMES), "enforce", "`shadow` logs and counts what would be refused, and forwards it.").reloads(),
    Setting::new("limits.connections", COUNT, "null", "Connections at once; null: what the memory limit leaves beside hashing, at 64 KiB each.").or_null("1000"),
    Setting::new("limits.inFlight", COUNT, "null", "Requests at the application at once; null: any number.").or_null("100"),
    Setting::new("limits.queueLength", Shape::Count { min: 0, max: 1_000_000 }, "128", "Requests that may wait for one of `inFlight`; more are answered with 503."),
    Setting::new("limits.queueTimeout", TIMEOUT, "5s", "How long they wait before they are answered with 503."),
    Setting::new("limits.headerBytes", Shape::Bytes { min: 8192, max: 1_048_576 }, "32768", "The most that a request's header fields may measure; more are answered with 431."),
    Setting::new("limits.headerTimeout", TIMEOUT, "10s", "The time for a request's header fields, from its first byte."),
    Setting::new("limits.idleTimeout", TIMEOUT, "2m", "How long a connection may be idle between requests, and a client within one: send no byte of its body (408), or take no byte of its answer (cut off). gRPC streams may be silent."),
    Setting::new("limits.handshakeTimeout", TIMEOUT, "10s", "The time for a TLS handshake."),
    Setting::new("limits.requestBody", Shape::Bytes { min: 1, max: u64::MAX }, "null", "The most that a request's body may measure; more is answered with 413; null: any size.").or_null("10Mi"),
    Setting::new("limits.upstreamConnect", TIMEOUT, "5s", "The time to connect to the application."),
    Setting::new("limits.upstreamHeaders", TIMEOUT, "null", "The time until the application's answer begins; longer is answered with 504; null: any.").or_null("30s"),
    Setting::new("trustedProxies", Shape::Networks, "[]", "Whose `X-Forwarded-For` is believed: the rightmost address outside them is the client.").such_as("[10.0.0.0/8]"),
    Setting::new("shutdown.delay", Shape::Span { min: Duration::ZERO, max: HOUR }, "5s", "How long connections are accepted after SIGTERM, while readiness already says no."),
    Setting::new("shutdown.grace", Shape::Span { min: Duration::ZERO, max: DAY }, "25s", "How long requests may then still take."),
    Setting::new("log.format", Shape::Choice(LogFormat::NAMES), "json", "One JSON object a line, or text for people."),
    Setting::new("log.level", Shape::Choice(LogLevel::NAMES), "info", "The least that is worth a line."),
    Setting::new("log.access", Shape::Bool, "true", "Whether each request is logged."),
];

/// Sections that may be left out as a whole, and count as named when they, or a setting in them, are given.
pub(super) const OPTIONAL_SECTIONS: &[&str] =
    &["tls.managed", "store.kubernetes", "store.kubernetes.fallback", "store.directory"];

/// The setting of that key.
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(366 * 86_400);
const DECADE: Duration = Duration::from_secs(3660 * 86_400);
const COUNT: Shape = Shape::Count { min: 1, max: u64::MAX };
const TIMEOUT: Shape = Shape::Span { min: MILLISECOND, max: DAY };

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_flag_and_variable_is_unique() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(|s| s.key).collect();
        let flags: BTreeSet<_> = SETTINGS.iter().map(Setting::flag).collect();
        let variables: BTreeSet<_> = SETTINGS.iter().map(Setting::variable).collect();
        assert_eq!(keys.len(), SETTINGS.len());
        assert_eq!(flags.len(), SETTINGS.len());
        assert_eq!(variables.len(), SETTINGS.len());
        assert!(!flags.contains("config") && !flags.contains("help"));
    }

    #[test]
    fn no_key_is_a_section_as_well() {
        for setting in SETTINGS {
            let section = format!("{}.", setting.key);
            assert!(!SETTINGS.iter().any(|s| s.key.starts_with(&section)));
        }
        for section in OPTIONAL_SECTIONS {
            let section = format!("{section}.");
            assert!(SETTINGS.iter().any(|s| s.key.starts_with(&section)));
        }
    }

    #[test]
    fn what_reloads_is_access_and_throttle() {
        for setting in SETTINGS {
            let expected = setting.key.starts_with("access.") || setting.key.starts_with("throttle.");
            assert_eq!(setting.reload, expected, "{}", setting.key);
        }
    }
}
