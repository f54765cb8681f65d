//! What the policies cost: printed, for who installs them on a whole cluster.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::chart::Policies;
use super::pods::{accounts, cases, plain};
use crate::cluster::namespace;
use crate::support::{Call, Connection};

const ROUNDS: usize = 200;

#[tokio::test]
async fn what_admission_takes() {
    let Some(ns) = namespace().await else { return };
    let bare = ns.another().await;
    let cases = cases();
    let asked = &cases.iter().find(|case| case.name == "settings").expect("the one with most annotations").pod;
    let mut other = asked.clone();
    other["metadata"]["annotations"] = json!({});
    for ns in [&ns, &bare] {
        accounts(ns, [asked, &plain(&json!({}))]).await;
    }
    let Some(policies) = Policies::install(&ns, &json!({})).await else { return };
    let admin = ns.admin();
    let mut connection = admin.connect().await;
    let mut kinds = [(&bare, &other, Vec::new()), (&ns, &other, Vec::new()), (&ns, asked, Vec::new())];
    // In turns, so that whatever else the machine does counts for all.
    for _ in 0..ROUNDS {
        for (ns, pod, times) in &mut kinds {
            times.push(create(&mut connection, admin.call("POST", &ns.path("pods?dryRun=All"), Some(pod))).await);
        }
    }
    let [without, with, injected] = kinds.map(|(_, _, mut times)| {
        times.sort_unstable();
        (times[ROUNDS / 2].as_secs_f64() * 1000.0, times[ROUNDS * 95 / 100].as_secs_f64() * 1000.0)
    });
    println!("a pod by dry-run, ms (median, p95), {ROUNDS} of each in turns:");
    println!("  no policies                  {:.2} {:.2}", without.0, without.1);
    println!("  with policies, not annotated {:.2} {:.2}", with.0, with.1);
    println!("  with policies, annotated     {:.2} {:.2}", injected.0, injected.1);
    policies.uninstall().await;
}

async fn create(connection: &mut Connection, call: Call) -> Duration {
    let begin = Instant::now();
    let answer = connection.send(call).await;
    let took = begin.elapsed();
    assert_eq!(answer.status, 201, "{}", answer.text());
    took
}
