//! The arguments that say who asks which API server: as kubectl has them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use tokio::runtime::{self, Runtime};

use super::Failure;
use crate::config;
use crate::store::kubernetes::{Cluster, is_in_pod};

/// The identifiers of [`args`].
pub(super) const IDS: [&str; 5] = ["namespace", "context", "kubeconfig", "as", "as-group"];

/// An API server, and what its requests run on.
pub(crate) struct Reached {
    pub(crate) runtime: Runtime,
    pub(crate) cluster: Cluster,
}

/// `-n NS`, `--context`, `--kubeconfig`, `--as`, `--as-group`.
pub(super) fn args() -> [Arg; 5] {
    [
        Arg::new("namespace")
            .long("namespace")
            .short('n')
            .value_name("NAMESPACE")
            .value_parser(namespace)
            .help("The Secrets' namespace [default: the context's; in a pod: its own]"),
        Arg::new("context")
            .long("context")
            .value_name("NAME")
            .help("A context of the kubeconfig instead of its current"),
        Arg::new("kubeconfig")
            .long("kubeconfig")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The kubeconfig [default: $KUBECONFIG, else ~/.kube/config; in a pod without: its service account]"),
        Arg::new("as").long("as").value_name("USER").help("Ask as another user, where that is allowed"),
        Arg::new("as-group")
            .long("as-group")
            .value_name("GROUP")
            .action(ArgAction::Append)
            .requires("as")
            .help("A group of that other user; may be given several times"),
    ]
}

/// Whether one of the arguments is there.
pub(super) fn is_given(arguments: &ArgMatches) -> bool {
    IDS.iter().any(|id| arguments.value_source(id).is_some())
}

/// Whether there is anybody to ask as: a kubeconfig, or a pod's service account.
pub(super) fn is_anybody(arguments: &ArgMatches) -> bool {
    arguments.contains_id("kubeconfig") || has_kubeconfig() || is_in_pod()
}

/// As the kubeconfig says; without one, in a pod, as its service account. `configured` is the namespace where none is
/// given as an argument. Reads files and may run an exec plugin; asks nothing yet.
pub(super) fn connect(arguments: &ArgMatches, configured: Option<&str>) -> Result<Reached, Failure> {
    let text = |id| arguments.get_one::<String>(id).map(String::as_str);
    let namespace = text("namespace").or(configured);
    let file = arguments.get_one::<PathBuf>("kubeconfig");
    let groups: Vec<String> = arguments.get_many("as-group").unwrap_or_default().cloned().collect();
    let as_pod = file.is_none() && text("context").is_none() && !has_kubeconfig() && is_in_pod();
    if as_pod && text("as").is_some() {
        return Err(Failure::usage("--as works with a kubeconfig: name one with --kubeconfig or in $KUBECONFIG"));
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::run_time(format_args!("no runtime: {error}: try again")))?;
    let cluster = runtime.block_on(async {
        match as_pod {
            true => Cluster::in_pod(namespace).await,
            false => {
                Cluster::from_kubeconfig(file.map(PathBuf::as_path), text("context"), namespace, text("as"), &groups)
                    .await
            }
        }
    });
    Ok(Reached { cluster: cluster.map_err(Failure::usage)?, runtime })
}

/// As kubectl has it: the environment's, or the one in its place.
fn has_kubeconfig() -> bool {
    let named = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    match named("KUBECONFIG") {
        Some(_) => true,
        None => named("HOME").is_some_and(|home| PathBuf::from(home).join(".kube/config").exists()),
    }
}

fn namespace(text: &str) -> Result<String, &'static str> {
    config::is_namespace(text).then(|| text.to_owned()).ok_or("no name of a namespace")
}
