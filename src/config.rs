//! The configuration: one typed value, made from a file, variables and flags by one table of settings.

mod build;
mod document;
mod error;
mod names;
mod paths;
pub mod reference;
mod rules;
mod setting;
mod table;
mod upstream;
mod value;
mod values;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderName;
use ipnet::IpNet;

pub(crate) use crate::config::names::{is_dns_label as is_namespace, is_dns_subdomain as is_secret_name};
use crate::config::value::choice;
pub use crate::config::{
    error::ConfigError,
    rules::{Rule, RuleEffect, RuleMatch},
    setting::{Setting, Shape, VARIABLE_PREFIX},
    table::{SETTINGS, setting},
    upstream::{Origin, Upstream},
};

/// A configuration that is right, and what its reader should be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// One line each, about variables that were passed over.
    pub warnings: Vec<String>,
}

/// All that `serve` needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub upstream: Upstream,
    /// Only beside [`Upstream::Https`]; `None`: the system's roots.
    pub upstream_ca: Option<PathBuf>,
    /// `None`: as many as the CPU limit allows.
    pub workers: Option<usize>,
    pub tls: Tls,
    pub store: Store,
    pub tokens: Tokens,
    pub keys: Keys,
    pub authorize: Authorize,
    pub throttle: Throttle,
    pub access: Access,
    pub limits: Limits,
    /// Networks without host bits.
    pub trusted_proxies: Vec<IpNet>,
    pub shutdown: Shutdown,
    pub log: Log,
}

/// The parts that a change of the file alters without a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloadable {
    pub access: Access,
    pub throttle: Throttle,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: Certificate,
    /// `None`: clients are asked for no certificate.
    pub clients: Option<ClientTls>,
    pub min_version: MinVersion,
}

/// Where the server's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// PEM files.
    Files { certificate: PathBuf, key: PathBuf },
    /// Made and renewed in a Secret, for at least one host name or address.
    Managed { secret: String, hosts: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// A PEM file.
    pub ca: PathBuf,
    pub auth: ClientAuth,
}

/// Where users and keys are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    Kubernetes(KubernetesStore),
    Directory(DirectoryStore),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesStore {
    /// `None`: the pod's own.
    pub namespace: Option<String>,
    /// At least one Secret, all different.
    pub users: Vec<String>,
    /// None of the users' Secrets.
    pub keys: String,
    pub fallback: Option<DirectoryStore>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryStore {
    pub users: PathBuf,
    pub keys: PathBuf,
}

/// All times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub algorithm: Algorithm,
    pub issuer: String,
    pub audience: Option<String>,
    /// At most `max_ttl`.
    pub ttl: Duration,
    pub max_ttl: Duration,
    pub max_session: Duration,
}

/// All times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// More than twice `propagation`.
    pub rotate_every: Duration,
    pub propagation: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorize {
    pub paths: LoginPaths,
    pub hashing: Hashing,
}

/// Each path stands once; an empty list switches an endpoint off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPaths {
    pub densify: Vec<String>,
    pub redis: Vec<String>,
    pub refresh: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashing {
    pub threads: usize,
    pub queue: usize,
}

/// `first` is at most `max`, and that at most `forget_after`.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    pub first: Duration,
    /// At least 1.
    pub factor: f64,
    pub max: Duration,
    pub forget_after: Duration,
    pub entries: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Empty: any user may call the application.
    pub api_groups: Vec<String>,
    pub identity_headers: IdentityHeaders,
    pub forward_token: bool,
    pub rules: Vec<Rule>,
    pub tunnels: Tunnels,
    pub mode: Mode,
}

/// Two names that differ in more than case and `-`, `_`, `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    pub user: HeaderName,
    pub groups: HeaderName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `None`: derived from the memory limit.
    pub connections: Option<usize>,
    /// `None`: any number.
    pub in_flight: Option<usize>,
    pub queue_length: usize,
    pub queue_timeout: Duration,
    pub header_bytes: usize,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub handshake_timeout: Duration,
    /// In bytes; `None`: any size.
    pub request_body: Option<u64>,
    pub upstream_connect: Duration,
    /// `None`: any time.
    pub upstream_headers: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    pub delay: Duration,
    pub grace: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    pub access: bool,
}

choice! {
    /// What tokens are signed with (RFC 7518, section 3.1; RFC 8037, section 3.1).
    Algorithm { Hs512 = "HS512", Es256 = "ES256", EdDsa = "EdDSA" }
}
choice! {
    /// Whether clients may come without a certificate.
    ClientAuth { Optional = "optional", Required = "required" }
}
choice! {
    /// The oldest version of TLS that is spoken.
    MinVersion { Tls12 = "1.2", Tls13 = "1.3" }
}
choice! {
    /// What ends an upgraded connection.
    Tunnels { Session = "session", Token = "token" }
}
choice! {
    /// Whether refusals are carried out.
    Mode { Enforce = "enforce", Shadow = "shadow" }
}
choice! {
    LogFormat { Json = "json", Text = "text" }
}
choice! {
    /// From the fewest lines to the most.
    LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
}

/// All settings by the name of their flag, without its dashes.
pub fn flags() -> impl Iterator<Item = (String, &'static Setting)> {
    SETTINGS.iter().map(|setting| (setting.flag(), setting))
}

#[cfg(test)]
mod tests;
