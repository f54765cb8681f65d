//! `vestibule token`: an operator's tokens, and what a token says and is worth.

use std::io::{self, Read};
use std::sync::Arc;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::output::{self, Format};
use super::target::{self, Part, Target};
use super::{Failure, settings, span};
use crate::app;
use crate::auth::access::{AccessPolicy, Mode, RouteRule};
use crate::auth::names;
use crate::auth::token::{MAX_TOKEN, Unverified, decode_unverified};
use crate::auth::users::{User, UserState};
use crate::config::{self, Config};
use crate::gate::{Access, Gate, IdentityHeaders, Trust, TunnelLife, group_names};
use crate::login::{Grant, TokenSettings, mint};

/// The longest token's life in seconds, whatever is configured.
const MAX_TTL: u64 = 86_400;
/// A token, its scheme and some space.
const MAX_INPUT: u64 = MAX_TOKEN as u64 + 1024;

pub(super) fn command() -> Command {
    let issue = Command::new("issue")
        .about("Mint a token for a user and print it; no password change ends it, `users logout` does")
        .arg(Arg::new("user").value_name("USER").required(true).help("Whom the token is for"))
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("SPAN")
                .help("How long it is good, such as 5m; at most tokens.maxTtl [default: tokens.ttl]"),
        );
    let inspect = Command::new("inspect")
        .about("Decode a token from standard input, and judge it as the proxy does")
        .arg(output::format_arg());
    Command::new("token")
        .about("Mint tokens, and look into them")
        .subcommand_required(true)
        .subcommand(target::add(settings::add(issue, settings::TOKENS), Part::Both))
        .subcommand(target::add(settings::add(inspect, settings::TOKENS), Part::Both))
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let (command, arguments) = arguments.subcommand().expect("clap asks for a subcommand");
    let config = settings::load(arguments)?;
    let target = Target::of(arguments, &config, Part::Both)?;
    match command {
        "issue" => issue(&target, arguments, &app::settings::tokens(&config.tokens)),
        "inspect" => inspect(&target, &config, output::format(arguments)),
        _ => unreachable!("clap knows these subcommands alone"),
    }
}

fn issue(target: &Target, arguments: &ArgMatches, tokens: &TokenSettings) -> Result<u8, Failure> {
    let ttl = match arguments.get_one::<String>("ttl") {
        None => tokens.ttl,
        Some(text) => ttl(text, tokens.max_ttl)?,
    };
    let name = arguments.get_one::<String>("user").expect("the argument is required");
    let users = target.users()?.users;
    let now = target.now()?;
    let user = users.find(name.as_bytes()).ok_or_else(|| {
        Failure::run_time(format_args!("there is no user {}: `users list` shows who is there", names::shown(name)))
    })?;
    usable(user, now)?;
    let ring = target.ring()?.ring;
    let grant = Grant { credential: None, auth_time: now, ttl: Some(ttl), not_after: None };
    let minted = mint(&ring, user, grant, tokens, now)
        .map_err(|_| Failure::run_time("keys: no key can sign: `keys rotate` makes one where there is none"))?;
    output::print(&format!("{}\n", minted.token))?;
    if minted.exp < now.saturating_add(ttl) {
        let (kid, end) = (names::shown(&minted.kid), output::time(minted.exp));
        output::note(format_args!("the token ends with its key {kid}, at {end}"));
    }
    Ok(0)
}

fn ttl(text: &str, max_ttl: u64) -> Result<u64, Failure> {
    let max = max_ttl.min(MAX_TTL);
    span::seconds(text).filter(|ttl| (1..=max).contains(ttl)).ok_or_else(|| {
        Failure::usage(format_args!("--ttl is a length of time from 1s to {max}s (tokens.maxTtl): write e.g. --ttl 5m"))
    })
}

/// A token that would be refused at once is not made.
fn usable(user: &User, now: u64) -> Result<(), Failure> {
    let name = names::shown(user.name());
    match user.state() {
        UserState::Active => {}
        UserState::Disabled => {
            return Err(Failure::run_time(format_args!("user {name} is disabled: `users enable` lets them in again")));
        }
        UserState::Unusable => {
            return Err(Failure::run_time(format_args!("user {name} is unusable: `users list` says why")));
        }
    }
    // A logout in this very second is one for the tokens before it: those of the next carry on.
    match user.tokens_not_before() {
        Some(at) if at > now + 2 => Err(Failure::run_time(format_args!(
            "tokens of user {name} are refused that were issued before {}: wait until then",
            output::time(at)
        ))),
        _ => Ok(()),
    }
}

