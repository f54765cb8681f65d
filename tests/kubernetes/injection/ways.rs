//! All ways to the sidecar make the same pod, field by field: the policies, `vestibule inject`, the kustomize component,
//! and the Deployment of the chart vestibule.

mod component;
mod release;

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::{Map, Value, json};

use super::chart::Policies;
use super::command::inject;
use super::pods::{Case, accounts, cases, dry_run, pod_of, settled};
use super::{differences, has_sidecar};
use crate::cluster::namespace;

/// Besides the policies, which are what the others are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Inject,
    Component,
    Release,
}

/// What another way makes of a pod, and of its configuration.
struct Made {
    pod: Value,
    /// The ConfigMap's, where all of it is there.
    configuration: Option<Value>,
}

/// A field that a way may set otherwise than the policies, or leave out; below it everything.
struct Difference {
    way: Way,
    field: &'static str,
    #[expect(dead_code, reason = "for who reads this list")]
    why: &'static str,
}

/// All of them. Whatever else differs is a fault, and so is one of these that no pod shows any more.
const DIFFERENCES: [Difference; 11] = [
    Difference {
        way: Way::Component,
        field: ".spec.initContainers[0].args",
        why: "beside it there is always a ConfigMap, where its users change things: flags would be a second place, which \
              counts over it. A policy makes none, and its annotations have to count over one. `agree` holds both together",
    },
    Difference { way: Way::Release, field: ".spec.initContainers[0].args", why: "the same" },
    Difference {
        way: Way::Component,
        field: ".spec.volumes.vestibule-tls",
        why: "deploy/manifests/beside.yaml has a managed certificate, which the sidecar reads from its Secret: a private \
              key that nobody reads is not mounted. Annotations do not tell whether it is managed",
    },
    Difference { way: Way::Component, field: ".spec.initContainers[0].volumeMounts.vestibule-tls", why: "the same" },
    Difference {
        way: Way::Release,
        field: ".spec.volumes.vestibule-token",
        why: "with store: mounted, a policy keeps the token of the application's account out of the sidecar by an empty \
              volume in its place; the chart's own pods have no such token",
    },
    Difference { way: Way::Release, field: ".spec.initContainers[0].volumeMounts.vestibule-token", why: "the same" },
    Difference {
        way: Way::Release,
        field: ".spec.enableServiceLinks",
        why: "the chart's own application has no use for these variables; somebody else's may read them",
    },
    Difference { way: Way::Release, field: ".metadata.labels.app.kubernetes.io/name", why: "the chart's own" },
    Difference { way: Way::Release, field: ".metadata.labels.app.kubernetes.io/instance", why: "the chart's own" },
    Difference {
        way: Way::Release,
        field: ".metadata.annotations.checksum/config",
        why: "a change of the ConfigMap replaces the chart's own pods",
    },
    Difference {
        way: Way::Release,
        field: ".metadata.annotations.kubectl.kubernetes.io/default-container",
        why: "for `kubectl logs`, where the chart knows which container it is",
    },
];

/// How many of the pods each way can make: the component is for pods as its head describes them, the chart for
/// Deployments that have their port themselves.
const SHAPES: [(Way, usize); 3] = [(Way::Inject, 41), (Way::Component, 28), (Way::Release, 32)];
/// How many of them all can make.
const SHARED: usize = 25;

