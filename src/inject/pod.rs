//! What stands in a pod.

use serde_json::{Map, Value};

use super::settings::Settings;
use super::{AUTOMATIC, CONTAINER, TOKEN};

/// A pod's containers, then its init containers, and the port that is meant.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    pub(super) spec: &'a Value,
    pub(super) containers: Vec<Container<'a>>,
    /// Each port that may be meant: of which container, and which one there.
    pub(super) found: Vec<(usize, usize)>,
    number: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Container<'a> {
    /// `containers` or `initContainers`, and the place there.
    pub(super) place: (&'static str, usize),
    pub(super) value: &'a Value,
}

impl<'a> Pod<'a> {
    pub(super) fn of(pod: &'a Value, settings: &Settings) -> Self {
        let spec = &pod["spec"];
        let lists = ["containers", "initContainers"].into_iter();
        let containers: Vec<_> = lists
            .flat_map(|name| {
                let numbered = list(&spec[name]).iter().enumerate();
                numbered.map(move |(index, value)| Container { place: (name, index), value })
            })
            .collect();
        let number = settings.number();
        let mut found = Vec::new();
        for (index, container) in containers.iter().enumerate().filter(|(_, container)| container.goes_on()) {
            for (place, port) in list(&container.value["ports"]).iter().enumerate() {
                let is_meant = match number {
                    Some(number) => port["containerPort"] == number,
                    None => port["name"] == settings.port.as_str(),
                };
                if is_tcp(port) && is_meant {
                    found.push((index, place));
                }
            }
        }
        Self { spec, containers, found, number }
    }

    /// The application's container and port, where just one may be meant.
    pub(super) fn owner(&self) -> Option<(&Container<'a>, usize)> {
        let &[(container, port)] = &self.found[..] else { return None };
        Some((&self.containers[container], port))
    }

    pub(super) fn moved(&self) -> Option<&'a Value> {
        self.owner().map(|(container, port)| &container.value["ports"][port])
    }

    /// What Services call the port; empty where it has no name.
    pub(super) fn label(&self) -> &'a str {
        self.moved().and_then(|port| port["name"].as_str()).unwrap_or_default()
    }

    /// The number that the application listens on; 0 where that is not known.
    pub(super) fn upstream(&self) -> u64 {
        self.moved().map_or(self.number.map(u64::from), |port| port["containerPort"].as_u64()).unwrap_or_default()
    }

    /// All containers but the sidecar.
    pub(super) fn theirs(&self) -> impl Iterator<Item = &'a Value> {
        self.containers.iter().map(|container| container.value).filter(|container| container["name"] != CONTAINER)
    }

    pub(super) fn volumes(&self) -> &'a [Value] {
        list(&self.spec["volumes"])
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.containers.iter().any(|container| container.value["name"] == name)
    }

    /// The sidecar, where it is there already, by its image's repository.
    pub(super) fn sidecar(&self, repository: &str) -> Option<&'a Value> {
        list(&self.spec["initContainers"]).iter().find(|container| {
            let image = container["image"].as_str().unwrap_or_default();
            let version = image.strip_prefix(repository);
            container["name"] == CONTAINER
                && container["restartPolicy"] == "Always"
                && list(&container["command"]).is_empty()
                && container["args"][0] == "serve"
                && version.is_some_and(|version| version.is_empty() || version.starts_with([':', '@']))
        })
    }

    /// Whether it has the sidecar, and nothing else that is called so.
    pub(super) fn is_protected(&self, repository: &str) -> bool {
        let called = self.containers.iter().filter(|container| container.value["name"] == CONTAINER).count();
        called == 1 && self.sidecar(repository).is_some()
    }

    /// Volumes, but for those that the API server makes by itself and ours, with a token that the API server accepts.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &'a str> {
        self.volumes().iter().filter_map(|volume| {
            let name = volume["name"].as_str().unwrap_or_default();
            let gives = |source: &Value| {
                let token = &source["serviceAccountToken"];
                let audience = token["audience"].as_str().unwrap_or_default();
                token.is_object() && (audience.is_empty() || audience.contains("kubernetes.default"))
            };
            let is_other = !name.starts_with(AUTOMATIC) && name != TOKEN;
            (is_other && list(&volume["projected"]["sources"]).iter().any(gives)).then_some(name)
        })
    }

    pub(super) fn account(&self) -> &'a str {
        let named = |member: &str| self.spec[member].as_str().filter(|name| !name.is_empty());
        named("serviceAccountName").or_else(|| named("serviceAccount")).unwrap_or("default")
    }
}

impl Container<'_> {
    /// Whether it lives as long as the pod: a container, or a native sidecar.
    pub(super) fn goes_on(&self) -> bool {
        self.place.0 == "containers" || self.value["restartPolicy"] == "Always"
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn is_tcp(port: &Value) -> bool {
    port["protocol"].as_str().unwrap_or("TCP") == "TCP"
}

pub(super) fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made one")
}
