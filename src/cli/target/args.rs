//! The arguments that say where users and keys are, and the place that they, or the configuration, name.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::super::{Failure, is_plugin, kubeconfig};
use super::{Directory, Secrets, Target};
use crate::config::{self, Config, Store, setting};

/// What `dev` makes, where no other directory is named.
const DEFAULT_DIR: &str = ".vestibule";

/// What a command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Part {
    Users,
    Keys,
    Both,
}

/// The Secrets' names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) users: Vec<String>,
    /// Which of them changes are made to; `None`: nobody has said.
    pub(super) changed: Option<usize>,
    pub(super) keys: String,
}

/// Adds `--dir DIR`, and what names Secrets instead.
pub(in crate::cli) fn add(command: Command, part: Part) -> Command {
    let secret = |id: &'static str| Arg::new(id).long(id).value_name("NAME").value_parser(secret_name);
    let default = |key| setting(key).map_or("", |setting| setting.default);
    let (users, keys) = (default("store.kubernetes.users"), default("store.kubernetes.keys"));
    let dir = Arg::new("dir")
        .long("dir")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .conflicts_with_all(kubeconfig::IDS)
        .conflicts_with("secret")
        .help(format!("The directory with `users` and `keys` in it [default: {DEFAULT_DIR}]"));
    let command = match part {
        Part::Users => command.arg(secret("secret").help(format!("The Secret with the users [default: {users}]"))),
        Part::Keys => command.arg(secret("secret").help(format!("The Secret with the keys [default: {keys}]"))),
        Part::Both => command
            .arg(
                secret("secret")
                    .action(ArgAction::Append)
                    .help(format!("The Secret with the users, as often as there are several [default: {users}]")),
            )
            .arg(
                secret("keys-secret").conflicts_with("dir").help(format!("The Secret with the keys [default: {keys}]")),
            ),
    };
    command.arg(dir).args(kubeconfig::args())
}

impl Target {
    /// What the arguments name; else, where a configuration was given, its store; else the default directory, or as a
    /// plugin of kubectl the default Secrets.
    pub(in crate::cli) fn of(arguments: &ArgMatches, config: &Config, part: Part) -> Result<Self, Failure> {
        if let Some(dir) = arguments.get_one::<PathBuf>("dir") {
            return Ok(Self::Directory(Directory::at(dir)));
        }
        let is_configured = arguments.get_one::<PathBuf>("config").is_some();
        let names_secrets =
            kubeconfig::is_given(arguments) || named(arguments, "secret") || named(arguments, "keys-secret");
        let (namespace, users, keys) = match &config.store {
            Store::Directory(store) if is_configured && !names_secrets => {
                return Ok(Self::Directory(Directory { users: store.users.clone(), keys: store.keys.clone() }));
            }
            Store::Kubernetes(store) if is_configured => {
                (store.namespace.as_deref(), store.users.clone(), store.keys.clone())
            }
            _ if names_secrets || is_plugin() => {
                let default = |key| setting(key).map_or("", |setting| setting.default).to_owned();
                (None, vec![default("store.kubernetes.users")], default("store.kubernetes.keys"))
            }
            _ => return Ok(Self::Directory(Directory::at(Path::new(DEFAULT_DIR)))),
        };
        let given = |id| arguments.try_get_many::<String>(id).ok().flatten().unwrap_or_default().cloned().collect();
        let names = choose(part, users, keys, given("secret"), given("keys-secret"));
        Secrets::new(arguments, namespace, names, part).map(Self::Secrets)
    }
}

/// What is given counts over what is configured. One of the configured Secrets of users stays among the others.
fn choose(
    part: Part,
    mut users: Vec<String>,
    mut keys: String,
    secret: Vec<String>,
    keys_secret: Vec<String>,
) -> Names {
    if let Some(name) = keys_secret.into_iter().next() {
        keys = name;
    }
    let mut changed = (users.len() == 1).then_some(0);
    match part {
        _ if secret.is_empty() => {}
        Part::Keys => keys = secret.into_iter().next().unwrap_or(keys),
        Part::Users | Part::Both => {
            let place = users.iter().position(|name| secret == [name.as_str()]).filter(|_| part == Part::Users);
            if place.is_none() {
                users = secret;
            }
            changed = Some(place.unwrap_or(0));
        }
    }
    Names { users, changed, keys }
}

fn named(arguments: &ArgMatches, id: &str) -> bool {
    arguments.try_contains_id(id).unwrap_or(false)
}

fn secret_name(text: &str) -> Result<String, &'static str> {
    config::is_secret_name(text).then(|| text.to_owned()).ok_or("no name of a Secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_names_count_over_configured_ones() {
        let (one, two): (&[&str], &[&str]) = (&["u"], &["u", "v"]);
        for (part, configured, secret, keys_secret, expected) in [
            (Part::Users, one, &[][..], &[][..], (one, Some(0), "k")),
            (Part::Users, two, &[], &[], (two, None, "k")),
            (Part::Users, two, &["v"], &[], (two, Some(1), "k")),
            (Part::Users, two, &["w"], &[], (&["w"], Some(0), "k")),
            (Part::Keys, two, &["w"], &[], (two, None, "w")),
            (Part::Both, two, &["v"], &["x"], (&["v"], Some(0), "x")),
            (Part::Both, one, &["v", "w"], &[], (&["v", "w"], Some(0), "k")),
        ] {
            let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
            let names = choose(part, owned(configured), "k".to_owned(), owned(secret), owned(keys_secret));
            let (users, changed, keys) = expected;
            assert_eq!(names, Names { users: owned(users), changed, keys: keys.to_owned() }, "{part:?} {secret:?}");
        }
    }
}
