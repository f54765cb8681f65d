//! Bad usage in one line, completions for each shell, and the name that kubectl gives.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Command;

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
        ("completions tcsh", "is not one of bash, zsh, fish, elvish, powershell, kubectl"),
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

/// kubectl asks a program of that name, and reads a completion a line and a directive.
#[test]
fn kubectl_gets_completions_of_its_plugin() {
    let home = Home::new();
    symlink(env!("CARGO_BIN_EXE_vestibule"), home.root().join("kubectl-vestibule")).expect("a link");
    let program = home.root().join("kubectl_complete-vestibule");
    fs::write(&program, home.done("completions kubectl")).expect("a file");
    let path = format!("{}:{}", home.root().display(), std::env::var("PATH").unwrap_or_default());
    for (words, expected) in [
        (&["users", "pass"][..], "passwd\n:4\n"),
        (&["users", "list", "--output", ""], "text\njson\n:4\n"),
        (&["completions", "k"], "kubectl\n:4\n"),
        (&["users", "list", "--dir", ""], ":0\n"),
        (&["users", "disable", "ann"], ":0\n"),
        (&["frobnicate", "x y; touch z", ""], ":4\n"),
    ] {
        let ran = Ran::of(Command::new("bash").arg(&program).args(words).env("PATH", &path).output().expect("bash"));
        assert!(ran.code == 0 && ran.out.ends_with(expected) && ran.err.is_empty(), "{words:?}: {ran:?}");
    }
}
