//! Services that lead past the sidecar, to the application's own port.

use serde_json::Value;

use super::pods::{self, Pods};
use super::{MOST, items, said, text};
use crate::check::finding::Finding;
use crate::store::kubernetes::Cluster;

const SERVICES: &str = "services";

/// Looks at the Services that select the pods that were found; where none was, at all that name the port's number.
pub(super) async fn findings(cluster: &Cluster, pods: &Pods, port: u16) -> Vec<Finding> {
    let namespace = cluster.namespace();
    let list = match cluster.get_json(&format!("/api/v1/namespaces/{namespace}/services?limit={MOST}")).await {
        Ok(list) => list,
        Err(fault) => {
            let why = said(&fault);
            return vec![Finding::note(SERVICES, format!("not looked at, as they may not be listed ({why})"))];
        }
    };
    let mut findings: Vec<Finding> =
        items(&list, "/items").filter_map(|service| past_the_sidecar(service, &pods.with_sidecar, port)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(SERVICES, format!("none in {namespace} leads to the application's port {port}")));
    }
    if text(&list, "/metadata/continue").is_some_and(|rest| !rest.is_empty()) {
        findings.push(Finding::note(SERVICES, format!("only the first {MOST} were looked at")));
    }
    findings
}

fn past_the_sidecar(service: &Value, pods: &[Value], port: u16) -> Option<Finding> {
    let selector = service.pointer("/spec/selector")?.as_object().filter(|selector| !selector.is_empty())?;
    let is_selected = |pod: &&Value| {
        selector
            .iter()
            .all(|(label, value)| pod.pointer("/metadata/labels").and_then(|own| own.get(label)) == Some(value))
    };
    let selected = pods.iter().find(is_selected);
    let leads = items(service, "/spec/ports").any(|own| {
        let target = own.get("targetPort").unwrap_or(&own["port"]);
        match (target, selected) {
            (Value::String(name), Some(pod)) => pods::containers(pod)
                .flat_map(|container| items(container, "/ports"))
                .any(|own| text(own, "/name") == Some(name.as_str()) && own["containerPort"] == port),
            (target, Some(_)) => *target == port,
            (target, None) => pods.is_empty() && *target == port,
        }
    });
    let name = text(service, "/metadata/name").unwrap_or_default();
    leads.then(|| {
        let doubt = if selected.is_some() { "" } else { ", if it selects the sidecar's pods" };
        Finding::warning(
            SERVICES,
            format!("Service {name} leads to the application's own port {port}, past the sidecar{doubt}"),
            "let its `targetPort` name the sidecar's port",
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_leads_past_the_sidecar_by_number_or_by_name() {
        let pod = json!({
            "metadata": {"name": "web", "labels": {"app": "web", "tier": "a"}},
            "spec": {"containers": [
                {"name": "app", "ports": [{"name": "plain", "containerPort": 8080}]},
                {"name": "vestibule", "ports": [{"name": "http", "containerPort": 10443}]},
            ]},
        });
        let service = |selector: Value, port: Value| json!({"metadata": {"name": "s"}, "spec": {"selector": selector, "ports": [{"port": 443, "targetPort": 10443}, port]}});
        let (web, pods) = (json!({"app": "web"}), [pod]);
        for (selector, port, pods, expected) in [
            (&web, json!({"port": 80, "targetPort": 8080}), &pods[..], true),
            (&web, json!({"port": 8080}), &pods, true),
            (&web, json!({"port": 80, "targetPort": "plain"}), &pods, true),
            (&web, json!({"port": 80, "targetPort": "http"}), &pods, false),
            (&web, json!({"port": 8080, "targetPort": 10443}), &pods, false),
            (&json!({"app": "other"}), json!({"port": 8080}), &pods, false),
            (&json!({}), json!({"port": 8080}), &pods, false),
            (&Value::Null, json!({"port": 8080}), &pods, false),
            (&web, json!({"port": 8080}), &[], true),
            (&web, json!({"port": 80, "targetPort": "plain"}), &[], false),
        ] {
            let found = past_the_sidecar(&service(selector.clone(), port.clone()), pods, 8080);
            assert_eq!(found.is_some(), expected, "{selector} {port}");
            assert!(found.is_none_or(|found| found.message.contains("if it selects") == pods.is_empty()));
        }
    }
}
