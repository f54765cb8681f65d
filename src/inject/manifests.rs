//! Manifests as they stand in files and come out of `helm template`: many documents, Lists, workloads.

use serde_json::Value;

use super::{Parameters, inject};

/// The manifests, and what is to be said about them.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) text: String,
    pub(crate) notes: Vec<String>,
    /// How many pods have got the sidecar.
    pub(crate) injected: usize,
}

const INJECT: &str = "vestibule.dev/inject";
/// Kinds with a pod's template, and where it stands.
const WORKLOADS: [(&str, &str); 8] = [
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
    ("PodTemplate", "/template"),
];
/// Whose groups these kinds are of; others have kinds of the same name.
const GROUPS: [&str; 3] = ["v1", "apps/v1", "batch/v1"];

/// Adds the sidecar to the pods of all documents that ask for it, or with `all` to every one that does not decline.
/// Documents that nothing is added to stay as they are, byte for byte.
///
/// # Errors
///
/// One line: a document that is no YAML, or the first object that is refused, with all reasons.
pub(crate) fn rewrite(text: &str, parameters: &Parameters, all: bool) -> Result<Rewritten, String> {
    let mut rewritten = Rewritten::default();
    for (index, (separator, document)) in documents(text).into_iter().enumerate() {
        let injected = rewritten.injected;
        rewritten.text.push_str(separator);
        let mut value = parse(document).map_err(|error| format!("document {}: {error}", index + 1))?;
        object(&mut value, parameters, all, &mut rewritten)?;
        if rewritten.injected == injected {
            rewritten.text.push_str(document);
            continue;
        }
        if document.lines().any(|line| line.trim_start().starts_with('#') && !line.starts_with("# Source: ")) {
            rewritten.notes.push(format!("{}: its comments are lost", described(&value)));
        }
        rewritten.text.push_str(&printed(&value)?);
    }
    Ok(rewritten)
}

fn object(value: &mut Value, parameters: &Parameters, all: bool, rewritten: &mut Rewritten) -> Result<(), String> {
    let name = described(value);
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    if kind.ends_with("List") && value["items"].is_array() {
        for item in value["items"].as_array_mut().into_iter().flatten() {
            object(item, parameters, all, rewritten)?;
        }
        return Ok(());
    }
    let is_known = value["apiVersion"].as_str().is_some_and(|group| GROUPS.contains(&group));
    let path = if kind == "Pod" {
        Some("")
    } else {
        WORKLOADS.iter().find(|(known, _)| *known == kind).map(|(_, path)| *path)
    };
    let Some(pod) = path.filter(|_| is_known).and_then(|path| value.pointer_mut(path)) else {
        let template = &value["spec"]["template"];
        if template["spec"]["containers"].is_array() && (all || template["metadata"]["annotations"][INJECT] == "true") {
            rewritten.notes.push(format!(
                "warning: {name} is passed over: only pods of the kinds of Kubernetes itself get the sidecar"
            ));
        }
        return Ok(());
    };
    if all && pod["metadata"]["annotations"][INJECT].is_null() {
        let metadata = super::pod::object(&mut pod["metadata"]);
        super::pod::object(metadata.entry("annotations").or_insert(Value::Null))
            .insert(INJECT.to_owned(), "true".into());
    }
    match inject(pod, parameters) {
        Ok(injected) => rewritten.injected += usize::from(injected),
        Err(reasons) => return Err(format!("{name} is refused: {}", reasons.join("; "))),
    }
    Ok(())
}

/// Kind, namespace and name.
fn described(value: &Value) -> String {
    let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
    let metadata = &value["metadata"];
    let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or("without a name");
    let namespace = metadata["namespace"].as_str().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{} {namespace}{name}", text(&value["kind"], "an object"))
}

/// Each document with the line that separates it from the one before.
fn documents(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut separator, mut begin, mut at) = ("", 0, 0);
    for line in text.split_inclusive('\n') {
        let is_separator = line.strip_prefix("---").is_some_and(|rest| rest.trim().is_empty() || rest.starts_with(' '));
        if is_separator {
            found.push((separator, &text[begin..at]));
            // What stands on the line itself belongs to the document.
            (separator, begin) = if line.trim_end() == "---" { (line, at + line.len()) } else { ("", at) };
        }
        at += line.len();
    }
    found.push((separator, &text[begin..]));
    found
}

