//! `vestibule users`: who may log in.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use super::output::{self, Format};
use super::prompt::{self, NewPassword};
use super::target::{self, Part, Target};
use super::{Failure, settings, span};
use crate::auth::names;
use crate::auth::password::{Work, hash};
use crate::auth::users::{PasswordEntry, User, UserState};
use crate::clock::epoch;
use crate::store::users_document::MAX_DOCUMENT_BYTES;
use crate::store::users_document::edit::Change;

pub(super) fn command() -> Command {
    let located = |command| target::add(settings::add(command, &[]), Part::Users);
    let on_user = |name, about| located(Command::new(name).about(about).arg(name_arg()));
    let with_password = |command: Command| prompt::add(command).arg(expires_arg());
    Command::new("users")
        .about("Manage who may log in")
        .subcommand_required(true)
        .subcommand(
            located(Command::new("list").about("Show all users, without their hashes")).arg(output::format_arg()),
        )
        .subcommand(with_password(
            on_user("add", "Add a user").arg(
                Arg::new("group")
                    .long("group")
                    .value_name("GROUP")
                    .action(ArgAction::Append)
                    .help("A group that the user is in; may be given several times"),
            ),
        ))
        .subcommand(with_password(
            on_user("passwd", "Set a user's password; tokens that the old one earned end").arg(
                Arg::new("keep-old")
                    .long("keep-old")
                    .action(ArgAction::SetTrue)
                    .help("Leave the old password, and the tokens that it earned, valid beside the new one"),
            ),
        ))
        .subcommand(on_user("disable", "Refuse a user's logins and tokens until `enable`"))
        .subcommand(on_user("enable", "Let a disabled user in again"))
        .subcommand(on_user("logout", "Refuse every token of a user that was issued so far"))
        .subcommand(on_user("remove", "Remove a user"))
        .subcommand(
            located(Command::new("import").about("Add the users of a htpasswd file (bcrypt or argon2id)")).arg(
                Arg::new("file")
                    .value_name("FILE")
                    .required(true)
                    .value_parser(value_parser!(PathBuf))
                    .help("The htpasswd file; `-`: standard input"),
            ),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let (command, arguments) = arguments.subcommand().expect("clap asks for a subcommand");
    let config = settings::load(arguments)?;
    let target = Target::of(arguments, &config, Part::Users)?;
    let name = || arguments.get_one::<String>("name").expect("the argument is required").clone();
    match command {
        "list" => return list(&target, output::format(arguments), epoch()),
        "add" | "passwd" => return set_password(&target, command, &name(), arguments),
        "disable" => change(&target, &Change::Disable { name: name() })?,
        "enable" => change(&target, &Change::Enable { name: name() })?,
        "logout" => change(&target, &Change::Logout { name: name(), now: target.now()? })?,
        "remove" => change(&target, &Change::Remove { name: name() })?,
        "import" => {
            let file = arguments.get_one::<PathBuf>("file").expect("the argument is required");
            change(&target, &Change::Import { htpasswd: read_import(file)?, now: target.now()? })?;
            output::note("the users were imported");
            return Ok(0);
        }
        _ => unreachable!("clap knows these subcommands alone"),
    }
    let done = match command {
        "disable" => "is disabled",
        "enable" => "is enabled",
        "logout" => "is logged out: every token issued so far is refused",
        _ => "is removed",
    };
    output::note(format_args!("user {} {done}", names::shown(&name())));
    Ok(0)
}

fn set_password(target: &Target, command: &str, name: &str, arguments: &ArgMatches) -> Result<u8, Failure> {
    let now = target.now()?;
    let expires_at = arguments
        .get_one::<String>("expires")
        .map(|text| span::expiry(text, now).map_err(|reason| Failure::usage(format_args!("--expires {reason}"))))
        .transpose()?;
    let groups: Vec<String> = arguments.try_get_many("group").ok().flatten().unwrap_or_default().cloned().collect();
    let keep_old = command == "passwd" && arguments.get_flag("keep-old");
    let planned = |hash: String| {
        let (name, groups) = (name.to_owned(), groups.clone());
        match command {
            "add" => Change::Add { name, groups, hash, expires_at, now },
            _ => Change::Passwd { name, hash, keep_old, expires_at, now },
        }
    };
    // Nobody is asked for a password in vain.
    target.plan_users(&planned(hash(b"")))?;
    let shown = names::shown(name);
    let NewPassword { password, generated } = prompt::read(arguments, &shown)?;
    change(target, &planned(hash(password.as_bytes())))?;
    output::note(format_args!("user {shown} {}", if command == "add" { "is added" } else { "has a new password" }));
    if generated {
        let text = String::from_utf8_lossy(password.as_bytes());
        output::print(&format!("{text}\n")).map_err(|error| {
            let mend = "the new password is set and was not shown: run `users passwd --generate` again";
            Failure::run_time(format_args!("{}; {mend}", error.message))
        })?;
    }
    Ok(0)
}

fn change(target: &Target, change: &Change) -> Result<(), Failure> {
    let told = target.change_users(change)?;
    for entry in told.without_comments {
        output::warn(format_args!("{entry} was written anew, and its comments are gone"));
    }
    for warning in told.warnings {
        output::warn(warning);
    }
    Ok(())
}

fn read_import(file: &Path) -> Result<Vec<u8>, Failure> {
    // One byte more than allowed, so that what is too long is noticed as such.
    let limit = MAX_DOCUMENT_BYTES as u64 + 1;
    let mut content = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut content)
    } else {
        File::open(file).and_then(|file| file.take(limit).read_to_end(&mut content))
    };
    match read {
        Ok(_) => Ok(content),
        Err(error) => {
            let mend = "name a htpasswd file that can be read, or `-`";
            Err(Failure::run_time(format_args!("{file:?} cannot be read ({}): {mend}", error.kind())))
        }
    }
}

