//! `vestibule serve`: the proxy.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{Failure, settings_args};
use crate::app::{self, ConfigSource, StartError};
use crate::config::Config;

pub(super) fn command() -> Command {
    let command = Command::new("serve").about("Serve: TLS and bearer tokens in front of an application").arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The configuration, in YAML; flags and VESTIBULE_* variables count over it"),
    );
    settings_args::add(command)
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let file = arguments.get_one::<PathBuf>("config");
    let (variables, flags) = (settings_args::variables(), settings_args::given(arguments));
    let loaded = Config::load(file.map(PathBuf::as_path), variables.clone(), flags.clone()).map_err(Failure::usage)?;
    let source = file.map(|file| ConfigSource { file: file.clone(), variables, flags });
    app::serve(loaded, source, |_| {}).map_err(Failure::from)
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(_) => Self::usage(error),
            StartError::Runtime(_) => Self::run_time(error),
        }
    }
}
