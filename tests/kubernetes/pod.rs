//! A process in a pod finds what kubelet would have put there.

use std::path::Path;
use std::process::Command;

use crate::cluster::{Pod, namespace};

const FILES: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test]
async fn a_container_finds_its_account() {
    let Some(ns) = namespace().await else { return };
    let kubeconfig = ns.account().await.kubeconfig().await;
    let Some(pod) = Pod::new(&kubeconfig) else { return };
    let script = format!("cat {FILES}/token {FILES}/namespace {FILES}/ca.crt; echo $KUBERNETES_SERVICE_PORT");
    let output = |mut command: Command| {
        let output = command.args(["-c", &script]).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let told = output(pod.command("sh"));
    let token = kubeconfig.token().expect("a token");
    let port = kubeconfig.address.port();
    assert_eq!(told, format!("{token}{}{}{port}\n", ns.name, kubeconfig.ca));

    pod.publish("another", "authority\n");
    assert_eq!(output(pod.command("sh")), format!("another{}authority\n{port}\n", ns.name));
    assert!(!Path::new(FILES).exists(), "of the pod alone");
}
