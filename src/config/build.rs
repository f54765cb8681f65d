//! From the value of each setting to the typed configuration: the checks that no setting can do alone.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::{
    Access, Authorize, Certificate, ClientTls, Config, ConfigError, DirectoryStore, Hashing, IdentityHeaders, Keys,
    KubernetesStore, Limits, Loaded, Log, LoginPaths, Reloadable, Setting, Shutdown, Store, Throttle, Tls, Tokens,
    Upstream,
    document::{self, Document},
    names::same_header,
    setting::span_text,
    values::Values,
};

impl Config {
    /// Reads `file`, if any, and puts `variables` (all of the environment's, by name) and then `flags` above it.
    ///
    /// An empty variable counts as unset. Variables that bear our name and are no setting are passed over, with a
    /// warning.
    ///
    /// Errors: the file cannot be read or parsed, has an unknown or doubled key; a value has not its setting's shape,
    /// or does not go with another.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static Setting, String)>,
    ) -> Result<Loaded, ConfigError> {
        let file = match file {
            Some(path) => Some((path, Document::of(path, &document::read(path)?)?)),
            None => None,
        };
        Self::gather(file, variables, flags)
    }

    /// The bytes of the file at `path`, to be loaded by [`Config::load_bytes`].
    ///
    /// Errors: it cannot be read.
    pub fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
        document::read(path)
    }

    /// As [`Config::load`], from what the file at `path` held when it was read.
    pub fn load_bytes(
        path: &Path,
        bytes: &[u8],
        variables: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static Setting, String)>,
    ) -> Result<Loaded, ConfigError> {
        Self::gather(Some((path, Document::of(path, bytes)?)), variables, flags)
    }

    fn gather(
        file: Option<(&Path, Document)>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static Setting, String)>,
    ) -> Result<Loaded, ConfigError> {
        let (mut values, warnings) = Values::gather(file, variables, flags)?;
        let config = Self::from_values(&mut values)?;
        debug_assert_eq!(values.rest(), [""; 0], "every setting of the table is read");
        Ok(Loaded { config, warnings })
    }

    /// The parts that may change while the process runs.
    pub fn reloadable(&self) -> Reloadable {
        Reloadable { access: self.access.clone(), throttle: self.throttle.clone() }
    }

    fn from_values(values: &mut Values) -> Result<Self, ConfigError> {
        let listen = values.take("listen")?;
        let admin = values.take("admin")?;
        if overlap(listen, admin) {
            let key = given(values, "admin", "listen");
            let reason = format!("clashes: `listen` is {listen}, `admin` {admin}; give one of them another port");
            return Err(values.refuse(key, &reason));
        }
        let upstream = values.take("upstream")?;
        let upstream_ca: Option<PathBuf> = values.take("upstreamCa")?;
        if upstream_ca.is_some() && !matches!(upstream, Upstream::Https(_)) {
            return Err(values.refuse(
                "upstreamCa",
                "verifies nothing unless `upstream` is https://: leave it out, or change `upstream`",
            ));
        }
        let (workers, tls, store) = (values.take("workers")?, tls(values)?, store(values)?);
        if let (Certificate::Managed { secret, .. }, Store::Kubernetes(store)) = (&tls.certificate, &store)
            && (store.users.contains(secret) || store.keys == *secret)
        {
            let reason = "names a Secret that holds users or keys: give the certificate one of its own";
            return Err(values.refuse("tls.managed.secret", reason));
        }
        Ok(Self {
            listen,
            admin,
            upstream,
            upstream_ca,
            workers,
            tls,
            store,
            tokens: tokens(values)?,
            keys: keys(values)?,
            authorize: authorize(values)?,
            throttle: throttle(values)?,
            access: access(values)?,
            limits: limits(values)?,
            trusted_proxies: values.take("trustedProxies")?,
            shutdown: Shutdown { delay: values.take("shutdown.delay")?, grace: values.take("shutdown.grace")? },
            log: Log {
                format: values.take("log.format")?,
                level: values.take("log.level")?,
                access: values.take("log.access")?,
            },
        })
    }
}

/// Whether the second of two listeners could not be bound. Port 0 is any free one.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers =
        |a: SocketAddr, b: SocketAddr| a.ip() == b.ip() || (a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4()));
    a.port() != 0 && a.port() == b.port() && (covers(a, b) || covers(b, a))
}

/// That of two settings which somebody gave, rather `key`.
fn given<'a>(values: &Values, key: &'a str, other: &'a str) -> &'a str {
    if values.is_default(key) { other } else { key }
}

