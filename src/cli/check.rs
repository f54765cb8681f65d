//! `vestibule check`: says what is wrong before it hurts.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::json;

use super::output::{self, Format};
use super::{Failure, kubeconfig, settings_args};
use crate::app;
use crate::check::{Finding, Reached, Severity, findings};
use crate::clock::epoch;
use crate::config::{Certificate, Config, Store};

pub(super) fn command() -> Command {
    let command = Command::new("check")
        .about("Say what is wrong with a configuration and all that it names, before it hurts")
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The configuration, in YAML; flags and VESTIBULE_* variables count over it"),
        )
        .arg(
            Arg::new("host")
                .long("host")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("A name or address that clients call the server by; may be given several times"),
        )
        .args(kubeconfig::args())
        .arg(output::format_arg());
    settings_args::add(command)
}

pub(super) fn run(arguments: &ArgMatches) -> Result<u8, Failure> {
    let file = arguments.get_one::<PathBuf>("config").map(PathBuf::as_path);
    let (variables, flags) = (settings_args::variables(), settings_args::given(arguments));
    let loaded = Config::load(file, variables, flags).map_err(Failure::usage)?;
    let hosts: Vec<String> = arguments.get_many("host").unwrap_or_default().cloned().collect();
    let reached = reach(arguments, &loaded.config)?;
    let reached = reached.as_ref().map(|reached| Reached { runtime: &reached.runtime, cluster: &reached.cluster });
    let findings = findings(&loaded, file, &app::settings::rotation(&loaded.config), &hosts, reached, epoch());
    match output::format(arguments) {
        Format::Json => output::print_json(&findings.iter().map(described).collect())?,
        Format::Text => output::print(&text(&findings))?,
    }
    Ok(u8::from(count(&findings, Severity::Error) > 0))
}

/// The API server, where the configuration or an argument names one and there is anybody to ask as.
fn reach(arguments: &ArgMatches, config: &Config) -> Result<Option<kubeconfig::Reached>, Failure> {
    let is_named =
        matches!(config.store, Store::Kubernetes(_)) || matches!(config.tls.certificate, Certificate::Managed { .. });
    let is_asked = kubeconfig::is_given(arguments) || (is_named && kubeconfig::is_anybody(arguments));
    let namespace = match &config.store {
        Store::Kubernetes(store) => store.namespace.as_deref(),
        Store::Directory(_) => None,
    };
    is_asked.then(|| kubeconfig::connect(arguments, namespace)).transpose()
}

fn described(finding: &Finding) -> serde_json::Value {
    json!({
        "severity": finding.severity.as_str(),
        "check": finding.check,
        "message": finding.message,
        "mend": finding.mend,
    })
}

/// A line for each finding, and one that counts them.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { severity, check, message, mend } in findings {
        let mend = mend.as_ref().map(|mend| format!(": {mend}")).unwrap_or_default();
        let line = format!("{:8}{check}: {message}{mend}", severity.as_str());
        // What is quoted from outside must not make lines of its own.
        text.push_str(&line.replace(char::is_control, " "));
        text.push('\n');
    }
    let (errors, warnings) = (count(findings, Severity::Error), count(findings, Severity::Warning));
    let s = |n: usize| if n == 1 { "" } else { "s" };
    text + &format!("{errors} error{}, {warnings} warning{}\n", s(errors), s(warnings))
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}
