//! More names than the throttle remembers: a wait that stands is kept, and memory is bounded.

use super::*;
use crate::figures::long;

const ENTRIES: usize = 1000;

/// Sends logins that fail under different names from different sources, so many at a time.
async fn spray(vestibule: &Vestibule, names: std::ops::Range<usize>) -> (usize, usize) {
    const LANES: usize = 64;
    let connection = vestibule.client().http2().connect().await;
    let lanes = (0..LANES).map(|lane| {
        let (mut stream, names) = (connection.another(), names.clone());
        tokio::spawn(async move {
            let (mut denied, mut refused) = (0, 0);
            for number in names.skip(lane).step_by(LANES) {
                let source = format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
                let answer = stream.send(login_from(&source, &format!("name {number}"), "wrong")).await;
                match answer.status {
                    401 => denied += 1,
                    429 => refused += 1,
                    other => panic!("{other}: {answer:?}"),
                }
            }
            (denied, refused)
        })
    });
    let mut sums = (0, 0);
    for lane in lanes.collect::<Vec<_>>() {
        let (denied, refused) = lane.await.expect("no panic");
        sums = (sums.0 + denied, sums.1 + refused);
    }
    sums
}

#[tokio::test]
async fn spraying_names_frees_nobody_who_waits_and_fills_no_memory() {
    let _alone = alone().await;
    // The first waits lapse at once, so that there is always room for newcomers; the victim's does not.
    let throttle = format!("throttle: {{first: 20ms, factor: 1000, max: 1h, forgetAfter: 2h, entries: {ENTRIES}}}");
    let vestibule = Setup::new().config(&throttle).config(PROXIED).start().await;
    let connection = vestibule.client().http2().connect().await;
    let attempt = async |password| connection.another().send(login_from("192.0.2.1", "admin", password)).await;
    // The second is a failure or, while waiting still, refused: 20 s either way; the third makes it the longest.
    assert_eq!(attempt("wrong").await.status, 401);
    assert!([401, 429].contains(&attempt("wrong").await.status));
    assert_eq!(retry_after(&attempt("wrong").await), 3600);

    let (denied, refused) = spray(&vestibule, 0..3 * ENTRIES).await;
    let entries = vestibule.metrics().await.value("vestibule_throttled_entries");
    figure(
        "names sprayed at a throttle of 1,000 entries",
        format!("{}: {denied} checked, {refused} refused, {entries} remembered", 3 * ENTRIES),
    );
    let wait = retry_after(&attempt("admin-password").await);
    assert!((3000..=3600).contains(&wait), "the victim's wait stands: {wait}");
    assert!((2.0..=ENTRIES as f64).contains(&entries), "{entries}");
    assert!(denied > ENTRIES, "newcomers found room: {denied}");
}

#[tokio::test]
async fn where_no_wait_has_lapsed_newcomers_share_one_and_those_that_are_known_do_not() {
    let _alone = alone().await;
    let vestibule = Setup::new().config(LONG).config(PROXIED).config("throttle: {entries: 50}").start().await;
    let (denied, refused) = spray(&vestibule, 0..500).await;
    figure("checked of 500 names sprayed at a throttle of 50 entries whose waits stand", denied);
    assert_eq!((denied, refused), (51, 449), "50 of their own and the one that is shared");
    assert_eq!(vestibule.metrics().await.value("vestibule_throttled_entries"), 50.0);
    let connection = vestibule.client().http2().connect().await;
    let known = connection.another().send(login_from("10.0.0.0", "name 0", "wrong")).await;
    assert_eq!(retry_after(&known), 200, "its own wait, not the one that is shared");
}

#[tokio::test]
async fn a_full_throttle_takes_little_memory() {
    let _alone = alone().await;
    let entries: usize = if long() { 100_000 } else { 6_000 };
    let throttle = "throttle: {first: 1h, factor: 1, max: 1h, forgetAfter: 2h, entries: 100000}";
    let vestibule =
        Setup::new().config(throttle).config(PROXIED).config("authorize: {hashing: {queue: 1024}}").start().await;
    // What connections and logins take is taken before.
    spray(&vestibule, 1_000_000..1_001_000).await;
    let before = (vestibule.metrics().await.value("vestibule_throttled_entries"), vestibule.resident());
    let (denied, _) = spray(&vestibule, 0..entries - 1000).await;
    let after = (vestibule.metrics().await.value("vestibule_throttled_entries"), vestibule.resident());
    assert_eq!((before.0, denied), (1000.0, entries - 1000));
    assert_eq!(after.0, entries as f64);
    let grown = after.1.saturating_sub(before.1);
    figure(
        &format!("resident growth from 1,000 to {entries} throttled names"),
        format!("{} KiB, {} bytes each", grown / 1024, grown / (entries as u64 - 1000)),
    );
    // 16 MB for 100,000 is what the structure may take; pages and the queue come on top.
    assert!(grown < 24 << 20, "{grown}");
}