fn tls(values: &mut Values) -> Result<Tls, ConfigError> {
    let certificate: Option<PathBuf> = values.take("tls.certificate")?;
    let key: Option<PathBuf> = values.take("tls.key")?;
    let secret: Option<String> = values.take("tls.managed.secret")?;
    let hosts: Vec<String> = values.take("tls.managed.hosts")?;
    let certificate = if values.has_section("tls.managed") {
        for (key, is_null) in [("tls.certificate", certificate.is_none()), ("tls.key", key.is_none())] {
            if !is_null && !values.is_default(key) {
                return Err(values.refuse(key, "and `tls.managed` exclude each other: leave out one of them"));
            }
        }
        let Some(secret) = secret else {
            return Err(values.refuse_section(
                "tls.managed",
                "needs a `secret`: write e.g. `tls.managed: {secret: vestibule-tls, hosts: [app.example.org]}`",
            ));
        };
        if hosts.is_empty() {
            return Err(values.refuse_section(
                "tls.managed",
                "needs `hosts`, which the certificate is for: write e.g. `tls.managed.hosts: [app.example.org]`",
            ));
        }
        Certificate::Managed { secret, hosts }
    } else {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Certificate::Files { certificate, key },
            (None, _) => return Err(values.refuse("tls.certificate", PAIR)),
            (_, None) => return Err(values.refuse("tls.key", PAIR)),
        }
    };
    let ca: Option<PathBuf> = values.take("tls.clientCa")?;
    let auth = values.take("tls.clientAuth")?;
    Ok(Tls { certificate, clients: ca.map(|ca| ClientTls { ca, auth }), min_version: values.take("tls.minVersion")? })
}

const PAIR: &str = "is null: name both `tls.certificate` and `tls.key`, or `tls.managed` instead of them";

fn store(values: &mut Values) -> Result<Store, ConfigError> {
    let fallback = DirectoryStore {
        users: values.take("store.kubernetes.fallback.users")?,
        keys: values.take("store.kubernetes.fallback.keys")?,
    };
    let kubernetes = KubernetesStore {
        namespace: values.take("store.kubernetes.namespace")?,
        users: values.take("store.kubernetes.users")?,
        keys: values.take("store.kubernetes.keys")?,
        fallback: values.has_section("store.kubernetes.fallback").then_some(fallback),
    };
    let directory =
        DirectoryStore { users: values.take("store.directory.users")?, keys: values.take("store.directory.keys")? };
    match (values.has_section("store.kubernetes"), values.has_section("store.directory")) {
        (true, false) if kubernetes.users.contains(&kubernetes.keys) => Err(values.refuse(
            given(values, "store.kubernetes.keys", "store.kubernetes.users"),
            "names a Secret that holds users and keys both: keep the keys in one of their own",
        )),
        (true, false) => Ok(Store::Kubernetes(kubernetes)),
        (false, true) => Ok(Store::Directory(directory)),
        (true, true) => Err(values.refuse_section(
            "store",
            "has both `kubernetes` and `directory`: leave one of them out, or write null for it",
        )),
        (false, false) => Err(values.refuse_section(
            "store",
            "names no place for users and keys: write `store: {kubernetes: {}}`, or \
             `store: {directory: {users: /etc/vestibule/users, keys: /etc/vestibule/keys}}`",
        )),
    }
}

fn tokens(values: &mut Values) -> Result<Tokens, ConfigError> {
    let mut ttl = values.take("tokens.ttl")?;
    let max_ttl = values.take("tokens.maxTtl")?;
    if ttl > max_ttl {
        if !values.is_default("tokens.ttl") {
            let reason = format!(
                "({}) is longer than `tokens.maxTtl` ({}): shorten it, or raise that",
                span_text(ttl),
                span_text(max_ttl)
            );
            return Err(values.refuse("tokens.ttl", &reason));
        }
        ttl = max_ttl;
    }
    Ok(Tokens {
        algorithm: values.take("tokens.algorithm")?,
        issuer: values.take("tokens.issuer")?,
        audience: values.take("tokens.audience")?,
        ttl,
        max_ttl,
        max_session: values.take("tokens.maxSession")?,
    })
}

fn keys(values: &mut Values) -> Result<Keys, ConfigError> {
    let rotate_every = values.take("keys.rotateEvery")?;
    let propagation = values.take("keys.propagation")?;
    if rotate_every <= propagation * 2 {
        let key = given(values, "keys.rotateEvery", "keys.propagation");
        let reason = format!(
            "does not fit: a key must sign for more than twice its propagation, and `keys.rotateEvery` is {}, \
             `keys.propagation` {}: raise the one or lower the other",
            span_text(rotate_every),
            span_text(propagation)
        );
        return Err(values.refuse(key, &reason));
    }
    Ok(Keys { rotate_every, propagation })
}