#[tokio::test]
async fn all_ways_make_the_same_pod() {
    let Some(ns) = namespace().await else { return };
    let bare = ns.another().await;
    accounts(&ns, []).await;
    let Some(policies) = Policies::install(&ns, &json!({})).await else { return };
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    let cases = cases();
    let mut shared: BTreeSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
    for (way, shapes) in SHAPES {
        let mut made = BTreeSet::new();
        for case in &cases {
            let name = format!("{way:?}: {}", case.name);
            let Ok(asked) = way.asked(case) else { continue };
            made.insert(case.name.as_str());
            for ns in [&ns, &bare] {
                accounts(ns, [&asked]).await;
            }
            let answer = dry_run(&ns, &asked).await;
            assert_eq!(answer.status, 201, "{name}, by the policies: {}", answer.text());
            let wanted = settled(&answer.json());
            assert!(has_sidecar(&wanted), "{name}");
            let Made { pod, configuration } = way.make(case, &asked);
            if let Some(configuration) = configuration {
                agree(&name, &wanted, &configuration, &mut wrong);
            }
            // Where no policy looks, so that none mends it; and where they look, as it is.
            for ns in [&bare, &ns] {
                let answer = dry_run(ns, &pod).await;
                assert_eq!(answer.status, 201, "{name}: {}", answer.text());
                way.compare(&name, &settled(&answer.json()), &wanted, &mut seen, &mut wrong);
            }
        }
        assert_eq!(made.len(), shapes, "{way:?}: pods that it can make");
        shared = &shared & &made;
    }
    policies.uninstall().await;
    assert_eq!(shared.len(), SHARED, "pods that all of them can make: {shared:?}");
    for (index, difference) in DIFFERENCES.iter().enumerate().filter(|(index, _)| !seen.contains(index)) {
        wrong.push(format!("DIFFERENCES[{index}]: {:?} {} no longer differs", difference.way, difference.field));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Way {
    /// The pod as this way can make it, or why it cannot.
    fn asked(self, case: &Case) -> Result<Value, &'static str> {
        match self {
            Self::Inject => Ok(case.pod.clone()),
            Self::Component => component::asked(case),
            Self::Release => release::asked(case),
        }
    }

    fn make(self, case: &Case, asked: &Value) -> Made {
        match self {
            Self::Inject => {
                let output = printed(inject(&case.manifest.to_string()));
                let manifest = serde_saphyr::from_str(&output).expect("YAML");
                Made { pod: pod_of(&manifest), configuration: None }
            }
            Self::Component => component::make(case, asked),
            Self::Release => release::make(asked),
        }
    }

    /// What this pod has otherwise than the policies' and than the list allows; `seen` gets what it allows and was there.
    fn compare(self, name: &str, made: &Value, wanted: &Value, seen: &mut BTreeSet<usize>, wrong: &mut Vec<String>) {
        let mut found = Vec::new();
        differences("", &keyed(made), &keyed(wanted), &mut found);
        for one in found {
            let allows = |difference: &Difference| {
                let rest = one.strip_prefix(difference.field);
                difference.way == self && rest.is_some_and(|rest| rest.starts_with(['.', '[', ':']))
            };
            match DIFFERENCES.iter().position(allows) {
                Some(index) => {
                    seen.insert(index);
                }
                None => wrong.push(format!("{name}: {one}")),
            }
        }
    }
}

/// Each flag of the policies' sidecar says what the ConfigMap says, which the others have instead.
fn agree(name: &str, wanted: &Value, configuration: &Value, wrong: &mut Vec<String>) {
    let arguments = wanted["spec"]["initContainers"][0]["args"].as_array().expect("arguments");
    let flags = arguments.iter().filter_map(|argument| argument.as_str()?.strip_prefix("--")?.split_once('='));
    let mut compared = 0;
    for (flag, value) in flags.filter(|(flag, _)| *flag != "config") {
        let said = match configuration.pointer(&format!("/{}", flag.replace('-', "/"))) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => format!("{other:?}"),
        };
        compared += 1;
        if said != value {
            wrong.push(format!("{name}: --{flag}={value}, and the ConfigMap says {said}"));
        }
    }
    assert!(compared >= 6, "{name}: {arguments:?}");
}

/// A pod whose volumes and mounts go by their names: their order means nothing.
fn keyed(pod: &Value) -> Value {
    let by_name = |list: &mut Value| {
        let Some(items) = list.as_array() else { return };
        let named = items.iter().map(|item| (item["name"].as_str().expect("a name").to_owned(), item.clone()));
        let map: Map<_, _> = named.collect();
        // Something may be mounted twice.
        if map.len() == items.len() {
            *list = map.into();
        }
    };
    let mut pod = pod.clone();
    by_name(&mut pod["spec"]["volumes"]);
    for place in ["containers", "initContainers"] {
        for container in pod["spec"][place].as_array_mut().into_iter().flatten() {
            by_name(&mut container["volumeMounts"]);
        }
    }
    pod
}

/// Probes and hooks that ask for a port by its name ask for its number afterwards: where the sidecar is added to a
/// manifest that nobody looks into, its owner writes them so.
fn by_number(container: &mut Value, name: &str) {
    let ports = container["ports"].as_array().cloned().unwrap_or_default();
    let Some(port) = ports.iter().find(|port| port["name"] == name) else { return };
    for hook in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/postStart", "lifecycle/preStop"] {
        for way in ["httpGet", "tcpSocket"] {
            if let Some(asked) = container.pointer_mut(&format!("/{hook}/{way}/port")).filter(|asked| *asked == name) {
                *asked = port["containerPort"].clone();
            }
        }
    }
}

/// An annotation of ours; empty where there is none.
fn annotation<'a>(pod: &'a Value, name: &str) -> &'a str {
    pod["metadata"]["annotations"][format!("vestibule.dev/{name}")].as_str().unwrap_or_default()
}

fn run(command: &mut Command) -> String {
    printed(command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

fn printed(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).expect("text")
}
