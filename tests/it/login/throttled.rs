//! What wrong passwords cost: waits that double, for one account from one source.

use std::time::Duration;

use serde_json::json;

use super::{DENSIFY, REDIS, assert_answer, login_call};
use crate::support::*;

/// Long enough that no wait runs out during a test, however busy the machine is.
const LONG: &str = "throttle: {first: 100s, factor: 2, max: 1h, forgetAfter: 2h}";

fn retry_after(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 429, "{answer:?}");
    answer.header("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds")
}

#[tokio::test]
async fn a_wait_doubles_with_every_attempt_and_both_dialects_share_it() {
    let vestibule = Setup::new().config(LONG).start().await;
    let client = vestibule.client();
    assert_eq!(client.login("admin", "wrong").await.status, 401);
    let second = client.send(login_call(DENSIFY, "admin", "admin-password")).await;
    let message = second.json()["message"].clone();
    assert!(message.as_str().is_some_and(|text| !text.is_empty()));
    assert_answer(&second, 429, &json!({"message": message, "status": 429}));
    assert_eq!(retry_after(&second), 200, "the right password is not looked at, and the attempt doubles the wait");
    let third = client.send(login_call(REDIS, "admin", "admin-password")).await;
    assert_answer(&third, 429, &json!({"error_code": "too_many_attempts", "message": message}));
    assert_eq!(retry_after(&third), 400);
    assert_eq!(retry_after(&client.send(post(REDIS).basic("admin", "admin-password")).await), 800);
    assert_eq!(retry_after(&client.http2().login("admin", "x").await), 1600);
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"densify\",outcome=\"throttled\"}"), 2.0);
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"redis\",outcome=\"throttled\"}"), 2.0);
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"login\",code=\"429\"}"), 4.0);
    assert_eq!(metrics.value("vestibule_throttled_entries"), 1.0);
    let audit = vestibule.event("login", |login| login["outcome"] == "throttled").await;
    assert_eq!((&audit["user"], &audit["source"]), (&json!("admin"), &json!("127.0.0.1")));
}

#[tokio::test]
async fn a_wait_never_ends_later_than_max_from_the_last_password_that_was_checked() {
    let config = "throttle: {first: 100s, factor: 2, max: 250s, forgetAfter: 2h}";
    let vestibule = Setup::new().config(config).start().await;
    let client = vestibule.client();
    assert_eq!(client.login("admin", "wrong").await.status, 401);
    assert_eq!(retry_after(&client.login("admin", "wrong").await), 200);
    let bounded: Vec<_> =
        [retry_after(&client.login("admin", "x").await), retry_after(&client.login("admin", "x").await)].into();
    assert!(bounded.iter().all(|wait| (150..=250).contains(wait)) && bounded[1] <= bounded[0], "{bounded:?}");
}

