//! Bad usage in one line, completions for each shell, and the name that kubectl gives.

use std::os::unix::process::CommandExt;

use super::support::Home;
use crate::support::{Commands, Ran};

#[test]
fn bad_usage_is_one_line_that_repeats_no_value() {
    let home = Home::new();
    for (arguments, words) in [
        ("users passwd ann hunter2", "passwords are never arguments"),
        ("users passwd ann --password hunter2", "there is no option --password"),
        ("users passwd ann --generate=hunter2", "--generate takes no value"),
        ("users lst", "did you mean list?"),
        ("frobnicate", "there is no command `frobnicate`"),
        ("usres", "there is no command `usres`; did you mean users? `vestibule --help` shows the usage"),
        ("users add", "<NAME> is missing; `vestibule users add --help` shows the usage"),
        ("inject --user 0", "--user"),
        ("users list -o yaml", "is not one of text, json"),
        ("completions tcsh", "is not one of bash, elvish, fish, powershell, zsh"),
    ] {
        let ran = home.run(arguments);
        ran.refused(64, words);
        assert!(!ran.err.contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn a_command_that_is_missing_is_one_line_and_help_that_is_asked_for_is_data() {
    let home = Home::new();
    for (command, choices) in [
        ("", "dev, serve, users, keys, token, check, inject, completions; `vestibule --help`"),
        ("users", "list, add, passwd, disable, enable, logout, remove, import; `vestibule users --help`"),
        ("keys", "list, rotate, revoke; `vestibule keys --help`"),
        ("token", "issue, inspect; `vestibule token --help`"),
    ] {
        home.run(command).refused(64, &format!("a command is missing: give one of {choices} shows the usage"));
        for help in ["--help", "-h"] {
            let ran = home.run(&format!("{command} {help}"));
            assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
            assert!(ran.out.contains(&format!("Usage: vestibule {command}").trim_end().to_owned()), "{ran:?}");
        }
    }
    assert!(home.done("help users add").contains("--password-stdin"));
    assert!(home.done("--version").starts_with("vestibule "));
}

#[test]
fn each_shell_gets_completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.done(&format!("completions {shell}"));
        for word in ["password-stdin", "if-due", "inspect", "vestibule"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn as_a_plugin_it_is_called_by_kubectl() {
    let home = Home::new();
    let mut command = home.command("users add --help");
    command.arg0("/usr/local/bin/kubectl-vestibule");
    let ran = Ran::of(command.output().expect("the program runs"));
    assert!(ran.code == 0 && ran.out.contains("Usage: kubectl vestibule users add"), "{ran:?}");
    assert!(home.done("users add --help").contains("Usage: vestibule users add"));
}
