//! From the configuration's words to what each part is made of.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::access::{self, AccessPolicy, Effect, Matcher};
use crate::auth::keys::Algorithm;
use crate::auth::rotation;
use crate::auth::throttle;
use crate::auth::token::Expected;
use crate::config::{self, Config, Limits, Mode, RuleEffect, RuleMatch, Tokens, Tunnels};
use crate::gate::{Access, IdentityHeaders, Publisher, TunnelLife};
use crate::http::{LoginPaths, WorkerParts};
use crate::login::{Desk, TokenSettings};
use crate::metrics::{Dialect, Metrics};
use crate::server::ConnectionLimits;
use crate::shutdown::Shutdown;
use crate::store::Reread;
use crate::telemetry::{Format, Level, Logger, Settings};

pub(super) fn log(log: &config::Log) -> Settings {
    // Both sides have the same closed sets of names.
    let format = log.format.as_str().parse().unwrap_or(Format::Json);
    let level = log.level.as_str().parse().unwrap_or(Level::Info);
    Settings { format, level, access: log.access }
}

/// # Errors
///
/// A rule that could not do what it seems to say.
pub(super) fn access(access: &config::Access, max_session: Duration) -> Result<Access, String> {
    let rules = access.rules.iter().map(|rule| access::Rule {
        matcher: match &rule.matcher {
            RuleMatch::Path(path) => Matcher::Path(path.clone()),
            RuleMatch::Prefix(prefix) => Matcher::Prefix(prefix.clone()),
        },
        methods: rule.methods.clone(),
        effect: match &rule.effect {
            RuleEffect::Anyone => Effect::Anyone,
            RuleEffect::Authenticated => Effect::Authenticated,
            RuleEffect::Groups(groups) => Effect::Groups(groups.clone()),
        },
    });
    let mode = match access.mode {
        Mode::Enforce => access::Mode::Enforce,
        Mode::Shadow => access::Mode::Shadow,
    };
    let policy = AccessPolicy::new(access.api_groups.clone(), rules.collect(), mode)
        .map_err(|error| format!("access.rules: {error}"))?;
    Ok(Access {
        policy,
        headers: Arc::new(IdentityHeaders {
            user: access.identity_headers.user.clone(),
            groups: access.identity_headers.groups.clone(),
            forward_token: access.forward_token,
        }),
        tunnels: match access.tunnels {
            Tunnels::Session => TunnelLife::Session(max_session.as_secs()),
            Tunnels::Token => TunnelLife::Token,
        },
    })
}

pub(crate) fn rotation(config: &Config) -> rotation::Policy {
    rotation::Policy {
        algorithm: algorithm(config.tokens.algorithm),
        rotate_every: config.keys.rotate_every.as_secs(),
        propagation: config.keys.propagation.as_secs(),
        max_ttl: config.tokens.max_ttl.as_secs(),
        ttl: config.tokens.ttl.as_secs(),
    }
}

fn algorithm(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::Hs512 => Algorithm::Hs512,
        config::Algorithm::Es256 => Algorithm::Es256,
        config::Algorithm::EdDsa => Algorithm::EdDsa,
    }
}

pub(super) fn throttle(throttle: &config::Throttle) -> throttle::Policy {
    throttle::Policy {
        first: throttle.first,
        factor: throttle.factor,
        max: throttle.max,
        forget_after: throttle.forget_after,
        entries: throttle.entries,
    }
}

pub(crate) fn expected(tokens: &Tokens) -> Expected {
    Expected { issuer: tokens.issuer.clone(), audience: tokens.audience.clone() }
}

pub(crate) fn tokens(tokens: &Tokens) -> TokenSettings {
    TokenSettings {
        issuer: tokens.issuer.clone(),
        audience: tokens.audience.clone(),
        ttl: tokens.ttl.as_secs(),
        max_ttl: tokens.max_ttl.as_secs(),
        max_session: tokens.max_session.as_secs(),
    }
}

pub(super) fn connection_limits(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits {
        header_bytes: limits.header_bytes,
        header_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        handshake_timeout: limits.handshake_timeout,
    }
}

pub(super) fn worker_parts(
    config: &Config,
    publisher: &Publisher,
    reread: Reread,
    desk: Arc<Desk>,
    shutdown: &Shutdown,
    metrics: &Arc<Metrics>,
    log: &Logger,
) -> WorkerParts {
    let paths = &config.authorize.paths;
    let of = |paths: &[String], dialect| paths.iter().map(move |path| (path.clone(), dialect)).collect::<Vec<_>>();
    let login_paths =
        [of(&paths.densify, Dialect::Densify), of(&paths.redis, Dialect::Redis), of(&paths.refresh, Dialect::Refresh)];
    WorkerParts {
        trust: publisher.subscribe(),
        reread,
        desk,
        tokens: tokens(&config.tokens),
        login_paths: LoginPaths::new(login_paths.concat()),
        trusted_proxies: config.trusted_proxies.clone(),
        header_bytes: config.limits.header_bytes,
        login_deadline: config.limits.header_timeout,
        shutdown: shutdown.clone(),
        metrics: Arc::clone(metrics),
        log: log.clone(),
    }
}
