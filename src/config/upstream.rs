//! Where the application listens.

use std::net::IpAddr;
use std::{net::Ipv6Addr, path::PathBuf};

use serde_json::Value;

use crate::config::{
    setting::Setting,
    value::{FromValue, Refusal, text},
};

/// The application's address and the protocol that it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// HTTP/1.1 in the clear.
    Http(Origin),
    /// TLS.
    Https(Origin),
    /// HTTP/2 in the clear, with prior knowledge (RFC 9113, section 3.3).
    H2c(Origin),
    /// HTTP/1.1 over a Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl Upstream {
    /// The application's port, where it listens on this very machine or pod.
    #[must_use]
    pub fn loopback_port(&self) -> Option<u16> {
        let (Self::Http(origin) | Self::Https(origin) | Self::H2c(origin)) = self else { return None };
        let is_loopback =
            origin.host == "localhost" || origin.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        is_loopback.then_some(origin.port)
    }
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A name or an address; IPv6 without its brackets.
    pub host: String,
    pub port: u16,
    /// `host:port` as a URL has it (RFC 3986, section 3.2): IPv6 in brackets.
    pub authority: String,
}

/// The longest path that fits a Unix socket's address on Linux, in bytes.
const MAX_SOCKET_PATH: usize = 107;

impl FromValue for Upstream {
    fn from_value(_: &Setting, value: &Value) -> Result<Self, Refusal> {
        let text = text(value)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        let (scheme, rest) = text.split_once("://").ok_or(Refusal::Shape)?;
        match scheme {
            "http" => origin(rest, None).map(Self::Http),
            "https" => origin(rest, Some(443)).map(Self::Https),
            "h2c" => origin(rest, None).map(Self::H2c),
            _ => Err(Refusal::Shape),
        }
    }
}

fn unix(path: &str) -> Result<Upstream, Refusal> {
    // `unix:///run/app.sock` is a usual spelling of `unix:/run/app.sock`.
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => "",
        None => path,
    };
    if !path.starts_with('/') || path.contains(char::is_control) {
        return Err(Refusal::because("needs a socket's absolute path: write e.g. `unix:/run/app/app.sock`"));
    }
    if path.len() > MAX_SOCKET_PATH {
        return Err(Refusal::because(
            "names a socket whose path is longer than 107 bytes, which no socket can have: shorten it",
        ));
    }
    Ok(Upstream::Unix(PathBuf::from(path)))
}

fn origin(rest: &str, default_port: Option<u16>) -> Result<Origin, Refusal> {
    // Nothing of the value is repeated here: it may hold a password.
    if rest.contains('@') {
        return Err(Refusal::because("must not name a user or a password, which are not sent: leave HOST:PORT alone"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(Refusal::because(
            "must not have a path or a query, since requests keep their own: end it after HOST:PORT",
        ));
    }
    let (name, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or(Refusal::Shape)?;
        address.parse::<Ipv6Addr>().map_err(|_| Refusal::Shape)?;
        match after.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if after.is_empty() => (address, None),
            None => return Err(Refusal::Shape),
        }
    } else {
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (rest, None),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || name.len() > 253 || !name.chars().all(legal) {
            return Err(Refusal::Shape);
        }
        (name, port)
    };
    let port = match port {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().ok(),
        Some(_) => None,
        None => default_port,
    };
    let port = port.filter(|port| *port != 0).ok_or(Refusal::Shape)?;
    let authority = if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
    Ok(Origin { host: name.to_owned(), port, authority })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::setting::Shape;

    const SETTING: Setting = Setting::new("upstream", Shape::Upstream, "http://127.0.0.1:8080", "");

    fn parse(text: &str) -> Result<Upstream, Refusal> {
        Upstream::from_value(&SETTING, &json!(text))
    }

    fn origin(host: &str, port: u16, authority: &str) -> Origin {
        Origin { host: host.to_owned(), port, authority: authority.to_owned() }
    }

    #[test]
    fn addresses_that_are_right() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", Upstream::Http(origin("127.0.0.1", 8080, "127.0.0.1:8080"))),
            ("http://localhost:1/", Upstream::Http(origin("localhost", 1, "localhost:1"))),
            ("https://app.example.org", Upstream::Https(origin("app.example.org", 443, "app.example.org:443"))),
            ("https://[::1]:8443", Upstream::Https(origin("::1", 8443, "[::1]:8443"))),
            ("https://[::1]", Upstream::Https(origin("::1", 443, "[::1]:443"))),
            ("h2c://app:50051", Upstream::H2c(origin("app", 50051, "app:50051"))),
            ("unix:/run/a.sock", Upstream::Unix("/run/a.sock".into())),
            ("unix:///run/a.sock", Upstream::Unix("/run/a.sock".into())),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn addresses_of_the_wrong_shape() {
        for text in [
            "",
            "127.0.0.1:8080",
            "localhost",
            "http://localhost",
            "h2c://localhost",
            "http://:80",
            "http://",
            "http://a:b",
            "http://a:+80",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://a b:80",
            "http://::1:80",
            "http://[::1:80",
            "http://[::g]:80",
            "http://[::1]80",
            "HTTP://a:80",
            "tcp://a:80",
        ] {
            assert_eq!(parse(text), Err(Refusal::Shape), "{text}");
        }
    }

    #[test]
    fn what_is_too_much_is_named_and_no_password_repeated() {
        for (text, part) in [
            ("http://a:80/api", "must not have a path or a query"),
            ("http://a:80?x", "must not have a path or a query"),
            ("http://a:80#x", "must not have a path or a query"),
            ("http://me:hunter2@a:80", "must not name a user"),
            ("https://a:80/x@y", "must not name a user"),
            ("unix:run/a.sock", "needs a socket's absolute path"),
            ("unix://run/a.sock", "needs a socket's absolute path"),
            ("unix:", "needs a socket's absolute path"),
        ] {
            let Err(Refusal::Because { reason, .. }) = parse(text) else {
                panic!("{text} was not refused");
            };
            assert!(reason.contains(part), "{text}: {reason}");
            assert!(!reason.contains("hunter2"));
        }
        assert!(parse(&format!("unix:/{}", "a".repeat(106))).is_ok());
        assert!(parse(&format!("unix:/{}", "a".repeat(107))).is_err());
    }
}
