//! `vestibule completions`: what a shell needs to complete commands and options.

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::{Failure, output};

pub(super) fn command() -> Command {
    Command::new("completions").about("Print completions for a shell").arg(
        Arg::new("shell")
            .value_name("SHELL")
            .required(true)
            .value_parser(value_parser!(Shell))
            .help("The shell: bash, zsh, fish, elvish or powershell"),
    )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let shell = *arguments.get_one::<Shell>("shell").expect("the argument is required");
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "vestibule", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
