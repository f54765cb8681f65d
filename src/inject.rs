//! The sidecar in a pod: the very change that the admission policies of charts/vestibule-injector make, and the very
//! refusals. tests/pods holds both against each other.

mod change;
mod manifests;
mod pod;
mod refusals;
mod settings;

use std::collections::BTreeMap;

pub(crate) use manifests::rewrite;
use serde_json::Value;

use self::pod::Pod;
use self::settings::Settings;

const PREFIX: &str = "vestibule.dev/";
const CONTAINER: &str = "vestibule";
const KUBERNETES: &str = "kubernetes";
const MOUNTED: &str = "mounted";
/// What the API server's own volume with the service account's token is called.
const AUTOMATIC: &str = "kube-api-access-";
const TOKEN: &str = "vestibule-token";
const USERS: &str = "vestibule-users";
const KEYS: &str = "vestibule-keys";
const TLS: &str = "vestibule-tls";
const CONFIG: &str = "vestibule-config";

/// What holds for every pod: the values of the chart.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    /// With its registry, and without tag and digest.
    pub(crate) repository: String,
    /// What follows it: `:TAG` or `@DIGEST`.
    pub(crate) version: String,
    pub(crate) pull_policy: String,
    pub(crate) pull_secrets: Vec<String>,
    /// `0.0.0.0` or `[::]`.
    pub(crate) listen_address: String,
    pub(crate) user: u32,
    /// 0: no hook is added.
    pub(crate) pre_stop_seconds: u32,
    /// In place of annotations that a pod does not have, by their names without the prefix.
    pub(crate) defaults: BTreeMap<String, String>,
}

impl Default for Parameters {
    fn default() -> Self {
        let defaults = [
            ("port", "http"),
            ("protocol", "http"),
            ("listen-port", "10443"),
            ("admin-port", "10444"),
            ("store", KUBERNETES),
            ("users", "vestibule-users"),
            ("keys", "vestibule-keys"),
            ("certificate", "vestibule-tls"),
            ("cpu-request", "10m"),
            ("cpu-limit", ""),
            ("memory-request", "32Mi"),
            ("memory-limit", "128Mi"),
        ];
        Self {
            repository: "vestibule".to_owned(),
            version: format!(":{}", env!("CARGO_PKG_VERSION")),
            pull_policy: "IfNotPresent".to_owned(),
            pull_secrets: Vec::new(),
            listen_address: "0.0.0.0".to_owned(),
            user: 65532,
            pre_stop_seconds: 5,
            defaults: defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }
}

/// Adds the sidecar to a pod, or to the template of one, if it asks for it and has none yet. Returns whether it was
/// added.
///
/// # Errors
///
/// All reasons for which it is refused, each with its mend; the pod is as it was.
pub(crate) fn inject(pod: &mut Value, parameters: &Parameters) -> Result<bool, Vec<String>> {
    let settings = Settings::of(pod, parameters);
    let mistakes = settings.mistakes(pod);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    if !settings.asked {
        return Ok(false);
    }
    let mut reasons = settings.misfits();
    if !reasons.is_empty() {
        return Err(reasons);
    }
    reasons = settings.shares();
    let seen = Pod::of(pod, &settings);
    reasons.extend(refusals::obstacles(&seen, &settings, parameters));
    let is_protected = seen.is_protected(&parameters.repository);
    reasons.extend(if is_protected {
        refusals::remains(&seen, &settings)
    } else {
        refusals::hurdles(&seen, &settings)
    });
    if !reasons.is_empty() {
        return Err(reasons);
    }
    if !is_protected {
        let change = change::Change::plan(&seen, &settings, parameters);
        change.make(pod);
    }
    Ok(!is_protected)
}
