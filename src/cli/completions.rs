//! `vestibule completions`: what a shell, or kubectl, needs to complete commands and options.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, ValueEnum};
use clap_complete::Shell;

use super::{Failure, output};

/// Not a shell: the program that kubectl asks for completions of its plugin.
const KUBECTL: &str = "kubectl";
const FOR_KUBECTL: &str = include_str!("kubectl_complete-vestibule");

pub(super) fn command() -> Command {
    Command::new("completions").about("Print completions for a shell").arg(
        Arg::new("shell")
            .value_name("SHELL")
            .required(true)
            .value_parser(PossibleValuesParser::new(["bash", "zsh", "fish", "elvish", "powershell", KUBECTL]))
            .hide_possible_values(true)
            .help("The shell: bash, zsh, fish, elvish or powershell; or kubectl: a program kubectl_complete-vestibule"),
    )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let name = arguments.get_one::<String>("shell").expect("the argument is required");
    if name == KUBECTL {
        output::print(FOR_KUBECTL)?;
        return Ok(0);
    }
    let shell = Shell::from_str(name, false).expect("every other value is a shell's name");
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "vestibule", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_that_can_be_had_is_offered() {
        let command = command();
        let argument = command.get_positionals().next().expect("the shell");
        let mut offered: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let mut known: Vec<String> = Shell::value_variants().iter().map(ToString::to_string).collect();
        known.push(KUBECTL.to_owned());
        offered.sort();
        known.sort();
        assert_eq!(offered, known);
    }
}
