//! Users, keys and rules replaced again and again under traffic, broken versions in between.

use std::fmt::Write as _;

use http::Response;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::*;
use crate::alone;
use crate::figures::{figure, long};

const CLIENTS: usize = 8;

/// `size` users, all of them in two groups that name the version. One hash serves for all.
fn document(size: usize, version: usize, hash: &str) -> String {
    let mut text = String::with_capacity(size * 160);
    text.push_str("users:\n");
    for number in 0..size {
        let groups = format!("[v{version}a, v{version}b]");
        writeln!(text, "  u{number}:\n    groups: {groups}\n    passwords: [{{hash: \"{hash}\"}}]").expect("memory");
    }
    text
}

/// Answers with the versions of users and rules by which the request was let through; panics the client on a mix.
async fn versioned_app() -> App {
    App::handling(Listening::Http, |request| async move {
        let mut users = Vec::new();
        let mut rules = Vec::new();
        for (name, value) in request.headers() {
            let value = value.to_str().unwrap_or_default();
            if let Some(version) = name.as_str().strip_prefix("x-groups-") {
                rules.push(version.to_owned());
                users.extend(value.split(',').map(|group| group.trim_matches(['v', 'a', 'b']).to_owned()));
            } else if let Some(version) = name.as_str().strip_prefix("x-user-") {
                rules.push(version.to_owned());
            }
        }
        let same = |versions: &[String]| versions.len() == 2 && versions[0] == versions[1];
        if same(&users) && same(&rules) {
            Response::new(full(format!("{} {}", users[0], rules[0])))
        } else {
            Response::builder().status(500).body(full(format!("a mix: {users:?} {rules:?}"))).expect("a response")
        }
    })
    .await
}

fn rules(version: usize) -> Value {
    json!({
        "apiGroups": [],
        "identityHeaders": {"user": format!("X-User-{version}"), "groups": format!("X-Groups-{version}")},
    })
}

#[tokio::test]
async fn every_request_is_judged_on_one_version() {
    let _alone = alone().await;
    let sizes: &[usize] = if long() { &[1, 10_000, 100_000] } else { &[1, 10_000] };
    for size in sizes {
        LocalSet::new().run_until(replaced_again_and_again(*size)).await;
    }
}

async fn replaced_again_and_again(size: usize) {
    let app = versioned_app().await;
    let (key, hash) = (Jwk::fresh("HS512", "stays"), argon2("password"));
    let setup = Setup::new().upstream(&app).keys(std::slice::from_ref(&key));
    let setup = setup.file("users/users.yaml", &document(size, 0, &hash));
    let setup = setup.config(&format!("{{access: {}, workers: 3, log: {{access: false}}}}", rules(0)));
    let configured = setup.as_configured();
    let vestibule = setup.start().await;
    let before = vestibule.resident();
    let mut traffic = Traffic::default();
    for number in 0..2 * CLIENTS {
        let client = vestibule.client();
        let client = if number < CLIENTS { client } else { client.http2() };
        let token = key.token(&claims(&format!("u{}", number % size)));
        let start = (client.connect().await, [0, 0]);
        traffic.client(start, async move |(connection, last): &mut (Connection, [usize; 2])| {
            let answer = connection.send(get("/").bearer(&token)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let text = answer.text().to_owned();
            let mut versions = text.split(' ').map(|version| version.parse::<usize>().expect("a version"));
            let now = [versions.next().expect("users"), versions.next().expect("rules")];
            assert!(now[0] >= last[0] && now[1] >= last[1], "an older version: {last:?}, then {now:?}");
            *last = now;
        });
    }

    // One that the workers have seen before: nothing of an older version may stay with it.
    let token = key.token(&claims("u0"));
    let mut times = Vec::new();
    let rounds = if long() { 20 } else { 4 };
    let mut after_first = 0;
    for version in 1..=rounds {
        let next_second = Instant::now() + Duration::from_secs(1);
        let text = document(size, version, &hash);
        let broken = format!("{}\n  - ", &text[..text.len() - 30]);
        reloaded(&vestibule, "users", "error", || vestibule.replace("users/users.yaml", &broken)).await;
        let users = || vestibule.replace("users/users.yaml", &text);
        times.push(reloaded(&vestibule, "users", "ok", users).await);

        let mut config = configured.clone();
        config["access"] = rules(version);
        let config = config.to_string();
        let half = || vestibule.replace("vestibule.yaml", &config[..config.len() / 2]);
        reloaded(&vestibule, "config", "error", half).await;
        reloaded(&vestibule, "config", "ok", || vestibule.replace("vestibule.yaml", &config)).await;

        let ring = Jwk::ring(&[key.clone(), Jwk::fresh("ES256", &format!("v{version}"))]);
        reloaded(&vestibule, "keys", "error", || vestibule.replace("keys/keys.jwks", &ring[..ring.len() / 2])).await;
        reloaded(&vestibule, "keys", "ok", || vestibule.replace("keys/keys.jwks", &ring)).await;

        // What is in force from now on is the whole of the new version, for every worker.
        for _ in 0..4 {
            let answer = vestibule.client().send(get("/").bearer(&token)).await;
            assert_eq!(answer.text(), format!("{version} {version}"));
        }
        if version == 1 {
            after_first = vestibule.resident();
        }
        tokio::time::sleep_until(next_second.into()).await;
    }
    for what in ["users", "config", "keys"] {
        assert_eq!(count(&vestibule, what, "ok").await, rounds as f64, "{what}");
        assert_eq!(count(&vestibule, what, "error").await, rounds as f64, "{what}");
    }
    let (served, longest) = traffic.stop().await;
    let (after, peak) = (vestibule.resident(), vestibule.resident_peak());
    figure(&format!("a table of {size} users: from the change until in force"), spread(&mut times));
    figure(
        &format!("a table of {size} users: resident memory before, after {rounds} reloads, at the most"),
        format!("{}, {}, {}", megabytes(before), megabytes(after), megabytes(peak)),
    );
    figure(
        &format!("a table of {size} users: requests meanwhile, none failed"),
        format!("{served}, the longest {} ms", longest.as_millis()),
    );
    // Two tables at a time and the text of one, not one for each version.
    assert!(after < 2 * after_first.max(before) + (32 << 20), "{after_first} bytes, and then {after}");
}