fn authorize(values: &mut Values) -> Result<Authorize, ConfigError> {
    const KINDS: [&str; 3] = ["authorize.paths.densify", "authorize.paths.redis", "authorize.paths.refresh"];
    let mut taken: Vec<(&str, Vec<String>)> = Vec::with_capacity(KINDS.len());
    for kind in KINDS {
        let paths: Option<Vec<String>> = values.take(kind)?;
        let paths = paths.unwrap_or_default();
        for path in &paths {
            if path == JWKS_PATH {
                let reason = format!("takes {JWKS_PATH}, where public keys are served: choose another path");
                return Err(values.refuse(kind, &reason));
            }
            if let Some((other, _)) = taken.iter().find(|(_, paths)| paths.contains(path)) {
                let reason = format!("clashes: `{other}` and `{kind}` both have {path}; give each its own");
                return Err(values.refuse(given(values, kind, other), &reason));
            }
        }
        taken.push((kind, paths));
    }
    let mut paths = taken.into_iter().map(|(_, paths)| paths);
    let mut next = || paths.next().unwrap_or_default();
    Ok(Authorize {
        paths: LoginPaths { densify: next(), redis: next(), refresh: next() },
        hashing: Hashing {
            threads: values.take("authorize.hashing.threads")?,
            queue: values.take("authorize.hashing.queue")?,
        },
    })
}

const JWKS_PATH: &str = "/.well-known/jwks.json";

fn throttle(values: &mut Values) -> Result<Throttle, ConfigError> {
    let mut first = values.take("throttle.first")?;
    let mut max = values.take("throttle.max")?;
    let mut forget_after = values.take("throttle.forgetAfter")?;
    // What was left out gives way to what was given.
    if values.is_default("throttle.max") {
        if !values.is_default("throttle.first") {
            max = Duration::max(max, first);
        }
        if !values.is_default("throttle.forgetAfter") {
            max = Duration::min(max, forget_after);
        }
    }
    if values.is_default("throttle.first") {
        first = Duration::min(first, max);
    }
    if values.is_default("throttle.forgetAfter") {
        forget_after = Duration::max(forget_after, max);
    }
    if first > max {
        let reason = format!(
            "({}) is longer than the longest wait ({}): shorten it, or raise `throttle.max`",
            span_text(first),
            span_text(max)
        );
        return Err(values.refuse("throttle.first", &reason));
    }
    if max > forget_after {
        let reason = format!(
            "({}) is shorter than the longest wait ({}), which would be forgotten before it is over: raise it, or \
             lower `throttle.max`",
            span_text(forget_after),
            span_text(max)
        );
        return Err(values.refuse("throttle.forgetAfter", &reason));
    }
    Ok(Throttle {
        first,
        factor: values.take("throttle.factor")?,
        max,
        forget_after,
        entries: values.take("throttle.entries")?,
    })
}

fn access(values: &mut Values) -> Result<Access, ConfigError> {
    let identity_headers = IdentityHeaders {
        user: values.take("access.identityHeaders.user")?,
        groups: values.take("access.identityHeaders.groups")?,
    };
    if same_header(identity_headers.user.as_str(), identity_headers.groups.as_str()) {
        let key = given(values, "access.identityHeaders.groups", "access.identityHeaders.user");
        return Err(values.refuse(
            key,
            "is the same header as the other identity header: name two that differ in more than `-`, `_` and `.`",
        ));
    }
    Ok(Access {
        api_groups: values.take("access.apiGroups")?,
        identity_headers,
        forward_token: values.take("access.forwardToken")?,
        rules: values.take("access.rules")?,
        tunnels: values.take("access.tunnels")?,
        mode: values.take("access.mode")?,
    })
}

fn limits(values: &mut Values) -> Result<Limits, ConfigError> {
    Ok(Limits {
        connections: values.take("limits.connections")?,
        in_flight: values.take("limits.inFlight")?,
        queue_length: values.take("limits.queueLength")?,
        queue_timeout: values.take("limits.queueTimeout")?,
        header_bytes: values.take("limits.headerBytes")?,
        header_timeout: values.take("limits.headerTimeout")?,
        idle_timeout: values.take("limits.idleTimeout")?,
        handshake_timeout: values.take("limits.handshakeTimeout")?,
        request_body: values.take("limits.requestBody")?,
        upstream_connect: values.take("limits.upstreamConnect")?,
        upstream_headers: values.take("limits.upstreamHeaders")?,
    })
}
