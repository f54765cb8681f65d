//! What the commands need of the configuration: from its file, from options with short names, or the defaults.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{Failure, output, settings_args};
use crate::config::{Config, setting};

/// An option's short name, what its value is called, and its setting.
type Flag = (&'static str, &'static str, &'static str);

/// What counts for the key ring.
pub(super) const KEYS: &[Flag] = &[
    ("rotate-every", "SPAN", "keys.rotateEvery"),
    ("propagation", "SPAN", "keys.propagation"),
    ("max-ttl", "SPAN", "tokens.maxTtl"),
];
/// What counts for tokens.
pub(super) const TOKENS: &[Flag] = &[("issuer", "TEXT", "tokens.issuer"), ("audience", "TEXT", "tokens.audience")];

/// Adds `--config` and an option for each of these settings.
pub(super) fn add(command: Command, settings: &[Flag]) -> Command {
    let command = command.arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The configuration that `serve` uses; VESTIBULE_* variables and options count over it"),
    );
    settings.iter().fold(command, |command, (option, value, key)| {
        let setting = setting(key).expect("the lists above name settings");
        // The name that `serve` knows it by does as well.
        command.arg(
            Arg::new(setting.key)
                .long(*option)
                .alias(setting.flag())
                .value_name(*value)
                .help(setting.doc)
                .allow_hyphen_values(true),
        )
    })
}

/// The configuration. Without a file it is the defaults with what is given as options, and its store says nothing.
pub(super) fn load(arguments: &ArgMatches) -> Result<Config, Failure> {
    let given = KEYS.iter().chain(TOKENS).filter_map(|(_, _, key)| {
        let value = arguments.try_get_one::<String>(key).ok().flatten()?;
        Some((setting(key)?, value.clone()))
    });
    let loaded = match arguments.get_one::<PathBuf>("config") {
        Some(file) => Config::load(Some(file), settings_args::variables(), given),
        None => Config::load(
            None,
            [],
            setting("store.directory.users").map(|s| (s, "users".to_owned())).into_iter().chain(given),
        ),
    };
    let loaded = loaded.map_err(|error| Failure::usage(with_own_names(error.to_string())))?;
    for warning in &loaded.warnings {
        output::warn(warning);
    }
    Ok(loaded.config)
}

/// Errors name an option as it is named here.
fn with_own_names(error: String) -> String {
    KEYS.iter().chain(TOKENS).fold(error, |error, (option, _, key)| match setting(key) {
        Some(setting) => error.replace(&format!("--{}", setting.flag()), &format!("--{option}")),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::settings::rotation;
    use crate::auth::keys::Algorithm;
    use crate::auth::rotation::Policy;

    fn policy(options: &[&str]) -> Result<Policy, String> {
        let arguments = std::iter::once("x").chain(options.iter().copied());
        let matches = add(Command::new("x"), KEYS).try_get_matches_from(arguments).expect("options that are there");
        load(&matches).map(|config| rotation(&config)).map_err(|failure| failure.message)
    }

    #[test]
    fn options_count_over_the_defaults() {
        let defaults = Policy {
            algorithm: Algorithm::Hs512,
            rotate_every: 30 * 86_400,
            propagation: 120,
            max_ttl: 86_400,
            ttl: 300,
        };
        assert_eq!(policy(&[]), Ok(defaults));
        let options = ["--rotate-every=7d", "--propagation=1m", "--max-ttl=4m"];
        let expected = Policy { rotate_every: 7 * 86_400, propagation: 60, max_ttl: 240, ttl: 240, ..defaults };
        assert_eq!(policy(&options), Ok(expected));
        assert_eq!(policy(&["--keys-rotate-every", "7d"]), Ok(Policy { rotate_every: 7 * 86_400, ..defaults }));
    }

    #[test]
    fn bad_values_name_the_setting() {
        for (option, setting) in [
            ("--rotate-every=often", "`keys.rotateEvery`"),
            ("--rotate-every=1s", "`keys.rotateEvery`"),
            ("--propagation=-1s", "`keys.propagation`"),
            ("--max-ttl=400d", "`tokens.maxTtl`"),
            ("--propagation=20d", "`keys.propagation`"),
        ] {
            let error = policy(&[option]).expect_err("a bad value");
            assert!(error.contains(setting) && !error.contains('\n'), "{option}: {error}");
            let name = option.split('=').next().expect("an option");
            assert!(
                error.contains(&format!("{name}: ")) && !error.contains("--tokens") && !error.contains("--keys"),
                "{error}"
            );
        }
    }
}
