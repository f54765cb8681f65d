//! Where a new password comes from: a prompt without echo, standard input, or chance. Never an argument.

use std::io::{self, IsTerminal, Read};

use clap::{Arg, ArgAction, ArgMatches, Command};
use zeroize::Zeroizing;

use super::Failure;
use crate::auth::password::Password;

/// The longest password: a login's body, with all its escapes, is bounded too.
const MAX_BYTES: usize = 1024;

/// A new password, and whether its owner has yet to be told.
pub(super) struct NewPassword {
    pub(super) password: Password,
    pub(super) generated: bool,
}

/// Adds the options that say where the password comes from.
pub(super) fn add(command: Command) -> Command {
    command
        .arg(
            Arg::new("password-stdin")
                .long("password-stdin")
                .action(ArgAction::SetTrue)
                .help("Read the password, one line, from standard input"),
        )
        .arg(
            Arg::new("generate")
                .long("generate")
                .action(ArgAction::SetTrue)
                .conflicts_with("password-stdin")
                .help("Make a random password, and print it once"),
        )
}

/// Gets the password; asks for it twice where no option says otherwise.
pub(super) fn read(arguments: &ArgMatches, user: &str) -> Result<NewPassword, Failure> {
    if arguments.get_flag("generate") {
        return Ok(NewPassword { password: Password::generate(), generated: true });
    }
    let password = if arguments.get_flag("password-stdin") { from_stdin()? } else { asked(user)? };
    Ok(NewPassword { password, generated: false })
}

fn from_stdin() -> Result<Password, Failure> {
    // Two bytes more than allowed: a line break.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 3));
    let read = io::stdin().lock().take(MAX_BYTES as u64 + 3).read_to_end(&mut line);
    read.map_err(|error| Failure::run_time(format_args!("standard input cannot be read: {}", error.kind())))?;
    line_of(&line).map_err(|reason| Failure::usage(format_args!("the password on standard input {reason}")))
}

fn asked(user: &str) -> Result<Password, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "there is no terminal to ask for the password at: give --password-stdin or --generate",
        ));
    }
    let ask = |prompt: String| -> Result<Password, Failure> {
        let typed = rpassword::prompt_password(prompt).map_err(|error| {
            let kind = error.kind();
            Failure::run_time(format_args!(
                "no password was read at the terminal ({kind}): try again, or give --password-stdin or --generate"
            ))
        })?;
        Ok(Password::new(typed.into_bytes()))
    };
    let password = ask(format!("New password for {user}: "))?;
    checked(password.as_bytes()).map_err(|reason| Failure::usage(format_args!("the password {reason}")))?;
    if ask("The same again: ".to_owned())? == password {
        Ok(password)
    } else {
        Err(Failure::run_time("the two passwords differ: nothing was changed; try again"))
    }
}

/// The one line, without its break.
fn line_of(text: &[u8]) -> Result<Password, &'static str> {
    let line = text.strip_suffix(b"\n").map_or(text, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if line.contains(&b'\n') && line.len() <= MAX_BYTES {
        return Err("is more than one line: give the password alone");
    }
    checked(line)?;
    Ok(Password::new(line))
}

/// What JSON and HTTP Basic (RFC 7617, section 2) can both carry.
fn checked(password: &[u8]) -> Result<(), &'static str> {
    if password.is_empty() {
        return Err("is empty: give one");
    }
    if password.len() > MAX_BYTES {
        return Err("is longer than 1024 bytes: give a shorter one");
    }
    let text = str::from_utf8(password).map_err(|_| "is not UTF-8: no JSON could carry it; give another")?;
    if text.contains(char::is_control) {
        return Err("holds control characters, which HTTP Basic cannot carry: give another");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_of_text() {
        let longest = "x".repeat(MAX_BYTES);
        for (text, expected) in [
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret", "secret"),
            (" two words \n", " two words "),
            ("ünïcode\n", "ünïcode"),
            (&format!("{longest}\r\n"), &longest),
        ] {
            assert_eq!(line_of(text.as_bytes()), Ok(Password::new(expected)), "{text:?}");
        }
    }

    #[test]
    fn what_no_login_could_send_is_refused() {
        let long = "x".repeat(MAX_BYTES + 1);
        for (text, why) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b"\r\n", "empty"),
            (b"one\ntwo\n", "one line"),
            (b"one\n\n", "one line"),
            (long.as_bytes(), "1024"),
            (b"\xff\xfe\n", "UTF-8"),
            (b"a\0b\n", "control"),
            (b"a\x1b[A\n", "control"),
            (b"a\rb\n", "control"),
        ] {
            let reason = line_of(text).expect_err("refused");
            assert!(reason.contains(why), "{text:?}: {reason}");
        }
    }
}
