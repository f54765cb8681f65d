//! Bad usage in one line, which repeats no value: it may be a password that somebody typed in the wrong place.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::EXIT_USAGE;

/// Tells what was wrong, or shows the help that was asked for; returns the exit code.
pub(super) fn report(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Where the terminal is gone there is nobody to tell.
            drop(error.print());
        }
        _ => eprintln!("vestibule: {}; `--help` shows the usage", line(error)),
    }
    if error.use_stderr() { EXIT_USAGE } else { 0 }
}

fn line(error: &Error) -> String {
    let argument = context(error, ContextKind::InvalidArg).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let option = argument.split('=').next().unwrap_or_default();
            let near = suggestion(error, ContextKind::SuggestedArg);
            format!("there is no option {}{near}", option.escape_debug())
        }
        ErrorKind::UnknownArgument => {
            "there is an argument too many (passwords are never arguments: give --password-stdin or --generate)"
                .to_owned()
        }
        ErrorKind::InvalidSubcommand => {
            let command = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = suggestion(error, ContextKind::SuggestedSubcommand);
            format!("there is no command `{}`{near}", command.escape_debug())
        }
        ErrorKind::InvalidValue => match context(error, ContextKind::ValidValue) {
            Some(valid) if !valid.is_empty() => format!("the value of {argument} is not one of {valid}"),
            _ => format!("{argument} needs a value"),
        },
        ErrorKind::TooManyValues => format!("{argument} takes no value"),
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::ArgumentConflict => match context(error, ContextKind::PriorArg) {
            Some(prior) if prior != argument => format!("{argument} and {prior} exclude each other"),
            _ => format!("{argument} is given twice"),
        },
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ if argument.is_empty() => "the arguments do not fit the command".to_owned(),
        _ => format!("the value of {argument} cannot be used"),
    }
}

fn suggestion(error: &Error, kind: ContextKind) -> String {
    context(error, kind).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    fn refused(arguments: &str) -> String {
        let arguments = std::iter::once("vestibule").chain(arguments.split(' '));
        line(&command().try_get_matches_from(arguments).expect_err("bad usage"))
    }

    #[test]
    fn bad_usage_names_the_argument_and_the_mend() {
        for (arguments, expected) in [
            ("users lst", "there is no command `lst`; did you mean list?"),
            ("users add bob --gruop x", "there is no option --gruop; did you mean --group?"),
            ("users add", "<NAME> is missing"),
            ("users add bob --generate --password-stdin", "--generate and --password-stdin exclude each other"),
            ("users list -o yaml", "the value of --output <FORMAT> is not one of text, json"),
            ("users list --dir", "--dir <DIR> needs a value"),
            ("users list --dir a --dir b", "--dir <DIR> is given twice"),
            ("keys rotate --algorithm RS256", "the value of --algorithm <ALGORITHM> is not one of HS512, ES256, EdDSA"),
            ("completions tcsh", "the value of <SHELL> is not one of bash, elvish, fish, powershell, zsh"),
        ] {
            assert_eq!(refused(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn what_may_be_a_password_is_not_repeated() {
        for arguments in [
            "users add bob hunter2",
            "users passwd bob hunter2",
            "users passwd bob --password hunter2",
            "users passwd bob --password=hunter2",
            "users passwd bob --password-stdin=hunter2",
            "users passwd bob --generate=hunter2",
            "users list -o hunter2",
        ] {
            let line = refused(arguments);
            assert!(!line.contains("hunter2") && !line.contains('\n'), "{arguments}: {line}");
        }
    }
}
