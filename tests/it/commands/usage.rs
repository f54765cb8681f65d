//! Bad usage in one line, completions for each shell, and the name that kubectl gives.

use std::os::unix::process::CommandExt;

use super::support::{Home, Ran};

#[test]
fn bad_usage_is_one_line_that_repeats_no_value() {
    let home = Home::new();
    for (arguments, words) in [
        ("users passwd ann hunter2", "passwords are never arguments"),
        ("users passwd ann --password hunter2", "there is no option --password"),
        ("users passwd ann --generate=hunter2", "--generate takes no value"),
        ("users lst", "did you mean list?"),
        ("frobnicate", "there is no command `frobnicate`"),
        ("inject -f -", "there is no command `inject`"),
        ("users list -o yaml", "is not one of text, json"),
        ("completions tcsh", "is not one of bash, elvish, fish, powershell, zsh"),
    ] {
        let ran = home.run(arguments);
        ran.refused(64, words);
        assert!(!ran.err.contains("hunter2"), "{ran:?}");
    }
    let ran = home.run("");
    assert_eq!(ran.code, 64);
    assert!(ran.err.contains("Usage: vestibule <COMMAND>"), "{ran:?}");
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