fn list(target: &Target, format: Format, now: u64) -> Result<u8, Failure> {
    let loaded = target.users()?;
    match format {
        Format::Json => output::print_json(&loaded.users.iter().map(|user| described(user, now)).collect())?,
        Format::Text => {
            let rows: Vec<_> = loaded.users.iter().map(|user| row(user, now)).collect();
            output::print(&output::table(["NAME", "STATE", "GROUPS", "PASSWORDS", "TOKENS FROM"], &rows))?;
        }
    }
    for warning in loaded.all_warnings() {
        output::warn(warning);
    }
    Ok(0)
}

fn row(user: &User, now: u64) -> [String; 5] {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let passwords = user.passwords().iter().map(|entry| match entry.expires_at() {
        Some(at) if entry.is_expired(now) => format!("{} (expired {})", scheme(entry), output::time(at)),
        Some(at) => format!("{} (until {})", scheme(entry), output::time(at)),
        None => scheme(entry).to_owned(),
    });
    [
        name_of(user),
        state(user).to_owned(),
        dash(user.groups_joined().to_owned()),
        dash(passwords.collect::<Vec<_>>().join(", ")),
        user.tokens_not_before().map_or("-".to_owned(), output::time),
    ]
}

fn described(user: &User, now: u64) -> Value {
    let password = |entry: &PasswordEntry| {
        json!({
            "kind": entry.hash().work().to_string(),
            "credential": entry.credential().as_str(),
            "changedAt": entry.changed_at().map(output::time),
            "expiresAt": entry.expires_at().map(output::time),
            "expired": entry.is_expired(now),
        })
    };
    json!({
        "name": name_of(user),
        "state": state(user),
        "groups": user.groups(),
        "passwords": user.passwords().iter().map(password).collect::<Value>(),
        "tokensNotBefore": user.tokens_not_before().map(output::time),
    })
}

/// A name that no user can have may be anything, a hash in the wrong column too.
fn name_of(user: &User) -> String {
    if names::check(user.name().as_bytes()).is_ok() && !names::looks_like_hash(user.name()) {
        user.name().to_owned()
    } else {
        names::shown(user.name())
    }
}

fn state(user: &User) -> &'static str {
    match user.state() {
        UserState::Active => "active",
        UserState::Disabled => "disabled",
        UserState::Unusable => "unusable",
    }
}

fn scheme(entry: &PasswordEntry) -> &'static str {
    match entry.hash().work() {
        Work::Argon2id { .. } => "argon2id",
        Work::Bcrypt { .. } => "bcrypt",
    }
}

fn name_arg() -> Arg {
    Arg::new("name").value_name("NAME").required(true).help("The user's name")
}

fn expires_arg() -> Arg {
    Arg::new("expires")
        .long("expires")
        .value_name("TIME")
        .help("When the password ends: an RFC 3339 time, or a span such as 90d (w, d, h, m, s)")
}
