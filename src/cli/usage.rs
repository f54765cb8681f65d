//! Bad usage in one line, which repeats no value: it may be a password that somebody typed in the wrong place.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::EXIT_USAGE;
use crate::auth::names;

/// How much of a mistyped word is shown, in characters.
const SHOWN_CHARS: usize = 40;

/// Tells what was wrong, or shows the help that was asked for; returns the exit code.
pub(super) fn report(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Where the terminal is gone there is nobody to tell.
            drop(error.print());
            0
        }
        _ => {
            let line = line(error);
            let separator = if line.ends_with('?') { "" } else { ";" };
            eprintln!("vestibule: {line}{separator} `{} --help` shows the usage", called(error));
            EXIT_USAGE
        }
    }
}

fn line(error: &Error) -> String {
    let argument = context(error, ContextKind::InvalidArg).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if is_option(&argument) => {
            let option = argument.split('=').next().unwrap_or_default();
            let near = suggestion(error, ContextKind::SuggestedArg);
            // Anything but letters is no slip in an option's name, and may be a password.
            let slip = option.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'));
            format!(
                "there is no {}{near}",
                if slip { format!("option {}", typed(option)) } else { "such option".to_owned() }
            )
        }
        ErrorKind::UnknownArgument => {
            "there is an argument too many (passwords are never arguments: give --password-stdin or --generate)"
                .to_owned()
        }
        ErrorKind::InvalidSubcommand => {
            let command = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = suggestion(error, ContextKind::SuggestedSubcommand);
            format!("there is no command `{}`{near}", typed(&command))
        }
        ErrorKind::MissingSubcommand => {
            let commands = strings(error, ContextKind::ValidSubcommand);
            let commands: Vec<&str> = commands.iter().map(|name| &**name).filter(|name| *name != "help").collect();
            format!("a command is missing: give one of {}", commands.join(", "))
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

/// `--name`, or one letter: behind `--` longer words may begin with a dash.
fn is_option(argument: &str) -> bool {
    argument.starts_with("--") || (argument.starts_with('-') && argument.chars().count() <= 2)
}

/// The command that was called, as its usage begins: `vestibule users add`.
fn called(error: &Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words = usage.trim_start().trim_start_matches("Usage:").split_ascii_whitespace();
    let words: Vec<&str> = words.take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    if words.is_empty() { "vestibule".to_owned() } else { words.join(" ") }
}

/// A mistyped word on one line, cut, and withheld where it is a hash or a token that was pasted in the wrong place.
fn typed(word: &str) -> String {
    let bare = word.trim_start_matches('-');
    if names::looks_like_hash(bare) || bare.starts_with("eyJ") {
        return "(a word that looks like a secret)".to_owned();
    }
    let mut shown: String = word.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if word.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// The word that is most like the mistyped one, which clap puts last.
fn suggestion(error: &Error, kind: ContextKind) -> String {
    strings(error, kind).last().map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    error.get(kind)?;
    Some(strings(error, kind).join(", "))
}

fn strings(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    fn refusal(arguments: &str) -> Error {
        let arguments = std::iter::once("vestibule").chain(arguments.split(' ').filter(|word| !word.is_empty()));
        command().try_get_matches_from(arguments).expect_err("bad usage")
    }

    fn refused(arguments: &str) -> String {
        line(&refusal(arguments))
    }

    #[test]
    fn bad_usage_names_the_argument_and_the_mend() {
        for (arguments, expected) in [
            ("", "a command is missing: give one of dev, serve, users, keys, token, check, inject, completions"),
            ("users", "a command is missing: give one of list, add, passwd, disable, enable, logout, remove, import"),
            ("keys", "a command is missing: give one of list, rotate, revoke"),
            ("token", "a command is missing: give one of issue, inspect"),
            ("usres", "there is no command `usres`; did you mean users?"),
            ("users lst", "there is no command `lst`; did you mean list?"),
            ("users add bob --gruop x", "there is no option --gruop; did you mean --group?"),
            ("users add", "<NAME> is missing"),
            ("users add bob --generate --password-stdin", "--generate and --password-stdin exclude each other"),
            ("users list -o yaml", "the value of --output <FORMAT> is not one of text, json"),
            ("users list --dir", "--dir <DIR> needs a value"),
            ("users list --dir a --dir b", "--dir <DIR> is given twice"),
            ("keys rotate --algorithm RS256", "the value of --algorithm <ALGORITHM> is not one of HS512, ES256, EdDSA"),
            ("completions tcsh", "the value of <SHELL> is not one of bash, zsh, fish, elvish, powershell, kubectl"),
        ] {
            assert_eq!(refused(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn the_command_whose_usage_helps_is_named() {
        for (arguments, expected) in [
            ("", "vestibule"),
            ("usres", "vestibule"),
            ("users", "vestibule users"),
            ("users lst", "vestibule users"),
            ("users add", "vestibule users add"),
            ("keys rotate --ofen", "vestibule keys rotate"),
        ] {
            assert_eq!(called(&refusal(arguments)), expected, "{arguments}");
        }
    }

    #[test]
    fn a_mistyped_word_is_shown_short_and_escaped_or_not_at_all() {
        assert_eq!(refused("us\u{1b}\u{202e}ers"), r"there is no command `us\u{1b}\u{202e}ers`; did you mean users?");
        let long = refused(&"x".repeat(100_000));
        assert!(long.chars().count() < 80 && long.ends_with("x…`"), "{long}");
        for secret in ["$2y$05$abcdef", "$argon2id$v=19$abcdef", "eyJhbGciOiJIUzUxMiJ9.abcdef", "--$6$abcdef"] {
            let line = refused(&format!("users {secret}"));
            assert!(!line.contains("abcdef"), "{line}");
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
            "users passwd bob -phunter2",
            "users passwd bob --hunter2",
            "users passwd bob -- -hunter2",
            "users passwd bob -- --hunter2",
            "users list -o hunter2",
            "users list -ohunter2",
            "users add bob --expires=a --expires hunter2",
            "completions hunter2",
            "keys rotate --algorithm hunter2",
            "token issue ann hunter2",
        ] {
            let line = refused(arguments);
            assert!(!line.contains("hunter2") && !line.contains('\n'), "{arguments}: {line}");
        }
    }
}
