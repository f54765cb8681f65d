//! `vestibule inject` makes the pods that the policies make, and refuses what they refuse.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::differences;
use super::pods::{accounts, cases, dry_run, pod_of, refused, settled};
use crate::cluster::namespace;

const VESTIBULE: &str = env!("CARGO_BIN_EXE_vestibule");

#[tokio::test]
async fn inject_makes_the_same_pods() {
    // No policies look at this namespace.
    let Some(ns) = namespace().await else { return };
    let cases = cases();
    accounts(&ns, cases.iter().map(|case| &case.pod)).await;
    let mut wrong = Vec::new();
    for case in &cases {
        let file = case.folder.join("input.yaml");
        let output = Command::new(VESTIBULE).arg("inject").arg("-f").arg(&file).output().expect("it starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {stderr}", case.name);
        let manifest: Value = serde_saphyr::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
        let answer = dry_run(&ns, &pod_of(&manifest)).await;
        assert_eq!(answer.status, 201, "{}: {}", case.name, answer.text());
        differences(&case.name, &settled(&answer.json()), &case.expected(), &mut wrong);
        // Once more changes nothing, byte for byte.
        let again = inject(&stdout);
        assert_eq!(String::from_utf8_lossy(&again.stdout), stdout, "{}", case.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn inject_refuses_what_the_policies_refuse() {
    let mut wrong = Vec::new();
    for case in refused().iter().filter(|case| !case.is_policys) {
        let output = inject(&case.pod.to_string());
        let stderr = String::from_utf8_lossy(&output.stderr);
        let wanted = format!("vestibule: standard input: Pod refused is refused: {}\n", case.says);
        if output.status.code() != Some(1) || stderr != wanted || !output.stdout.is_empty() {
            wrong.push(format!("{}:\n  expected {wanted}  told     {stderr}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `vestibule inject` makes of manifests at its standard input.
pub(super) fn inject(manifests: &str) -> Output {
    let mut command = Command::new(VESTIBULE);
    command.arg("inject").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(manifests.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}
