//! Every setting as a flag, made from the one table of settings.

use clap::{Arg, ArgMatches, Command};

use crate::config::{self, Setting};

/// Adds a flag for each setting, once it is this command that was called: they are many.
pub(super) fn add(command: Command) -> Command {
    command.defer(with_all)
}

/// With a flag for each setting.
pub(super) fn with_all(command: Command) -> Command {
    config::flags().fold(command, |command, (flag, setting)| {
        command.arg(
            Arg::new(setting.key)
                .long(flag)
                .value_name(setting.words())
                .help(setting.doc)
                .hide_default_value(true)
                .allow_hyphen_values(true)
                .help_heading("Settings"),
        )
    })
}

/// The settings that were given as flags.
pub(super) fn given(arguments: &ArgMatches) -> Vec<(&'static Setting, String)> {
    config::SETTINGS
        .iter()
        .filter_map(|setting| arguments.get_one::<String>(setting.key).map(|value| (setting, value.clone())))
        .collect()
}

/// The environment; names and values that are no text are no settings.
pub(super) fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
