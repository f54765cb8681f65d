//! `users`: each command, each bad input, several writers at once, and a terminal.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::support::Home;
use crate::support::{Commands, Ran};

const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuuMPqsMmwz4.mKVGzzGg1NJ7Du8SGSBpq";

#[test]
fn a_user_is_added_and_listed_and_the_password_printed_once() {
    let home = Home::new();
    let ran = home.run("users add ann --group Administrator --group Ops --group Ops --expires 90d --generate");
    assert_eq!(ran.code, 0, "{ran:?}");
    let password = ran.out.strip_suffix('\n').expect("one line");
    assert!(password.len() == 24 && password.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{ran:?}");
    assert!(!ran.err.contains(password));
    assert_eq!(fs::metadata(home.path("users/users.yaml")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!home.read("users/users.yaml").contains(password));

    let list = home.json("users list -o json");
    assert_eq!(list[0]["name"], "ann");
    assert_eq!(list[0]["state"], "active");
    assert_eq!(list[0]["groups"], json!(["Administrator", "Ops"]));
    assert_eq!(list[0]["passwords"][0]["expired"], false);
    assert!(list[0]["passwords"][0]["expiresAt"].as_str().is_some_and(|time| time.ends_with('Z')));
    let text = home.done("users list");
    assert!(
        text.starts_with("NAME") && text.contains("Administrator,Ops") && text.contains("argon2id (until "),
        "{text}"
    );
}

#[test]
fn a_password_comes_from_standard_input() {
    let home = Home::new();
    let ran = home.run_with("users add ann --password-stdin", b"correct horse\r\n");
    assert_eq!((ran.code, &*ran.out), (0, ""), "{ran:?}");
    assert!(!ran.err.contains("horse"));
    for (input, words) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\nhunter3\n", "more than one line"),
        (&[b'x'; 5000], "longer than 1024 bytes"),
        (b"hunter2\xff\n", "not UTF-8"),
        (b"hunter2\0\n", "control characters"),
    ] {
        let ran = home.run_with("users add bob --password-stdin", input);
        ran.refused(64, words);
        assert!(!ran.err.contains("hunter"), "{ran:?}");
    }
    assert_eq!(home.json("users list -o json").as_array().unwrap().len(), 1);
}

#[test]
fn bad_input_is_refused_before_anybody_is_asked_for_a_password() {
    let home = Home::new().with_user("ann");
    let before = home.read("users/users.yaml");
    for (arguments, code, words) in [
        ("users add bob", 64, "--password-stdin or --generate"),
        ("users passwd ann", 64, "--password-stdin or --generate"),
        ("users add ann", 1, "user \"ann\" exists already"),
        ("users add a,b", 64, "the user name \"a,b\""),
        ("users add a:b --generate", 64, "the user name"),
        ("users add bob --group x,y --generate", 64, "the group name \"x,y\""),
        ("users add bob --expires 2020-01-01T00:00:00Z --generate", 64, "--expires lies in the past"),
        ("users add bob --expires 0d --generate", 64, "--expires lies in the past"),
        ("users add bob --expires soon --generate", 64, "--expires is neither"),
        ("users passwd bob", 1, "there is no user \"bob\""),
        ("users disable bob", 1, "there is no user \"bob\""),
        ("users enable bob", 1, "there is no user \"bob\""),
        ("users logout bob", 1, "there is no user \"bob\""),
        ("users remove bob", 1, "there is no user \"bob\""),
        ("users import nowhere", 1, "\"nowhere\" cannot be read"),
        ("users list --dir nowhere", 1, "\"nowhere/users\" is not there"),
        ("users add bob --generate --dir nowhere", 1, "\"nowhere/users\" is not there"),
    ] {
        home.run(arguments).refused(code, words);
    }
    assert_eq!(home.read("users/users.yaml"), before);
}

#[test]
fn a_new_password_replaces_the_old_one_or_stands_beside_it() {
    let home = Home::new().with_user("ann");
    let credentials = || {
        let list = home.json("users list -o json");
        let passwords = list[0]["passwords"].as_array().unwrap();
        passwords.iter().map(|password| password["credential"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = credentials();
    assert_eq!(home.run_with("users passwd ann --keep-old --password-stdin", b"new").code, 0);
    let both = credentials();
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    assert_eq!(home.run_with("users passwd ann --password-stdin", b"newer").code, 0);
    let last = credentials();
    assert!(last.len() == 1 && !both.contains(&last[0]), "{last:?}");
}

#[test]
fn users_are_disabled_enabled_logged_out_and_removed() {
    let home = Home::new().with_user("ann").with_user("bob");
    let state = |place: usize| home.json("users list -o json")[place]["state"].clone();
    home.done("users disable ann");
    assert_eq!((state(0), state(1)), (json!("disabled"), json!("active")));
    home.done("users enable ann");
    assert_eq!(state(0), "active");
    home.done("users logout ann");
    assert!(home.json("users list -o json")[0]["tokensNotBefore"].is_string());
    home.done("users remove ann");
    assert_eq!(home.json("users list -o json")[0]["name"], "bob");
}

#[test]
fn htpasswd_is_imported_and_what_cannot_be_used_is_told() {
    let home = Home::new();
    let file = format!("ann:{BCRYPT}\nbob:$apr1$salt$abcdefghijklmnopqrstuv\n");
    let ran = home.run_with("users import -", file.as_bytes());
    assert_eq!((ran.code, &*ran.out), (0, ""), "{ran:?}");
    assert!(ran.err.contains("warning: line 2: user \"bob\" is left out"), "{ran:?}");
    assert_eq!(home.json("users list -o json")[0]["passwords"][0]["kind"], "bcrypt cost 4");

    fs::write(home.root().join("again"), format!("ann:{BCRYPT}\n")).unwrap();
    home.run("users import again").refused(1, "user \"ann\" exists already");
    home.run_with("users import -", b"").refused(1, "holds no users");
    home.run_with("users import -", b"hunter2\n").refused(1, "not of the form name:hash");
}

#[test]
fn lost_comments_and_odd_entries_are_told() {
    let home = Home::new();
    home.write("users/users.yaml", "# mine\nusers: {ann: {}}\n");
    let ran = home.run("users disable ann");
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("warning: users.yaml was written anew, and its comments are gone"), "{ran:?}");
    home.write("users/auth", &format!("{BCRYPT}:x\n"));
    let ran = home.run("users list");
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("warning: auth, line 1") && ran.out.contains("unusable"), "{ran:?}");
}

#[test]
fn users_of_a_file_that_is_not_utf_8_are_found_and_all_other_bytes_survive() {
    let home = Home::new();
    let file = |ann: &str| [b"# caf\xe9\r\n\xe9ve:", BCRYPT.as_bytes(), b"\n", ann.as_bytes(), b"zo\xeb:\xff"].concat();
    fs::write(home.path("users/auth"), file(&format!("ann:{BCRYPT}\r\n"))).unwrap();
    home.done("users disable ann");
    home.done("users enable ann");
    assert_eq!(fs::read(home.path("users/auth")).unwrap(), file(&format!("ann:{BCRYPT}\r\n")));
    home.done("users passwd ann --generate");
    let changed = fs::read(home.path("users/auth")).unwrap();
    let (begin, end) = (file("ann:$argon2id$"), b"\r\nzo\xeb:\xff");
    let begin = &begin[..begin.len() - end.len() + 2];
    assert!(changed.starts_with(begin) && changed.ends_with(end), "{}", changed.escape_ascii());
    home.run("users remove \u{fffd}ve").refused(1, "the name in auth, line 2 is not UTF-8: mend or remove that line");
    home.done("users remove ann");
    assert_eq!(fs::read(home.path("users/auth")).unwrap(), file(""));
}

#[test]
fn a_document_that_does_not_parse_is_left_alone() {
    let home = Home::new();
    home.write("users/users.yaml", &format!("users: {{ann: {{pasword: {BCRYPT}}}}}\n"));
    for arguments in ["users list", "users add bob --generate", "users disable ann"] {
        home.run(arguments).refused(1, "unknown key \"pasword\"");
    }
}

#[test]
fn a_mounted_secret_is_read_and_never_written() {
    let home = Home::new().with_user("ann").mounted("users");
    let before = home.read("users/users.yaml");
    assert!(home.done("users list").contains("ann"));
    for arguments in ["users add bob --generate", "users disable ann", "users passwd ann --generate"] {
        home.run(arguments).refused(1, "cannot be written");
    }
    assert_eq!(home.read("users/users.yaml"), before);
}

#[test]
fn writers_at_once_lose_nothing() {
    let home = Home::new();
    let children: Vec<_> = (0..12)
        .map(|n| {
            let mut command = home.command(&format!("users add u{n} --generate"));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
        })
        .collect();
    for child in children {
        let ran = Ran::of(child.wait_with_output().expect("the program ends"));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(home.json("users list -o json").as_array().unwrap().len(), 12);
}

/// Waits until a terminal shows no more what is typed. The prompt is there a moment earlier.
fn wait_for_no_echo(terminal: &str) {
    for _ in 0..500 {
        let state = Command::new("stty").args(["-F", terminal, "-a"]).output().expect("stty runs");
        if String::from_utf8_lossy(&state.stdout).split_whitespace().any(|word| word == "-echo") {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{terminal} still shows what is typed");
}

/// `script` of util-linux gives the program a terminal.
#[test]
fn a_terminal_is_asked_twice_without_echo() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED: `script` of util-linux is not installed, so the prompt is not tested");
        return;
    }
    let typed = |arguments: &str, lines: [&str; 2]| -> (Option<i32>, String) {
        let home = Home::new().with_user("ann");
        let program = format!("tty; exec {} {arguments}", env!("CARGO_BIN_EXE_vestibule"));
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", &program, "/dev/null"])
            .current_dir(home.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script starts");
        let (mut input, mut output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut seen = String::new();
        for (prompt, line) in ["New password for \"ann\": ", "The same again: "].into_iter().zip(lines) {
            let mut byte = [0];
            while !seen.ends_with(prompt) && output.read(&mut byte).expect("output") == 1 {
                seen.push(char::from(byte[0]));
            }
            wait_for_no_echo(seen.lines().next().expect("what `tty` printed"));
            writeln!(input, "{line}").expect("input");
        }
        let code = loop {
            let mut rest = [0; 256];
            match output.read(&mut rest) {
                Ok(0) | Err(_) => break child.wait().expect("script ends").code(),
                Ok(n) => seen.push_str(&String::from_utf8_lossy(&rest[..n])),
            }
        };
        (code, seen)
    };
    let (code, seen) = typed("users passwd ann", ["hunter2", "hunter2"]);
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("has a new password") && !seen.contains("hunter"), "{seen}");
    let (code, seen) = typed("users passwd ann", ["hunter2", "hunter3"]);
    assert_eq!(code, Some(1), "{seen}");
    assert!(seen.contains("the two passwords differ") && !seen.contains("hunter"), "{seen}");
}
