//! What a pod asks for: its annotations, else the defaults; and what is wrong with them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{KUBERNETES, MOUNTED, PREFIX, Parameters};

/// In the order in which they are told.
const KNOWN: [&str; 16] = [
    "inject",
    "port",
    "protocol",
    "listen-port",
    "admin-port",
    "store",
    "users",
    "keys",
    "certificate",
    "config",
    "service-account",
    "instance",
    "cpu-request",
    "cpu-limit",
    "memory-request",
    "memory-limit",
];
/// Characters of one annotation.
const LONGEST: usize = 2048;
const MOST_USERS: usize = 8;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) asked: bool,
    /// All annotations of ours, without the prefix.
    set: BTreeMap<String, String>,
    pub(super) port: String,
    pub(super) protocol: String,
    /// 0 where it is no port that it may have.
    pub(super) listen: u32,
    pub(super) admin: u32,
    pub(super) store: String,
    pub(super) users: Vec<String>,
    pub(super) keys: String,
    pub(super) certificate: String,
    pub(super) config: String,
    pub(super) account: String,
    instance: String,
    pub(super) cpu_request: String,
    pub(super) cpu_limit: String,
    pub(super) memory_request: String,
    pub(super) memory_limit: String,
}

impl Settings {
    pub(super) fn of(pod: &Value, parameters: &Parameters) -> Self {
        let none = Map::new();
        let annotations = pod["metadata"]["annotations"].as_object().unwrap_or(&none);
        let ours = annotations.iter().filter_map(|(name, value)| {
            Some((name.strip_prefix(PREFIX)?.to_owned(), value.as_str().unwrap_or_default().to_owned()))
        });
        let set: BTreeMap<_, _> = ours.collect();
        let or = |name: &str, default: &str| set.get(name).map_or(default, String::as_str).to_owned();
        let get = |name: &str| or(name, parameters.defaults.get(name).map_or("", String::as_str));
        let instance = or("instance", "");
        let named = |name: &str, ending: &str| {
            if instance.is_empty() { get(name) } else { or(name, &format!("{instance}-{ending}")) }
        };
        let port = |name: &str| {
            let text = get(name);
            if (4..=5).contains(&text.len()) && is_number(&text) { text.parse().unwrap_or_default() } else { 0 }
        };
        let store = get("store");
        let account = or("service-account", if store == MOUNTED { "" } else { &instance });
        Self {
            asked: set.get("inject").is_some_and(|value| value == "true"),
            port: get("port"),
            protocol: get("protocol"),
            listen: port("listen-port"),
            admin: port("admin-port"),
            users: named("users", "users").split(',').map(str::to_owned).collect(),
            keys: named("keys", "keys"),
            certificate: named("certificate", "tls"),
            config: or("config", &instance),
            cpu_request: get("cpu-request"),
            cpu_limit: get("cpu-limit"),
            memory_request: get("memory-request"),
            memory_limit: get("memory-limit"),
            store,
            account,
            instance,
            set,
        }
    }

    pub(super) fn is_mounted(&self) -> bool {
        self.store == MOUNTED
    }

    /// The port's number, where the annotation gives one.
    pub(super) fn number(&self) -> Option<u32> {
        let digits = !self.port.is_empty() && self.port.bytes().all(|byte| byte.is_ascii_digit());
        let number = || if is_number(&self.port) { self.port.parse().unwrap_or_default() } else { 0 };
        digits.then(number)
    }