fn inspect(target: &Target, config: &Config, format: Format) -> Result<u8, Failure> {
    let input = read_token()?;
    let token = without_scheme(&input);
    if token.is_empty() {
        return Err(Failure::usage("there is no token on standard input: pipe one in, with or without `Bearer `"));
    }
    let trust = Trust {
        users: Arc::new(target.users()?.users),
        users_known: true,
        ring: Arc::new(target.ring()?.ring),
        access: Arc::new(access(&config.access)),
        generation: 0,
    };
    let verdict = Gate::new(app::settings::expected(&config.tokens)).identify(&trust, token, target.now()?);
    let reason = verdict.as_ref().err().map(|reason| reason.as_str());
    let in_api_group = verdict
        .as_ref()
        .ok()
        .map(|identity| trust.access.policy.may_call(RouteRule::Authenticated, group_names(&identity.user)));
    let decoded = decode_unverified(token).ok();
    match format {
        Format::Json => output::print_json(&json!({
            "header": decoded.as_ref().map(|token| &token.header),
            "claims": decoded.as_ref().map(|token| &token.claims),
            "verdict": if reason.is_none() { "good" } else { "refused" },
            "reason": reason,
            "inApiGroup": in_api_group,
        }))?,
        Format::Text => {
            let api = match in_api_group {
                Some(false) => "; the user is in none of access.apiGroups, and may not call the application",
                _ => "",
            };
            let verdict = reason.map_or(format!("good{api}"), |reason| format!("refused: {reason}"));
            output::print(&format!("{}verdict: {verdict}\n", decoded.map_or(String::new(), |token| shown(&token))))?;
        }
    }
    match reason {
        None => Ok(0),
        Some(reason) => {
            let mend = match reason {
                "malformed" => "pipe in the whole of it, three parts with dots between them",
                "user_inactive" => "`users enable` or `users add` lets its user in",
                _ => "log in for a new one, or mint one with `token issue`",
            };
            Err(Failure::run_time(format_args!("the token is refused: {reason}: {mend}")))
        }
    }
}

fn read_token() -> Result<String, Failure> {
    let mut input = Vec::new();
    let read = io::stdin().lock().take(MAX_INPUT).read_to_end(&mut input);
    read.map_err(|error| Failure::run_time(format_args!("standard input cannot be read: {}", error.kind())))?;
    // What is no text is no token, and is judged as such.
    Ok(String::from_utf8_lossy(&input).into_owned())
}

/// A token as it stands in a header, or alone.
fn without_scheme(input: &str) -> &str {
    let input = input.trim();
    match input.split_once(char::is_whitespace) {
        Some((scheme, token)) if ["bearer", "jwt"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            token.trim()
        }
        _ if ["bearer", "jwt"].iter().any(|known| input.eq_ignore_ascii_case(known)) => "",
        _ => input,
    }
}

/// Only the groups matter: there is no request here that rules could be about.
fn access(access: &config::Access) -> Access {
    let policy = AccessPolicy::new(access.api_groups.clone(), Vec::new(), Mode::Enforce);
    let headers = &access.identity_headers;
    Access {
        policy: policy.expect("without rules none can be wrong"),
        headers: Arc::new(IdentityHeaders {
            user: headers.user.clone(),
            groups: headers.groups.clone(),
            forward_token: access.forward_token,
        }),
        tunnels: TunnelLife::Token,
    }
}

fn shown(token: &Unverified) -> String {
    let section = |title: &str, members: &Map<String, Value>| {
        let lines = members.iter().map(|(name, value)| {
            let time = value.as_u64().filter(|_| ["iat", "exp", "nbf", "auth_time"].contains(&name.as_str()));
            let time = time.map(|seconds| format!(" ({})", output::time(seconds))).unwrap_or_default();
            format!("  {}: {}{time}\n", name.escape_debug(), output::json_line(value))
        });
        format!("{title}\n{}", lines.collect::<String>())
    };
    section("header", &token.header) + &section("claims", &token.claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_come_with_its_scheme() {
        for (input, expected) in [
            ("a.b.c\n", "a.b.c"),
            ("Bearer a.b.c", "a.b.c"),
            ("jWt\ta.b.c \n", "a.b.c"),
            ("Basic abc", "Basic abc"),
            ("bearer", ""),
            (" \n", ""),
        ] {
            assert_eq!(without_scheme(input), expected, "{input:?}");
        }
    }

    #[test]
    fn a_ttl_is_bounded_by_the_configuration_and_a_day() {
        assert_eq!(ttl("5m", 86_400).ok(), Some(300));
        assert_eq!(ttl("1d", 86_400).ok(), Some(86_400));
        for (text, max) in [("0s", 86_400), ("61s", 60), ("2d", 1_000_000), ("5", 86_400), ("", 86_400)] {
            let failure = ttl(text, max).expect_err("refused");
            assert_eq!(failure.code, crate::cli::EXIT_USAGE, "{text}");
        }
    }
}
