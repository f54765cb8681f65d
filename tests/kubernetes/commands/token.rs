//! `token` on Secrets: minted and judged on what stands there now.

use crate::cluster::{KEYS, USERS, namespace};
use crate::shell::Shell;
use crate::support::Commands;

const NONE: &[(&str, &str)] = &[];

#[tokio::test]
async fn a_token_is_minted_and_judged_on_secrets() {
    let Some(ns) = namespace().await else { return };
    for name in ["people", "ring", USERS, KEYS] {
        ns.create_secret(name, NONE).await;
    }
    let shell = Shell::admin(&ns);
    shell.done("users add ann --generate --group Administrator --secret people");
    shell.done("keys rotate --secret ring");
    let place = format!("--namespace {} --secret people --keys-secret ring", ns.name);
    let token = shell.done(&format!("token issue ann {place}"));
    let inspect = |place: &str| shell.run_with(&format!("token inspect -o json {place}"), token.as_bytes());
    let ran = inspect(&place);
    assert!(ran.code == 0 && ran.out.contains("\"verdict\": \"good\""), "{ran:?}");
    // By the Secrets' usual names.
    let ran = inspect(&format!("-n {}", ns.name));
    assert!(ran.code == 1 && ran.err.contains("unknown_key"), "{ran:?}");
    shell.done("users disable ann --secret people");
    let ran = inspect(&place);
    assert!(ran.code == 1 && ran.err.contains("user_inactive"), "{ran:?}");
    shell.run(&format!("token issue ann {place}")).refused(1, "is disabled");
}
