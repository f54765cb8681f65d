//! The door for `deploy/manual` to the command line: nothing here decides anything.

/// Everything that may stand behind the program's name, with all options.
#[must_use]
pub fn command() -> clap::Command {
    crate::cli::command()
}
