//! As whom the API server is asked, and why there is nobody to ask as.

use std::fmt;
use std::path::PathBuf;

use kube::client::AuthError;
use kube::config::KubeconfigError;

/// As whom, and where that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The service account that is mounted into this pod.
    Pod,
    /// This file, else `$KUBECONFIG`, else `~/.kube/config`.
    Kubeconfig { file: Option<PathBuf>, context: Option<String>, as_user: Option<String>, as_groups: Vec<String> },
}

/// Why there is nobody to ask as: one line with the mend, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError(String);

impl ConnectError {
    pub(super) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }

    pub(super) fn of_pod(error: &dyn fmt::Display) -> Self {
        Self(format!(
            "the pod's service account cannot be used: {}: set `automountServiceAccountToken: true`, or name a kubeconfig",
            first_line(error)
        ))
    }

    pub(super) fn of_kubeconfig(error: &KubeconfigError) -> Self {
        Self(match error {
            // Its own text shows the lines around, which may hold a token.
            KubeconfigError::Parse(error) => match error.location() {
                Some(location) => {
                    format!("kubeconfig: line {} is not what a kubeconfig has there: correct it", location.line())
                }
                None => "kubeconfig: it is no kubeconfig: name another in $KUBECONFIG".to_owned(),
            },
            KubeconfigError::FindPath => {
                "kubeconfig: there is none: name one in $KUBECONFIG, or put it into ~/.kube/config".to_owned()
            }
            KubeconfigError::ReadConfig(error, path) => {
                format!("kubeconfig: {path:?} cannot be read ({}): name another in $KUBECONFIG", error.kind())
            }
            KubeconfigError::CurrentContextNotSet => {
                "kubeconfig: it has no current context: `kubectl config use-context NAME`".to_owned()
            }
            KubeconfigError::LoadContext(name) => {
                format!("kubeconfig: it has no context {name:?}: `kubectl config get-contexts` lists them")
            }
            KubeconfigError::LoadClusterOfContext(name) => {
                format!("kubeconfig: it has no cluster {name:?}: correct it")
            }
            other => format!("kubeconfig: {}: correct it", first_line(other)),
        })
    }

    pub(super) fn of_client(error: &kube::Error) -> Self {
        match error {
            kube::Error::Auth(error) => Self::of_auth(error),
            kube::Error::InferKubeconfig(error) => Self::of_kubeconfig(error),
            kube::Error::RustlsTls(error) => {
                Self(format!("the certificates for the API server are no good: {}: correct them", first_line(error)))
            }
            // Such as a header that an impersonated name does not fit into.
            _ => Self::new("the kubeconfig's user is no good: correct it"),
        }
    }

    /// The plugin's own words may hold a token.
    pub(super) fn of_auth(error: &AuthError) -> Self {
        Self(match error {
            AuthError::AuthExecStart(error) => {
                format!("kubeconfig: its exec plugin cannot be run ({}): install it", error.kind())
            }
            AuthError::AuthExecRun { out, .. } => {
                format!("kubeconfig: its exec plugin failed ({}): run `kubectl get secrets` to see why", out.status)
            }
            AuthError::ReadTokenFile(error, path) => {
                format!("the token in {path:?} cannot be read ({}): mount it, or correct the path", error.kind())
            }
            AuthError::InvalidBearerToken(_) => "the token is none that fits into a header: renew it".to_owned(),
            _ => "kubeconfig: its user's credentials cannot be had: run `kubectl get secrets` to see why".to_owned(),
        })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConnectError {}

fn first_line(error: &dyn fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(200).flat_map(char::escape_debug).collect()
}