    /// The Secrets that nobody but the sidecar may have.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.users.iter().chain([&self.keys]).map(String::as_str)
    }

    /// What is wrong whatever the pod is.
    pub(super) fn mistakes(&self, pod: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for name in self.set.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
            let known = KNOWN.join(", ");
            found.push(format!("annotation {PREFIX}{name} is not known: there are {PREFIX}{known}"));
        }
        match self.set.get("inject").map(String::as_str) {
            Some("true" | "false") => {}
            Some(_) => found.push(
                "annotation vestibule.dev/inject is neither \"true\" nor \"false\": write one of them, in quotes".to_owned(),
            ),
            None if !self.set.is_empty() => found.push(
                "annotation vestibule.dev/inject is missing beside others of vestibule.dev: set it to \"true\", or to \"false\" for a pod without the sidecar".to_owned(),
            ),
            None => {}
        }
        for name in self.set.iter().filter(|(_, value)| value.chars().count() > LONGEST).map(|(name, _)| name) {
            found.push(format!("annotation {PREFIX}{name} is longer than {LONGEST} characters: shorten it"));
        }
        if pod["metadata"]["labels"].get("vestibule.dev/inject").is_some() {
            found.push(
                "vestibule.dev/inject is a label here, which does nothing: make it an annotation of the pod template"
                    .to_owned(),
            );
        }
        found
    }

    /// What is wrong with the values.
    pub(super) fn misfits(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |is_wrong: bool, text: &str| {
            if is_wrong {
                found.push(text.to_owned());
            }
        };
        match self.number() {
            Some(number) => say(
                !(1..=65535).contains(&number),
                "annotation vestibule.dev/port is no port: give a number from 1 to 65535, or the name of a container port",
            ),
            None => say(
                self.port.len() > 15 || !is_label(&self.port),
                "annotation vestibule.dev/port is no name of a port: give the name of a container port (at most 15 of a-z, 0-9 and -), or its number",
            ),
        }
        say(
            !["http", "h2c"].contains(&self.protocol.as_str()),
            "annotation vestibule.dev/protocol is not known: write \"http\" or \"h2c\"",
        );
        for (name, port) in [("listen", self.listen), ("admin", self.admin)] {
            let text =
                format!("annotation vestibule.dev/{name}-port is out of range: give a number from 1024 to 65535");
            say(!(1024..=65535).contains(&port), &text);
        }
        say(
            self.listen == self.admin,
            "the sidecar listens on one port for everything: give vestibule.dev/listen-port and vestibule.dev/admin-port two numbers",
        );
        say(
            ![KUBERNETES, MOUNTED].contains(&self.store.as_str()),
            "annotation vestibule.dev/store is not known: write \"kubernetes\" or \"mounted\"",
        );
        let twice = self.users.iter().enumerate().any(|(index, user)| self.users[..index].contains(user));
        say(
            self.users.len() > MOST_USERS || twice || self.users.iter().any(|user| !is_name(user)),
            "annotation vestibule.dev/users names no Secrets: give one name, or up to 8 different ones with commas between",
        );
        for (value, name, what) in [
            (&self.keys, "keys", "Secret"),
            (&self.certificate, "certificate", "Secret"),
            (&self.config, "config", "ConfigMap"),
            (&self.account, "service-account", "service account"),
            (&self.instance, "instance", "release of the chart vestibule"),
        ] {
            let text =
                format!("annotation vestibule.dev/{name} is no name of a {what}: give one of the pod's namespace");
            say(self.set.contains_key(name) && !is_name(value), &text);
        }
        say(
            self.is_mounted() && self.users.len() > 1,
            "only one Secret of users can be mounted: name one in vestibule.dev/users, or set vestibule.dev/store to \"kubernetes\"",
        );
        say(
            self.users.contains(&self.keys),
            "users and keys are the same Secret: give vestibule.dev/users and vestibule.dev/keys two names",
        );
        say(
            self.secrets().any(|secret| secret == self.certificate),
            "the certificate is in the Secret of the users or keys: give vestibule.dev/certificate another name",
        );
        say(
            self.is_mounted() && self.set.contains_key("service-account"),
            "annotation vestibule.dev/service-account has no use where vestibule.dev/store is \"mounted\": leave it out",
        );
        let within =
            |value: Option<u64>, least: u64, most: u64| value.is_some_and(|value| (least..=most).contains(&value));
        say(
            !within(millicores(&self.cpu_request), 1, 64_000),
            "annotation vestibule.dev/cpu-request is out of range: give 1m to 64",
        );
        say(
            !self.cpu_limit.is_empty() && !within(millicores(&self.cpu_limit), 10, 64_000),
            "annotation vestibule.dev/cpu-limit is out of range: give 10m to 64",
        );
        say(
            !within(bytes(&self.memory_request), MIB, 64 * GIB),
            "annotation vestibule.dev/memory-request is out of range: give 1Mi to 64Gi",
        );
        say(
            !within(bytes(&self.memory_limit), 64 * MIB, 64 * GIB),
            "annotation vestibule.dev/memory-limit is out of range: give 64Mi to 64Gi",
        );
        found
    }

    /// Requests over their limits.
    pub(super) fn shares(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.cpu_limit.is_empty() && millicores(&self.cpu_request) > millicores(&self.cpu_limit) {
            found.push("the sidecar's CPU request is over its limit: change vestibule.dev/cpu-request or vestibule.dev/cpu-limit".to_owned());
        }
        if bytes(&self.memory_request) > bytes(&self.memory_limit) {
            found.push("the sidecar's memory request is over its limit: change vestibule.dev/memory-request or vestibule.dev/memory-limit".to_owned());
        }
        found
    }
}

/// One to five digits, the first of them not 0.
fn is_number(text: &str) -> bool {
    (1..=5).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(text: &str) -> bool {
    is_of(text, b"-")
}

/// A name of an object: at most 253 of a-z, 0-9, `-` and `.`.
fn is_name(text: &str) -> bool {
    text.len() <= 253 && is_of(text, b"-.")
}

/// Lower case letters and digits, and these in between.
fn is_of(text: &str, others: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || others.contains(byte))
}

/// `1m` to `999999m`, or `1` to `99`.
fn millicores(text: &str) -> Option<u64> {
    let (digits, unit, longest) = match text.strip_suffix('m') {
        Some(digits) => (digits, 1, 6),
        None => (text, 1000, 2),
    };
    number(digits, longest).map(|number| number * unit)
}

/// `1Mi` to `999999Gi`.
fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix("Mi") {
        Some(digits) => (digits, MIB),
        None => (text.strip_suffix("Gi")?, GIB),
    };
    number(digits, 6).map(|number| number * unit)
}

fn number(digits: &str, longest: usize) -> Option<u64> {
    let is_number = (1..=longest).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}
