//! The change itself.

use serde_json::{Value, json};

use super::pod::{Pod, list, object};
use super::settings::Settings;
use super::{AUTOMATIC, CONFIG, CONTAINER, KEYS, Parameters, TLS, TOKEN, USERS};

/// Of the product's own `shutdown.grace`, and what ends with it.
const GRACE_SECONDS: u64 = 30;
const DEFAULT_GRACE_SECONDS: u64 = 30;
const PROBES: [&str; 5] =
    ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/postStart", "lifecycle/preStop"];

/// All that is to be done to one pod.
#[derive(Debug)]
pub(super) struct Change {
    /// Where the application's port stands: list, container, port.
    owner: Option<(&'static str, usize, usize)>,
    label: String,
    upstream: u64,
    is_mounted: bool,
    account: String,
    pre_stop_seconds: u32,
    pull_secrets: Vec<String>,
    volumes: Vec<Value>,
    sidecar: Value,
}

impl Change {
    pub(super) fn plan(pod: &Pod<'_>, settings: &Settings, parameters: &Parameters) -> Self {
        Self {
            owner: pod.owner().map(|(container, port)| (container.place.0, container.place.1, port)),
            label: pod.label().to_owned(),
            upstream: pod.upstream(),
            is_mounted: settings.is_mounted(),
            account: settings.account.clone(),
            pre_stop_seconds: parameters.pre_stop_seconds,
            pull_secrets: parameters.pull_secrets.clone(),
            volumes: volumes(settings),
            sidecar: sidecar(pod, settings, parameters),
        }
    }

    pub(super) fn make(self, pod: &mut Value) {
        let spec = &mut pod["spec"];
        if let Some((place, container, port)) = self.owner {
            let container = &mut spec[place][container];
            let moved = object(&mut container["ports"][port]);
            for member in ["name", "hostPort", "hostIP"] {
                moved.remove(member);
            }
            if !self.label.is_empty() {
                point_at_number(container, &self.label, self.upstream);
            }
        }
        if !self.is_mounted {
            take_token(spec);
            spec["automountServiceAccountToken"] = false.into();
            if !self.account.is_empty() {
                spec["serviceAccountName"] = self.account.into();
                object(spec).remove("serviceAccount");
            }
        }
        if self.pre_stop_seconds > 0 {
            let sleep = json!({"sleep": {"seconds": self.pre_stop_seconds}});
            for container in spec["containers"].as_array_mut().into_iter().flatten() {
                if container["lifecycle"]["preStop"].is_null() {
                    object(&mut container["lifecycle"]).insert("preStop".to_owned(), sleep.clone());
                }
            }
        }
        let longest = u64::from(self.pre_stop_seconds) + GRACE_SECONDS;
        if spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(DEFAULT_GRACE_SECONDS) < longest {
            spec["terminationGracePeriodSeconds"] = longest.into();
        }
        array(&mut spec["volumes"]).extend(self.volumes);
        array(&mut spec["initContainers"]).insert(0, self.sidecar);
        for name in self.pull_secrets {
            let secrets = array(&mut spec["imagePullSecrets"]);
            if !secrets.iter().any(|secret| secret["name"] == name.as_str()) {
                secrets.push(json!({"name": name}));
            }
        }
    }
}

fn sidecar(pod: &Pod<'_>, settings: &Settings, parameters: &Parameters) -> Value {
    let (listen, admin) = (settings.listen, settings.admin);
    let name = if pod.label().is_empty() { CONTAINER } else { pod.label() };
    let mut port = json!({"name": name, "containerPort": listen, "protocol": "TCP"});
    if let Some(moved) = pod.moved() {
        for member in ["hostPort", "hostIP"] {
            if !moved[member].is_null() {
                port[member] = moved[member].clone();
            }
        }
    }
    let mut limits = json!({"memory": settings.memory_limit});
    if !settings.cpu_limit.is_empty() {
        limits["cpu"] = settings.cpu_limit.clone().into();
    }
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "vestibule-admin"}, "periodSeconds": period, "failureThreshold": failures,
        })
    };
    json!({
        "name": CONTAINER,
        "image": format!("{}{}", parameters.repository, parameters.version),
        "imagePullPolicy": parameters.pull_policy,
        "restartPolicy": "Always",
        "args": arguments(pod, settings, parameters),
        "ports": [port, {"name": "vestibule-admin", "containerPort": admin, "protocol": "TCP"}],
        // It waits for neither the application nor the Secrets: the application starts when this has succeeded.
        "startupProbe": probe("/livez", 1, 60),
        "livenessProbe": probe("/livez", 10, 3),
        "readinessProbe": probe("/readyz", 5, 2),
        "resources": {
            "requests": {"cpu": settings.cpu_request, "memory": settings.memory_request}, "limits": limits,
        },
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": parameters.user,
            "runAsGroup": parameters.user,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts(settings),
    })
}

