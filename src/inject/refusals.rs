//! What the sidecar cannot protect, and what to do about it.

use serde_json::Value;

use super::pod::{Pod, is_tcp, list};
use super::settings::Settings;
use super::{AUTOMATIC, CONFIG, CONTAINER, KEYS, Parameters, TLS, TOKEN, USERS};

const NAMES: [&str; 2] = ["vestibule", "vestibule-admin"];

/// Whether the sidecar is there already or not.
pub(super) fn obstacles(pod: &Pod<'_>, settings: &Settings, parameters: &Parameters) -> Vec<String> {
    let spec = pod.spec;
    let is_kubernetes = !settings.is_mounted();
    let port = |test: &dyn Fn(&Value) -> bool| pod.theirs().any(|container| list(&container["ports"]).iter().any(test));
    let number = |port: &Value| port["containerPort"] == settings.listen || port["containerPort"] == settings.admin;
    let shared = ["", "default"].contains(&settings.account.as_str()) && pod.account() == "default";
    let token = if is_kubernetes { pod.tokens().next() } else { None };
    [
        (spec["hostNetwork"] == true).then(|| {
            "the pod is in the host's network, where anyone reaches the application past the sidecar: set hostNetwork to false".to_owned()
        }),
        (spec["hostPID"] == true || spec["shareProcessNamespace"] == true).then(|| {
            "the application sees the sidecar's process, and through it the keys: leave out hostPID and shareProcessNamespace".to_owned()
        }),
        (spec["os"]["name"].as_str().unwrap_or("linux") != "linux")
            .then(|| "the pod is not for Linux, and the sidecar is: leave vestibule.dev/inject out".to_owned()),
        (is_kubernetes && shared).then(|| {
            "the pod runs as the service account default, which others share: name one that may read the Secrets in serviceAccountName or vestibule.dev/service-account, or set vestibule.dev/store to \"mounted\"".to_owned()
        }),
        token.map(|name| {
            format!("volume {name} gives the application a token of the pod's service account, which may read users and keys: leave the volume out, give it an audience of its own, or set vestibule.dev/store to \"mounted\"")
        }),
        holds_secrets(pod, settings).then(|| {
            "a volume or a variable of the application holds the Secret of the users or the keys, which are the sidecar's alone: take it away".to_owned()
        }),
        port(&|port| is_tcp(port) && number(port)).then(|| {
            format!("a container has port {} or {}, on which the sidecar listens: move the sidecar with vestibule.dev/listen-port and vestibule.dev/admin-port", settings.listen, settings.admin)
        }),
        port(&|port| port["name"].as_str().is_some_and(|name| NAMES.contains(&name))).then(|| {
            "a port of the application is called vestibule or vestibule-admin, as the sidecar's are: rename it".to_owned()
        }),
        (pod.is_called(CONTAINER) && !pod.is_protected(&parameters.repository))
            .then(|| "a container is called vestibule already and is not the sidecar: rename it".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Before the sidecar is there.
pub(super) fn hurdles(pod: &Pod<'_>, settings: &Settings) -> Vec<String> {
    let upstream = pod.upstream();
    let is_called = || {
        let mut ports = pod.containers.iter().flat_map(|container| list(&container.value["ports"]));
        ports.any(|port| port["name"] == settings.port.as_str())
    };
    let leads_past = pod.containers.iter().enumerate().any(|(index, container)| {
        list(&container.value["ports"]).iter().enumerate().any(|(place, port)| {
            port["hostPort"].as_u64().unwrap_or_default() != 0
                && is_tcp(port)
                && port["containerPort"].as_u64() == Some(upstream)
                && !pod.found.contains(&(index, place))
        })
    });
    let ours = [TOKEN, USERS, KEYS, TLS, CONFIG];
    [
        (pod.found.is_empty() && settings.number().is_none()).then(|| {
            let port = &settings.port;
            if is_called() {
                format!("port {port} is not TCP, or of an init container that ends: name another with vestibule.dev/port")
            } else {
                format!("no container has a port called {port}: name the one that Services target with vestibule.dev/port, or give its number")
            }
        }),
        (pod.found.len() > 1).then(|| {
            format!("more than one port is meant by vestibule.dev/port: \"{}\": give the application's another name", settings.port)
        }),
        (upstream == u64::from(settings.listen) || upstream == u64::from(settings.admin)).then(|| {
            format!("the application listens on port {upstream}, as the sidecar would: move the sidecar with vestibule.dev/listen-port or vestibule.dev/admin-port")
        }),
        leads_past.then(|| {
            "another port of the pod has a hostPort that leads to the application past the sidecar: leave it out".to_owned()
        }),
        (!settings.account.is_empty() && !["default", &settings.account].contains(&pod.account())).then(|| {
            "the pod names a service account and vestibule.dev/service-account another: leave one of them out".to_owned()
        }),
        pod.volumes()
            .iter()
            .any(|volume| volume["name"].as_str().is_some_and(|name| ours.contains(&name)))
            .then(|| "a volume is called as one of the sidecar's: rename it".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Where the sidecar is there already.
pub(super) fn remains(pod: &Pod<'_>, settings: &Settings) -> Vec<String> {
    let mounts = |test: &dyn Fn(&str) -> bool| {
        pod.theirs().any(|container| {
            list(&container["volumeMounts"]).iter().any(|mount| mount["name"].as_str().is_some_and(test))
        })
    };
    let sidecar = list(&pod.spec["initContainers"]).iter().find(|container| container["name"] == CONTAINER);
    let names: Vec<_> = sidecar
        .into_iter()
        .flat_map(|sidecar| list(&sidecar["ports"]))
        .filter_map(|port| port["name"].as_str())
        .collect();
    // Those of an init container that ends are no Service's.
    let theirs = pod.containers.iter().filter(|container| container.goes_on()).map(|container| container.value);
    let mut ports =
        theirs.filter(|container| container["name"] != CONTAINER).flat_map(|container| list(&container["ports"]));
    let is_taken = ports.any(|port| port["name"].as_str().is_some_and(|name| names.contains(&name)));
    [
        (!settings.is_mounted() && mounts(&|name| name.starts_with(AUTOMATIC))).then_some(
            "a container mounts the token of the pod's service account beside the sidecar: set automountServiceAccountToken to false",
        ),
        mounts(&|name| [TOKEN, USERS, KEYS, TLS].contains(&name))
            .then_some("a container mounts a volume of the sidecar: take the mount away"),
        is_taken.then_some("a container has a port that is called as one of the sidecar's: rename it"),
        (!settings.account.is_empty() && pod.account() != settings.account).then_some(
            "the pod has the sidecar and another service account than vestibule.dev/service-account: set serviceAccountName to it",
        ),
    ]
    .into_iter()
    .flatten()
    .map(str::to_owned)
    .collect()
}

fn holds_secrets(pod: &Pod<'_>, settings: &Settings) -> bool {
    let is_theirs = |name: &Value| name.as_str().is_some_and(|name| settings.secrets().any(|secret| secret == name));
    let in_volume = |volume: &Value| {
        ![USERS, KEYS].contains(&volume["name"].as_str().unwrap_or_default())
            && (is_theirs(&volume["secret"]["secretName"])
                || list(&volume["projected"]["sources"]).iter().any(|source| is_theirs(&source["secret"]["name"])))
    };
    let in_variable = |container: &Value| {
        list(&container["env"]).iter().any(|one| is_theirs(&one["valueFrom"]["secretKeyRef"]["name"]))
            || list(&container["envFrom"]).iter().any(|one| is_theirs(&one["secretRef"]["name"]))
    };
    pod.volumes().iter().any(in_volume) || pod.theirs().any(in_variable)
}
