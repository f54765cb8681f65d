//! `vestibule inject`: manifests with the sidecar in their pods.

use std::fs::File;
use std::io::{self, Read};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Failure, output};
use crate::inject::{Parameters, rewrite};

/// Of all manifests of one file.
const MOST_BYTES: u64 = 64 << 20;

pub(super) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("inject")
        .about("Print manifests with the sidecar added to the pods that are annotated vestibule.dev/inject: \"true\"")
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .action(ArgAction::Append)
                .help("Manifests in YAML or JSON; -: standard input, which is the default (repeatable)"),
        )
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Add it to every pod but those annotated vestibule.dev/inject: \"false\""),
        )
        .arg(text("image", "IMAGE", "The sidecar's image, with tag or digest"))
        .arg(
            text("image-pull-policy", "POLICY", "When it is pulled")
                .value_parser(["Always", "IfNotPresent", "Never"])
                .default_value("IfNotPresent"),
        )
        .arg(text("image-pull-secret", "NAME", "A Secret for pulling it (repeatable)").action(ArgAction::Append))
        .arg(
            text(
                "default",
                "NAME=VALUE",
                "In place of an annotation that a pod does not have: store=mounted (repeatable)",
            )
            .action(ArgAction::Append),
        )
        .arg(
            text("listen-address", "ADDRESS", "The addresses that the sidecar listens on")
                .value_parser(["0.0.0.0", "[::]"])
                .default_value("0.0.0.0"),
        )
        .arg(
            text("user", "NUMBER", "The user and group that it runs as")
                .value_parser(value_parser!(u32).range(1..=2_147_483_647))
                .default_value("65532"),
        )
        .arg(
            text("pre-stop", "SECONDS", "How long the application goes on when its pod is to end; 0: not at all")
                .value_parser(value_parser!(u32).range(0..=300))
                .default_value("5"),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let parameters = parameters(arguments)?;
    let files: Vec<_> = arguments.get_many::<String>("file").into_iter().flatten().map(String::as_str).collect();
    let files = if files.is_empty() { vec!["-"] } else { files };
    let mut printed = String::new();
    for file in files {
        let named = if file == "-" { "standard input" } else { file };
        let text = read(file, named)?;
        let rewritten = rewrite(&text, &parameters, arguments.get_flag("all"))
            .map_err(|why| Failure::run_time(format_args!("{named}: {why}")))?;
        for note in rewritten.notes {
            output::note(note);
        }
        if !printed.is_empty() && !rewritten.text.starts_with("---") {
            printed.push_str("---\n");
        }
        printed.push_str(&rewritten.text);
        if !printed.ends_with('\n') {
            printed.push('\n');
        }
    }
    output::print(&printed)?;
    Ok(0)
}

fn parameters(arguments: &ArgMatches) -> Result<Parameters, Failure> {
    let mut parameters = Parameters::default();
    let one = |name: &str| arguments.get_one::<String>(name).cloned();
    if let Some(image) = one("image") {
        // A registry may have a port: the tag's colon comes after the last slash.
        let name = image.rfind('/').map_or(0, |slash| slash + 1);
        let end = image.find('@').or_else(|| image[name..].find(':').map(|colon| name + colon));
        let Some(end) = end.filter(|end| *end > name) else {
            return Err(Failure::usage(
                "--image names no version: give it a tag or a digest, as in registry/vestibule:1",
            ));
        };
        parameters.repository = image[..end].to_owned();
        parameters.version = image[end..].to_owned();
    }
    parameters.pull_policy = one("image-pull-policy").expect("it has a default");
    parameters.listen_address = one("listen-address").expect("it has a default");
    parameters.pull_secrets = arguments.get_many("image-pull-secret").into_iter().flatten().cloned().collect();
    parameters.user = *arguments.get_one("user").expect("it has a default");
    parameters.pre_stop_seconds = *arguments.get_one("pre-stop").expect("it has a default");
    for default in arguments.get_many::<String>("default").into_iter().flatten() {
        let known = default.split_once('=').filter(|(name, _)| parameters.defaults.contains_key(*name));
        let Some((name, value)) = known else {
            let names: Vec<_> = parameters.defaults.keys().map(String::as_str).collect();
            return Err(Failure::usage(format_args!(
                "--default is no NAME=VALUE with one of these names: {}",
                names.join(", ")
            )));
        };
        parameters.defaults.insert(name.to_owned(), value.to_owned());
    }
    Ok(parameters)
}

fn read(file: &str, named: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == "-" {
        io::stdin().lock().take(MOST_BYTES).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|opened| opened.take(MOST_BYTES).read_to_string(&mut text))
    };
    match read {
        Ok(bytes) if bytes as u64 == MOST_BYTES => {
            Err(Failure::usage(format_args!("{named} is longer than {} MiB: split it", MOST_BYTES >> 20)))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::usage(format_args!("{named} cannot be read: {error}"))),
    }
}
