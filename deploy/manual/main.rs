//! Writes the man pages, one for each command, into a folder: `cargo run --features manual --example manual FOLDER DATE`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

const SECTION: &str = "1";
const BAD_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, date] = arguments.as_slice() else {
        eprintln!("manual: name a folder, and the date that the pages are to have (YYYY-MM-DD)");
        return ExitCode::from(BAD_USAGE);
    };
    let folder = PathBuf::from(folder);
    let mut command = vestibule::manual::command().disable_help_subcommand(true);
    // Gives each command its whole name.
    command.build();
    match fs::create_dir_all(&folder).and_then(|()| write_pages(&command, None, &folder, date)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// A page for the command, and for each one below it.
fn write_pages(command: &Command, parent: Option<&str>, folder: &Path, date: &str) -> io::Result<()> {
    for each in visible(command) {
        write_pages(each, Some(&name(command)), folder, date)?;
    }
    fs::write(folder.join(format!("{}.{SECTION}", name(command))), page(command, parent, date)?)
}

/// The sections in the order of man-pages(7).
fn page(command: &Command, parent: Option<&str>, date: &str) -> io::Result<String> {
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    // As in `--help`: all options by name, some seventy of `serve`, would hide what the command wants.
    let command =
        command.override_usage(usage.trim_start_matches("Usage:").trim().to_owned()).mut_args(with_values_in_its_help);
    let man = Man::new(command.clone())
        .title(name(&command).to_uppercase())
        .section(SECTION)
        .date(date)
        .source(concat!("vestibule ", env!("CARGO_PKG_VERSION")))
        .manual("Vestibule");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    // No word is broken, nor spaces widened: what stands here is typed.
    out.extend_from_slice(b".nh\n.ad l\n");
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if visible(&command).next().is_some() {
        man.render_subcommands_section(&mut out)?;
    }
    // Each of them begins with the same definition, which belongs to the head of a page.
    let definition = Roff::new().render();
    let text = String::from_utf8_lossy(&out).replace(&definition, "") + &own_sections(&command, parent).to_roff();
    Ok(definition + &as_typed(&text))
}

/// As in `--help`; the crate's own list is set in a way that mandoc finds fault with.
fn with_values_in_its_help(option: Arg) -> Arg {
    let values = option.get_possible_values();
    if values.is_empty() || option.is_hide_possible_values_set() {
        return option;
    }
    let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    option.help(format!("{help} [possible values: {}]", names.join(", "))).hide_possible_values(true)
}

/// What roff would set as quotation marks and accents stays what one types (groff_char(7)).
fn as_typed(text: &str) -> String {
    text.replace('`', r"\(ga").replace('~', r"\(ti").replace('^', r"\(ha")
}

/// What `--help` does not tell of a command, or tells at its end.
fn own_sections(command: &Command, parent: Option<&str>) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in [
        ("0", "Done; also where there was nothing to do."),
        (
            "1",
            "It failed at run time: a user or a key that is not there, a token or a pod that is refused, errors found.",
        ),
        ("64", "Bad usage or configuration; nothing was bound or written."),
    ] {
        entry(&mut page, code, meaning);
    }

    let option = |name| command.get_arguments().any(|each| each.get_long() == Some(name) && !each.is_hide_set());
    let is_a_server = matches!(command.get_name(), "serve" | "dev");
    if is_a_server || option("config") || option("kubeconfig") {
        page.control("SH", ["ENVIRONMENT"]);
    }
    if is_a_server {
        let meaning = "Each setting, by its flag in capitals: VESTIBULE_TLS_MIN_VERSION for --tls-min-version. A flag \
                       counts over it, and it counts over the file.";
        entry(&mut page, "VESTIBULE_*", meaning);
    } else if option("config") {
        entry(&mut page, "VESTIBULE_*", "With --config, settings that count over those of the file.");
    }
    if option("kubeconfig") {
        entry(&mut page, "KUBECONFIG", "The kubeconfig without --kubeconfig; else ~/.kube/config.");
    }

    if let Some(notes) = command.get_after_help() {
        page.control("SH", ["NOTES"]).text([roman(notes.to_string())]);
    } else if parent.is_none() {
        let notes = "Installed as kubectl-vestibule (a copy or a link in $PATH), the program is a plugin: kubectl \
                     vestibule users list. There users and keys are in Secrets, if nothing else is said.";
        page.control("SH", ["NOTES"]).text([roman(notes)]);
    }

    let others: Vec<String> = parent.map(str::to_owned).into_iter().chain(visible(command).map(name)).collect();
    page.control("SH", ["SEE ALSO"]);
    for (at, other) in others.iter().enumerate() {
        let comma = if at + 1 < others.len() { "," } else { "" };
        page.text([bold(other), roman(format!("({SECTION}){comma}"))]);
    }
    page
}

fn entry(page: &mut Roff, term: &str, meaning: &str) {
    page.control("TP", []).text([bold(term)]).text([roman(meaning)]);
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|each| !each.is_hide_set())
}

/// `vestibule-users-add`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}
