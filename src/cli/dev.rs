//! `vestibule dev`: the proxy with everything it needs made in one directory.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{Failure, settings_args};
use crate::dev::{self, Options};

pub(super) fn command() -> Command {
    Command::new("dev")
        .about("Try it out: make a CA, a user and a password, and serve an echo application or one of yours")
        .after_help(
            "Every other setting of `vestibule serve` can be given here as well, as its flag or its VESTIBULE_* \
             variable, e.g. --tokens-algorithm ES256; `vestibule serve --help` lists them.",
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .default_value(".vestibule")
                .value_parser(value_parser!(PathBuf))
                .help("Where certificates, users and keys are kept; what is missing is made"),
        )
        .defer(with_settings)
}

fn with_settings(command: Command) -> Command {
    settings_args::with_all(command).mut_args(|arg| {
        let (value, help) = match arg.get_id().as_str() {
            "dir" => return arg,
            "listen" => ("ADDR", "Where clients connect [default: 127.0.0.1:10443]"),
            "admin" => ("ADDR", "Where metrics and probes are served [default: 127.0.0.1:10444]"),
            "upstream" => ("URL", "The application [default: an echo application that is started along]"),
            _ => return arg.hide(true),
        };
        arg.value_name(value).help(help).help_heading(None)
    })
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let dir = arguments.get_one::<PathBuf>("dir").cloned().unwrap_or_default();
    let program = std::env::args_os().next().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let options =
        Options { program, dir, variables: settings_args::variables(), flags: settings_args::given(arguments) };
    dev::run(options).map_err(Failure::from)
}
