//! The command line: one file a command, each thin.

mod check;
mod completions;
mod dev;
mod inject;
mod keys;
mod kubeconfig;
mod output;
mod prompt;
mod serve;
mod settings;
mod settings_args;
mod span;
mod target;
mod token;
mod usage;
mod users;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;

/// Bad usage or configuration; nothing was bound or written.
const EXIT_USAGE: u8 = 64;

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    keep_memory_private();
    let program = std::env::args_os().next().unwrap_or_default();
    let matches = match called_as(command(), &program).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return ExitCode::from(usage::report(&error)),
    };
    let result = match matches.subcommand() {
        Some(("dev", arguments)) => dev::run(arguments),
        Some(("serve", arguments)) => serve::run(arguments),
        Some(("users", arguments)) => users::run(arguments),
        Some(("keys", arguments)) => keys::run(arguments),
        Some(("token", arguments)) => token::run(arguments),
        Some(("check", arguments)) => check::run(arguments),
        Some(("inject", arguments)) => inject::run(arguments),
        Some(("completions", arguments)) => completions::run(arguments),
        _ => unreachable!("clap asks for one of the subcommands"),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("vestibule: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Passwords and keys are in memory: no core dump is to hold them, and no process of the same user may read them there
/// (prctl(2), `PR_SET_DUMPABLE`).
fn keep_memory_private() {
    // Without it everything else works all the same.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Why a command failed: one line, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Bad usage or configuration.
    pub(crate) fn usage(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: EXIT_USAGE }
    }

    /// It did not work out.
    pub(crate) fn run_time(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: 1 }
    }
}

/// Everything that may stand behind the program's name.
pub(crate) fn command() -> Command {
    Command::new("vestibule")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A TLS and bearer-token sidecar for Kubernetes")
        .subcommand_required(true)
        .subcommand(dev::command())
        .subcommand(serve::command())
        .subcommand(users::command())
        .subcommand(keys::command())
        .subcommand(token::command())
        .subcommand(check::command())
        .subcommand(inject::command())
        .subcommand(completions::command())
}

/// Whether kubectl has started the program, as a plugin of its own.
fn is_plugin() -> bool {
    std::env::args_os().next().is_some_and(|program| names_plugin(&program))
}

fn names_plugin(program: &OsStr) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == "kubectl-vestibule")
}

/// Installed as a plugin of kubectl, the program says so in its usage.
fn called_as(command: Command, program: &OsStr) -> Command {
    command.bin_name(if names_plugin(program) { "kubectl vestibule" } else { "vestibule" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        command().debug_assert();
    }

    /// Settings are in a document of their own.
    #[test]
    fn the_document_names_every_command_and_option() {
        fn look(command: &Command, document: &str) {
            let of_clap = |name: &str| name == "help" || name == "version";
            let options = command.get_arguments().filter(|argument| !of_clap(argument.get_id().as_str()));
            let options = options.filter(|argument| !argument.is_hide_set());
            let options = options.filter(|argument| argument.get_help_heading() != Some("Settings"));
            for option in options.filter_map(clap::Arg::get_long) {
                assert!(document.contains(&format!("--{option}")), "--{option}");
            }
            for command in command.get_subcommands().filter(|command| !of_clap(command.get_name())) {
                assert!(document.contains(command.get_name()), "{}", command.get_name());
                look(command, document);
            }
        }
        let mut command = command();
        command.build();
        look(&command, include_str!("../docs/commands.md"));
    }

    #[test]
    fn a_kubectl_plugin_is_called_by_kubectl() {
        for (program, expected) in [
            ("/usr/local/bin/kubectl-vestibule", "Usage: kubectl vestibule <"),
            ("kubectl-vestibule", "Usage: kubectl vestibule <"),
            ("/usr/bin/vestibule", "Usage: vestibule <"),
            ("", "Usage: vestibule <"),
        ] {
            let help = called_as(command(), OsStr::new(program)).render_help().to_string();
            assert!(help.contains(expected), "{program}: {help}");
        }
    }
}
