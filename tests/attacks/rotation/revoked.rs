//! The only signer of a directory is revoked under traffic.

use tokio::task::LocalSet;

use super::shared::with_keys;
use crate::alone;
use crate::figures::long;
use crate::support::{InDirectory, Setup, revoked};

#[tokio::test]
async fn logins_go_on_and_old_tokens_end_at_once() {
    let _alone = alone().await;
    let first = Setup::new();
    let (kept, keys) = (InDirectory(first.path("")), first.path("keys"));
    let other = || with_keys(Setup::new(), &keys);
    let rounds = if long() { 20 } else { 2 };
    LocalSet::new().run_until(revoked([first, other(), other()], &kept, rounds)).await;
}