fn parse(document: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        // As Kubernetes reads them: `defaultMode: 0644`.
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
    };
    let value = serde_saphyr::from_str_with_options::<Option<Value>>(document, options);
    value.map(Option::unwrap_or_default).map_err(|error| {
        let error = error.to_string();
        format!("is no YAML: {}", error.lines().next().unwrap_or_default())
    })
}

/// Texts in quotes: readers of older YAML take `on` or `0644` for something else.
fn printed(value: &Value) -> Result<String, String> {
    let options = serde_saphyr::ser_options! { quote_all: true };
    let text = serde_saphyr::to_string_with_options(value, options);
    text.map(|text| if text.ends_with('\n') { text } else { text + "\n" })
        .map_err(|error| format!("{} cannot be written as YAML: {error}", described(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ASKS: &str = r#"
metadata: {name: shop, annotations: {vestibule.dev/inject: "true"}}
spec:
  serviceAccountName: shop
  containers: [{name: shop, image: "shop:1", ports: [{name: http, containerPort: 8080}]}]
"#;

    fn indented(text: &str, by: usize) -> String {
        text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
    }

    fn sidecar(pod: &Value) -> bool {
        pod["spec"]["initContainers"][0]["name"] == "vestibule"
    }

    #[test]
    fn what_nobody_asked_about_stays_byte_for_byte() {
        for text in [
            "",
            "# nothing\n",
            "---\n# Source: a.yaml\nkind: Service\nspec:  {a: 0644,  b: on} # as it was\n---\n\n---\nkind: Deployment\n",
            "--- # with a comment\nkind: Pod\napiVersion: v1\nmetadata: {annotations: {vestibule.dev/inject: \"false\"}}",
            "kind: ConfigMap\ndata:\n  text: |\n    ---\n    no: separator\n",
        ] {
            let rewritten = rewrite(text, &Parameters::default(), false).expect(text);
            assert_eq!(rewritten.text, text);
            assert!(rewritten.notes.is_empty() && rewritten.injected == 0, "{rewritten:?}");
        }
    }

    #[test]
    fn pods_are_found_in_workloads_of_kubernetes_and_in_lists() {
        let pod = format!("apiVersion: v1\nkind: Pod{ASKS}");
        let deployment = format!("apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n{}", indented(ASKS, 4));
        let nightly = format!(
            "apiVersion: batch/v1\nkind: CronJob\nspec:\n  jobTemplate:\n    spec:\n      template:\n{}",
            indented(ASKS, 8)
        );
        for (text, path) in [(&pod, ""), (&deployment, "/spec/template"), (&nightly, "/spec/jobTemplate/spec/template")]
        {
            let rewritten = rewrite(text, &Parameters::default(), false).expect("it is not refused");
            let made: Value = serde_saphyr::from_str(&rewritten.text).expect("YAML");
            assert!(made.pointer(path).is_some_and(sidecar), "{}", rewritten.text);
        }
        let items: Vec<Value> = [&pod, &deployment].map(|text| serde_saphyr::from_str(text).expect("YAML")).into();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        assert_eq!(rewrite(&list, &Parameters::default(), false).expect("it is not refused").injected, 2);
        let many = format!("---\n{pod}---\nkind: Service\n---\n{nightly}");
        let rewritten = rewrite(&many, &Parameters::default(), false).expect("it is not refused");
        assert_eq!((rewritten.injected, rewritten.text.matches("---\n").count()), (2, 3), "{}", rewritten.text);
    }

    #[test]
    fn templates_of_others_are_passed_over_and_named() {
        let text = format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {{name: shop, namespace: web}}\nspec:\n  template:\n{}",
            indented(ASKS, 4)
        );
        let rewritten = rewrite(&text, &Parameters::default(), false).expect("it is not refused");
        assert_eq!((rewritten.injected, &rewritten.text), (0, &text));
        assert!(rewritten.notes[0].starts_with("warning: Rollout web/shop is passed over"), "{:?}", rewritten.notes);
    }

    #[test]
    fn numbers_and_texts_mean_what_they_mean_to_kubernetes() {
        let text = format!(
            "# lost\napiVersion: v1\nkind: Pod{ASKS}  volumes: [{{name: own, secret: {{secretName: own, defaultMode: 0440}}}}]\n  nodeSelector: {{a: \"on\", b: \"0440\"}}\n"
        );
        let rewritten = rewrite(&text, &Parameters::default(), false).expect("it is not refused");
        let made: Value = serde_saphyr::from_str(&rewritten.text).expect("YAML");
        assert_eq!(made["spec"]["volumes"][0]["secret"]["defaultMode"], 0o440);
        assert!(rewritten.text.contains("\"on\"") || rewritten.text.contains("'on'"), "{}", rewritten.text);
        assert_eq!(made["spec"]["nodeSelector"]["b"], "0440");
        assert_eq!(rewritten.notes, ["Pod shop: its comments are lost"]);
    }

    #[test]
    fn a_pod_as_the_api_server_tells_it_loses_the_token_that_was_mounted_by_itself() {
        let token = "{name: kube-api-access-x7k2p, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}";
        let pod = ASKS.replace("ports:", &format!("volumeMounts: [{token}, {{name: own, mountPath: /own}}], ports:"));
        let volumes =
            "  volumes: [{name: own, emptyDir: {}}, {name: kube-api-access-x7k2p, projected: {sources: []}}]\n";
        let text = format!("apiVersion: v1\nkind: Pod{pod}{volumes}");
        let rewritten = rewrite(&text, &Parameters::default(), false).expect("it is not refused");
        assert!(!rewritten.text.contains("kube-api-access"), "{}", rewritten.text);
        let made: Value = serde_saphyr::from_str(&rewritten.text).expect("YAML");
        assert_eq!(made["spec"]["containers"][0]["volumeMounts"], json!([{"name": "own", "mountPath": "/own"}]));
        assert_eq!(made["spec"]["volumes"][0]["name"], "own");
    }

    #[test]
    fn all_means_every_pod_that_does_not_decline() {
        let open = ASKS.replace("vestibule.dev/inject: \"true\"", "other: x");
        let declines = ASKS.replace("\"true\"", "\"false\"");
        for (text, injected) in [(open.as_str(), 1), (ASKS, 1), (declines.as_str(), 0)] {
            let text = format!("apiVersion: v1\nkind: Pod{text}");
            let rewritten = rewrite(&text, &Parameters::default(), true).expect("it is not refused");
            assert_eq!(rewritten.injected, injected, "{text}");
        }
    }

    #[test]
    fn without_a_pause_no_hook_is_added() {
        let text = format!("apiVersion: v1\nkind: Pod{ASKS}");
        for (seconds, hook, grace) in [(0, Value::Null, Value::Null), (7, json!({"sleep": {"seconds": 7}}), json!(37))]
        {
            let parameters = Parameters { pre_stop_seconds: seconds, ..Parameters::default() };
            let rewritten = rewrite(&text, &parameters, false).expect("it is not refused");
            let made: Value = serde_saphyr::from_str(&rewritten.text).expect("YAML");
            assert!(sidecar(&made));
            assert_eq!(made["spec"]["containers"][0]["lifecycle"]["preStop"], hook);
            assert_eq!(made["spec"]["terminationGracePeriodSeconds"], grace);
        }
    }

    #[test]
    fn a_refusal_names_the_object_and_all_reasons() {
        let text = format!("kind: Service\n---\napiVersion: v1\nkind: Pod{ASKS}  hostNetwork: true\n  hostPID: true\n");
        let error = rewrite(&text, &Parameters::default(), false).expect_err("it is refused");
        assert!(error.starts_with("Pod shop is refused: the pod is in the host's network"), "{error}");
        assert!(error.contains("; the application sees the sidecar's process"), "{error}");
        let error = rewrite("kind: [", &Parameters::default(), false).expect_err("no YAML");
        assert!(error.starts_with("document 1: is no YAML: ") && !error.contains('\n'), "{error}");
    }
}
