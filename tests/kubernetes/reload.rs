//! Users, keys and rights in Secrets that change under traffic: what tests/attacks asks of files.

use std::rc::Rc;

use tokio::task::LocalSet;

use crate::cluster::{Namespace, namespace};
use crate::sidecar::{InSecrets, secrets, sidecar};
use crate::support::figures::long;
use crate::support::{Jwk, Kept as _, Replaced, Setup, default_users, revoked, withdrawn};

/// What a Secret holds at most, in bytes.
const MAX_SECRET: usize = 1 << 20;

/// A namespace with both Secrets, and what starts sidecars in it.
async fn stocked() -> Option<(InSecrets, impl Fn() -> Setup)> {
    let ns: Rc<Namespace> = Rc::new(namespace().await?);
    secrets(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    Some((InSecrets::of(&ns), move || sidecar(&kubeconfig)))
}

#[tokio::test]
async fn every_request_is_judged_on_one_version() {
    let Some((kept, sidecar)) = stocked().await else { return };
    let rounds = if long() { 20 } else { 3 };
    let small = [Replaced::new(1, rounds), Replaced::new(10_000, rounds).without_passwords()];
    for table in small.into_iter().chain([Replaced::of_bytes(MAX_SECRET, rounds)]) {
        kept.write_users(&table.document(0)).await;
        kept.write_keys(&table.ring(0)).await;
        let place = format!(" in a Secret, {} KiB", table.document(1).len() >> 10);
        LocalSet::new().run_until(table.under_traffic(&place, sidecar(), &kept)).await;
    }
}

#[tokio::test]
async fn what_is_withdrawn_is_refused_from_the_next_request_on() {
    let Some((kept, sidecar)) = stocked().await else { return };
    let keys = [Jwk::fresh("HS512", "stays"), Jwk::fresh("HS512", "revoked")];
    kept.write_users(&default_users().to_string()).await;
    kept.write_keys(&Jwk::ring(&keys)).await;
    LocalSet::new().run_until(withdrawn(sidecar(), keys, &kept, if long() { 40 } else { 10 })).await;
}

#[tokio::test]
async fn logins_go_on_and_old_tokens_end_at_once() {
    let Some((kept, sidecar)) = stocked().await else { return };
    let rounds = if long() { 20 } else { 2 };
    LocalSet::new().run_until(revoked([sidecar(), sidecar(), sidecar()], &kept, rounds)).await;
}
