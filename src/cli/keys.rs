//! `vestibule keys`: what tokens are signed with.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::Failure;
use super::output::{self, Format};
use super::settings;
use super::target::{self, Part, Ring, Target};
use crate::app;
use crate::auth::keys::{Algorithm, Key, KeyRing};
use crate::auth::names;
use crate::auth::rotation::{self, Idle, Plan, Policy};
use crate::clock::epoch;

pub(super) fn command() -> Command {
    let located = |command| target::add(command, Part::Keys);
    Command::new("keys")
        .about("Manage what tokens are signed with")
        .subcommand_required(true)
        .subcommand(settings::add(
            located(Command::new("list").about("Show all keys, without what they sign with")).arg(output::format_arg()),
            &[],
        ))
        .subcommand(settings::add(
            located(
                Command::new("rotate")
                    .about("Publish a successor of the signing key; nothing to do while one is pending"),
            )
            .arg(
                Arg::new("if-due")
                    .long("if-due")
                    .action(ArgAction::SetTrue)
                    .help("Only where the policy says that it is time"),
            )
            .arg(
                Arg::new("algorithm")
                    .long("algorithm")
                    .value_name("ALGORITHM")
                    .value_parser(PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::as_str)))
                    .help("What the new key signs with; else the present signer's stays"),
            ),
            settings::KEYS,
        ))
        .subcommand(settings::add(
            located(
                Command::new("revoke")
                    .about("Remove a key at once, with all tokens that it signed; another one takes over"),
            )
            .arg(Arg::new("kid").value_name("KID").required(true).help("The key's name, as `keys list` shows it")),
            &[],
        ))
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let (command, arguments) = arguments.subcommand().expect("clap asks for a subcommand");
    let config = settings::load(arguments)?;
    let target = Target::of(arguments, &config, Part::Keys)?;
    let policy = app::settings::rotation(&config);
    match command {
        "list" => list(&target, output::format(arguments), epoch(), &policy),
        "rotate" => rotate(&target, arguments, policy),
        "revoke" => revoke(&target, arguments.get_one::<String>("kid").expect("the argument is required"), &policy),
        _ => unreachable!("clap knows these subcommands alone"),
    }
}

fn list(target: &Target, format: Format, now: u64, policy: &Policy) -> Result<u8, Failure> {
    let parsed = target.ring()?;
    let ring = &parsed.ring;
    match format {
        Format::Json => {
            let described = |key: &Key| {
                json!({
                    "kid": **key.kid(),
                    "alg": key.algorithm().as_str(),
                    "state": state(ring, key, now, policy),
                    "iat": key.iat(),
                    "nbf": key.nbf(),
                    "exp": key.exp(),
                })
            };
            output::print_json(&ring.keys().iter().map(described).collect::<Value>())?;
        }
        Format::Text => {
            let row = |key: &Key| {
                [
                    key.kid().escape_debug().to_string(),
                    key.algorithm().to_string(),
                    state(ring, key, now, policy).to_owned(),
                    output::time(key.iat()),
                    output::time(key.nbf()),
                    key.exp().map_or("-".to_owned(), output::time),
                ]
            };
            let rows: Vec<_> = ring.keys().iter().map(row).collect();
            output::print(&output::table(["KID", "ALG", "STATE", "MADE", "SIGNS FROM", "ENDS"], &rows))?;
        }
    }
    for warning in &parsed.warnings {
        output::warn(format_args!("keys: {warning}"));
    }
    Ok(0)
}

/// As the metric counts them; and those that are over.
fn state(ring: &KeyRing, key: &Key, now: u64, policy: &Policy) -> &'static str {
    let is_signer = ring.signer(now, policy.ttl).is_some_and(|signer| signer.kid() == key.kid());
    if key.is_past(now) {
        "expired"
    } else if is_signer {
        "active"
    } else if key.nbf() > now {
        "pending"
    } else {
        "retiring"
    }
}

fn rotate(target: &Target, arguments: &ArgMatches, policy: Policy) -> Result<u8, Failure> {
    let algorithm = arguments
        .get_one::<String>("algorithm")
        .map(|name| name.parse::<Algorithm>().expect("clap lets the names of algorithms through alone"));
    // Without a word from anybody the signer's algorithm stays.
    let keeps_algorithm = arguments.get_one::<std::path::PathBuf>("config").is_none();
    let if_due = arguments.get_flag("if-due");
    let told = target.change_ring(|ring| {
        let now = target.exact_now()?;
        let plan = if if_due {
            let signers = ring.signer(now, policy.ttl).map(Key::algorithm).filter(|_| keeps_algorithm);
            rotation::plan(
                ring,
                now,
                &Policy { algorithm: algorithm.or(signers).unwrap_or(policy.algorithm), ..policy },
            )
        } else {
            rotation::rotate(ring, now, &policy, algorithm)
        };
        match plan {
            Plan::Write(change) => {
                let key = Key::fresh(change.algorithm, change.iat, change.nbf);
                let kid = key.kid().to_string();
                let told = format!("a new {} key signs from {}", change.algorithm, output::time(change.nbf));
                Ok(Ring::Write(change.apply(ring, |_, _, _| key), (Some(kid), told)))
            }
            Plan::Nothing { why: Idle::RingFull, .. } => {
                Err(Failure::run_time("keys: the ring holds as many keys as it may: remove one with `keys revoke`"))
            }
            Plan::Nothing { why: Idle::NotDue, next } => {
                Ok(Ring::Keep((None, format!("nothing to do: the next rotation is due at {}", output::time(next)))))
            }
            Plan::Nothing { why: Idle::SuccessorPending, next } => Ok(Ring::Keep((
                None,
                format!("nothing to do: a successor is published already and signs from {}", output::time(next)),
            ))),
        }
    })?;
    let (kid, told) = told;
    output::note(told);
    if let Some(kid) = kid {
        output::print(&format!("{kid}\n"))?;
    }
    Ok(0)
}

fn revoke(target: &Target, kid: &str, policy: &Policy) -> Result<u8, Failure> {
    let signer = target.change_ring(|ring| {
        let now = target.now()?;
        let next = rotation::revoke(ring, kid, now, policy, Key::fresh).map_err(|_| {
            Failure::run_time(format_args!("keys: no key has the kid {}: `keys list` shows them", names::shown(kid)))
        })?;
        let signer = next.signer(now, policy.ttl).map(|key| key.kid().to_string());
        Ok(Ring::Write(next, signer))
    })?;
    let signs = signer.map_or("no key signs".to_owned(), |kid| format!("{} signs", names::shown(&kid)));
    output::note(format_args!("key {} is revoked; {signs}", names::shown(kid)));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_in_the_state_that_the_ring_counts_it_in() {
        let policy = Policy { algorithm: Algorithm::Hs512, rotate_every: 1000, propagation: 10, max_ttl: 60, ttl: 5 };
        let key = |kid: &str, nbf: u64, exp| Key::generate(Algorithm::Hs512, kid, 0, nbf).with_exp(exp);
        let keys = vec![
            key("past", 10, Some(100)),
            key("old", 20, Some(150)),
            key("signer", 90, None),
            key("next", 101, None),
        ];
        let ring = KeyRing::new(keys).unwrap();
        let states: Vec<_> = ring.keys().iter().map(|key| state(&ring, key, 100, &policy)).collect();
        assert_eq!(states, ["expired", "retiring", "active", "pending"]);
        let counts = ring.states(100, policy.ttl);
        assert_eq!((counts.retiring, counts.active, counts.pending), (1, 1, 1));
    }
}
