//! The command line: one file a command, each thin.

mod dev;
mod serve;
mod settings_args;

use std::process::ExitCode;

use clap::Command;

/// Bad usage or configuration; nothing was bound or written.
const EXIT_USAGE: u8 = 64;

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // Where the terminal is gone there is nobody to tell.
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let result = match matches.subcommand() {
        Some(("dev", arguments)) => dev::run(arguments),
        Some(("serve", arguments)) => serve::run(arguments),
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

fn command() -> Command {
    Command::new("vestibule")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A TLS and bearer-token sidecar for Kubernetes")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(dev::command())
        .subcommand(serve::command())
}
