//! Rights that are withdrawn from files under traffic.

use tokio::task::LocalSet;

use crate::alone;
use crate::support::{InDirectory, Jwk, Setup, withdrawn};

const ROUNDS: usize = 20;

#[tokio::test]
async fn what_is_withdrawn_is_refused_from_the_next_request_on() {
    let _alone = alone().await;
    let keys = [Jwk::fresh("HS512", "stays"), Jwk::fresh("HS512", "revoked")];
    let setup = Setup::new().keys(&keys);
    let kept = InDirectory(setup.path(""));
    LocalSet::new().run_until(withdrawn(setup, keys, &kept, ROUNDS)).await;
}
