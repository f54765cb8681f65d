//! Users, keys and rules in files, replaced again and again under traffic.

use tokio::task::LocalSet;

use crate::alone;
use crate::figures::long;
use crate::support::{InDirectory, Replaced, Setup};

#[tokio::test]
async fn every_request_is_judged_on_one_version() {
    let _alone = alone().await;
    let sizes: &[usize] = if long() { &[1, 10_000, 100_000] } else { &[1, 10_000] };
    for size in sizes {
        let table = Replaced::new(*size, if long() { 20 } else { 4 });
        let setup = Setup::new().file("users/users.yaml", &table.document(0)).file("keys/keys.jwks", &table.ring(0));
        let kept = InDirectory(setup.path(""));
        LocalSet::new().run_until(table.under_traffic("", setup, &kept)).await;
    }
}