#[tokio::test]
async fn unknown_and_disabled_names_are_throttled_like_known_ones() {
    let vestibule = Setup::new().config(LONG).start().await;
    let client = vestibule.client();
    let mut refusals = Vec::new();
    for (user, password) in [("admin", "wrong"), ("nobody", "wrong"), ("off", "off-password"), ("no\0body", "wrong")] {
        assert_eq!(client.login(user, password).await.status, 401, "{user:?}");
        let refused = client.login(user, password).await;
        refusals.push((retry_after(&refused), refused.body.clone()));
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
}

#[tokio::test]
async fn other_accounts_and_other_sources_are_not_held_up() {
    let vestibule = Setup::new().config(LONG).start().await;
    let client = vestibule.client();
    assert_eq!(client.login("admin", "wrong").await.status, 401);
    assert_eq!(client.login("two", "two-new").await.status, 200, "another account");
    assert_eq!(client.from("127.0.0.2").login("admin", "admin-password").await.status, 200, "another source");
    assert_eq!(client.login("Admin", "wrong").await.status, 401, "another spelling is another account");
    assert_eq!(client.login("admin", "admin-password").await.status, 429, "the same still waits");
}

#[tokio::test]
async fn a_source_is_the_peer_unless_a_trusted_proxy_says_otherwise() {
    let attempt = |client: &str, password: &str| {
        login_call(DENSIFY, "admin", password)
            .header("x-forwarded-for", client)
            .header("forwarded", format!("for={client}"))
    };
    let vestibule = Setup::new().config(LONG).start().await;
    assert_eq!(vestibule.client().send(attempt("192.0.2.1", "wrong")).await.status, 401);
    let spoofed = vestibule.client().send(attempt("192.0.2.2", "admin-password")).await;
    assert_eq!(spoofed.status, 429, "a header makes nobody another source");

    let vestibule = Setup::new().config(LONG).config("trustedProxies: [127.0.0.1/32]").start().await;
    let client = vestibule.client();
    assert_eq!(client.send(attempt("192.0.2.1", "wrong")).await.status, 401);
    assert_eq!(client.send(attempt("192.0.2.2", "admin-password")).await.status, 200);
    assert_eq!(client.send(attempt("192.0.2.1", "admin-password")).await.status, 429);
    assert_eq!(client.send(attempt("192.0.2.2, 192.0.2.1", "x")).await.status, 429, "the rightmost counts");
    assert_eq!(client.send(attempt("2001:db8::1", "wrong")).await.status, 401);
    assert_eq!(client.send(attempt("2001:db8::2", "x")).await.status, 429, "an IPv6 /64 is one source");
    assert_eq!(client.send(attempt("2001:db8:0:1::1", "admin-password")).await.status, 200);
}

#[tokio::test]
async fn a_wait_ends_and_a_success_resets_it() {
    let config = "throttle: {first: 200ms, factor: 500, max: 1h, forgetAfter: 2h}";
    let vestibule = Setup::new().config(config).start().await;
    let client = vestibule.client();
    for _ in 0..2 {
        assert_eq!(client.login("admin", "wrong").await.status, 401);
        // The wait itself; asking meanwhile would prolong it.
        tokio::time::sleep(Duration::from_millis(250)).await;
        // Without the reset the second wait would be 100 s.
        assert_eq!(client.login("admin", "admin-password").await.status, 200);
    }
    assert_eq!(vestibule.metrics().await.value("vestibule_throttled_entries"), 0.0);
}

#[tokio::test]
async fn the_right_but_expired_password_is_no_failure() {
    let vestibule = Setup::new().config(LONG).start().await;
    for _ in 0..3 {
        assert_eq!(vestibule.client().login("expired", "expired-password").await.status, 401);
    }
    assert_eq!(vestibule.metrics().await.sum("vestibule_throttled_entries"), 0.0);
}

#[tokio::test]
async fn a_parallel_burst_of_guesses_gets_one_guess() {
    let vestibule = Setup::new().config(LONG).start().await;
    let guesses = (0..20).map(|number| {
        let client = vestibule.client();
        tokio::spawn(async move { client.login("admin", &format!("guess {number}")).await.status })
    });
    let mut statuses = Vec::new();
    for guess in guesses.collect::<Vec<_>>() {
        statuses.push(guess.await.expect("no panic"));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![401], vec![429; 19]].concat());
}

#[tokio::test]
async fn a_parallel_burst_of_right_passwords_gets_in() {
    let vestibule = Setup::new().config(LONG).start().await;
    let logins = (0..20).map(|_| {
        let client = vestibule.client();
        tokio::spawn(async move { client.login("admin", "admin-password").await })
    });
    let mut names = std::collections::HashSet::new();
    for login in logins.collect::<Vec<_>>() {
        let answer = login.await.expect("no panic");
        assert_eq!(answer.status, 200);
        let (_, claims) = decode(answer.json()["apiToken"].as_str().expect("a token"));
        names.insert(claims["jti"].to_string());
    }
    assert_eq!(names.len(), 20, "one hash may be shared, a token is everyone's own");
}

#[tokio::test]
async fn an_attempt_that_its_client_abandons_counts_as_failed() {
    let users = json!({"users": {"slow": {"passwords": [{"hash": slow_argon2("right")}]}}});
    let vestibule = Setup::new().users(&users).config(LONG).start().await;
    let mut wire = vestibule.client().wire().await;
    let body = json!({"userName": "slow", "pwd": "right"}).to_string();
    wire.send(format!("POST /authorize HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    let entries = async || vestibule.metrics().await.value("vestibule_throttled_entries");
    eventually("the attempt at the desk", async || (entries().await == 1.0).then_some(())).await;
    drop(wire);
    // The password was right: had the check gone on and counted, this one would have its turn and be 401.
    let next = vestibule.client().login("slow", "wrong").await;
    assert!([100, 200].contains(&retry_after(&next)), "before or after its leaving was noticed: {next:?}");
    assert_eq!(vestibule.client().from("127.0.0.2").login("slow", "right").await.status, 200, "another source");
}
