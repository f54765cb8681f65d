//! The chart vestibule-injector: rendered by Helm, and its policies on an API server.

use std::env::var_os;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use super::pods;
use crate::cluster::{Api, Cluster, Namespace};
use crate::support::eventually;
use crate::support::skipped;

/// Where Helm is, which tests/helm builds.
const VARIABLE: &str = "VESTIBULE_HELM";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/vestibule-injector");
/// The oldest that the chart is for.
const KUBERNETES: &str = "1.36.0";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// What `helm` has made of the chart, or its one line of error.
pub(super) type Rendered = Result<Vec<Value>, String>;

/// The chart's policies, for the pods of one namespace.
pub(super) struct Policies {
    paths: Vec<String>,
    admin: Api,
    is_ours: bool,
}

/// The objects of the chart with these values; `None`, said loudly, where there is no Helm.
pub(super) fn render(name: &str, kubernetes: &str, values: &Value) -> Option<Rendered> {
    let mut command = helm()?;
    command.args(["template", name, CHART, "--kube-version", kubernetes]);
    for (key, value) in values.as_object().into_iter().flatten() {
        command.args(["--set-json", &format!("{key}={value}")]);
    }
    let output = command.output().expect("Helm starts");
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let text = String::from_utf8(output.stdout).expect("text");
    let documents = text.split("\n---\n").map(|document| serde_saphyr::from_str(document).expect("YAML"));
    Some(Ok(documents.collect()))
}

/// What Helm itself finds wrong with the chart.
pub(super) fn lint() -> Option<Result<(), String>> {
    let output = helm()?.args(["lint", "--strict", CHART, "--kube-version", KUBERNETES]).output().expect("Helm starts");
    Some(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) })
}

/// `None`, said loudly, where there is none.
pub(super) fn helm() -> Option<Command> {
    let cached = || {
        let cache = var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(var_os("HOME")?).join(".cache")))?;
        Some(cache.join("vestibule/helm")).filter(|helm| helm.exists())
    };
    let helm = var_os(VARIABLE).map(PathBuf::from).or_else(cached);
    if helm.is_none() {
        skipped(&format!("Helm: run tests/helm, or let {VARIABLE} name the program"));
    }
    helm.map(Command::new)
}

impl Policies {
    /// Installs the chart with these values for one namespace alone, and waits until all its policies are in force.
    pub(super) async fn install(ns: &Namespace, values: &Value) -> Option<Self> {
        let mut values = values.clone();
        values["fullnameOverride"] = ns.name.clone().into();
        values["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": ns.name}});
        let objects = render("test", KUBERNETES, &values)?.unwrap_or_else(|error| panic!("{error}"));
        let mut policies =
            Self { paths: Vec::new(), admin: ns.admin(), is_ours: matches!(ns.cluster, Cluster::Own(_)) };
        for object in &objects {
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let plural = kind.to_ascii_lowercase();
            let plural = plural.strip_suffix('y').map_or(format!("{plural}s"), |stem| format!("{stem}ies"));
            policies.admin.create(&format!("{GROUP}/{plural}"), object).await;
            policies.paths.push(format!("{GROUP}/{plural}/{name}"));
        }
        let annotations = json!({
            "vestibule.dev/inject": "true", "vestibule.dev/store": "mounted", "vestibule.dev/port": "8080",
        });
        let asked = pods::plain(&annotations);
        eventually("a pod that gets the sidecar", async || {
            let answer = pods::dry_run(ns, &asked).await;
            (answer.status == 201 && pods::has_sidecar(&answer.json())).then_some(())
        })
        .await;
        let misspelt = pods::plain(&json!({"vestibule.dev/injct": "true"}));
        eventually("a pod that is refused", async || (pods::dry_run(ns, &misspelt).await.status != 201).then_some(()))
            .await;
        Some(policies)
    }

    /// Takes away the objects of one kind (its plural).
    pub(super) async fn remove(&self, plural: &str) {
        for path in self.paths.iter().filter(|path| path.contains(&format!("/{plural}/"))) {
            self.admin.delete(path).await;
        }
    }

    /// Takes all of it away.
    pub(super) async fn uninstall(self) {
        for path in &self.paths {
            self.admin.send("DELETE", path, None).await;
        }
    }
}

impl Drop for Policies {
    fn drop(&mut self) {
        if self.is_ours {
            return;
        }
        let (admin, paths) = (self.admin.clone(), self.paths.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let deletion = thread::spawn(move || {
            for path in &paths {
                drop(runtime.block_on(admin.try_send("DELETE", path, None)));
            }
        });
        drop(deletion.join());
    }
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