fn arguments(pod: &Pod<'_>, settings: &Settings, parameters: &Parameters) -> Vec<String> {
    let address = &parameters.listen_address;
    let mut arguments = vec!["serve".to_owned()];
    if !settings.config.is_empty() {
        arguments.push("--config=/etc/vestibule/config/vestibule.yaml".to_owned());
    }
    arguments.push(format!("--listen={address}:{}", settings.listen));
    arguments.push(format!("--admin={address}:{}", settings.admin));
    arguments.push(format!("--upstream={}://127.0.0.1:{}", settings.protocol, pod.upstream()));
    if settings.is_mounted() {
        arguments.push("--store-directory-users=/etc/vestibule/users".to_owned());
        arguments.push("--store-directory-keys=/etc/vestibule/keys".to_owned());
    } else {
        arguments.push(format!("--store-kubernetes-users={}", settings.users.join(",")));
        arguments.push(format!("--store-kubernetes-keys={}", settings.keys));
        if has_copies(settings) {
            arguments.push("--store-kubernetes-fallback-users=/etc/vestibule/users".to_owned());
            arguments.push("--store-kubernetes-fallback-keys=/etc/vestibule/keys".to_owned());
        }
    }
    arguments.push("--shutdown-delay=0s".to_owned());
    arguments
}

/// Whether both Secrets are mounted. A directory is of one Secret.
fn has_copies(settings: &Settings) -> bool {
    settings.users.len() == 1
}

fn mounts(settings: &Settings) -> Vec<Value> {
    let copies = has_copies(settings);
    [
        (!settings.config.is_empty(), CONFIG, "/etc/vestibule/config"),
        (copies, USERS, "/etc/vestibule/users"),
        (copies, KEYS, "/etc/vestibule/keys"),
        (true, TLS, "/etc/vestibule/tls"),
        // Where the API server would mount the service account's token by itself.
        (true, TOKEN, "/var/run/secrets/kubernetes.io/serviceaccount"),
    ]
    .into_iter()
    .filter(|(is_there, ..)| *is_there)
    .map(|(_, name, path)| json!({"name": name, "mountPath": path, "readOnly": true}))
    .collect()
}

/// What may come later is optional: the sidecar says what it waits for, and the pod is not ready.
fn volumes(settings: &Settings) -> Vec<Value> {
    let secret = |name: &str, secret: &str| json!({"name": name, "secret": {"secretName": secret, "optional": !settings.is_mounted()}});
    let mut volumes = Vec::new();
    if !settings.config.is_empty() {
        volumes.push(json!({"name": CONFIG, "configMap": {"name": settings.config}}));
    }
    if has_copies(settings) {
        volumes.push(secret(USERS, &settings.users[0]));
        volumes.push(secret(KEYS, &settings.keys));
    }
    volumes.push(json!({"name": TLS, "secret": {"secretName": settings.certificate}}));
    volumes.push(if settings.is_mounted() {
        // Nothing is mounted over what is mounted already: not the token of the application's account.
        json!({"name": TOKEN, "emptyDir": {"sizeLimit": "1Mi"}})
    } else {
        let namespace = json!({
            "path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
        });
        json!({"name": TOKEN, "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ]}})
    });
    volumes
}

/// Probes and hooks that ask for the port by its name.
fn point_at_number(container: &mut Value, label: &str, number: u64) {
    for probe in PROBES {
        for way in ["httpGet", "tcpSocket"] {
            if let Some(port) = container.pointer_mut(&format!("/{probe}/{way}/port"))
                && *port == label
            {
                *port = number.into();
            }
        }
    }
}

/// What the API server has mounted by itself, in a manifest that was taken from it.
fn take_token(spec: &mut Value) {
    let is_automatic = |one: &Value| one["name"].as_str().is_some_and(|name| name.starts_with(AUTOMATIC));
    for place in ["containers", "initContainers"] {
        for container in spec[place].as_array_mut().into_iter().flatten() {
            if list(&container["volumeMounts"]).iter().any(is_automatic) {
                array(&mut container["volumeMounts"]).retain(|mount| !is_automatic(mount));
            }
        }
    }
    if list(&spec["volumes"]).iter().any(is_automatic) {
        array(&mut spec["volumes"]).retain(|volume| !is_automatic(volume));
    }
}

fn array(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("it was made one")
}
