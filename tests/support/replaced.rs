//! Users, keys and rules replaced again and again under traffic, broken versions in between.

use std::fmt::Write as _;

use http::Response;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::figures::figure;
use super::{App, Connection, Jwk, Kept, Listening, Setup, Traffic, argon2, claims, full, get, spread};

const CLIENTS: usize = 8;

/// A table whose versions follow each other while requests run.
pub(crate) struct Replaced {
    pub(crate) size: usize,
    pub(crate) rounds: usize,
    /// Of all users; without one they have none.
    hash: Option<String>,
    key: Jwk,
}

impl Replaced {
    /// So many users, so often.
    pub(crate) fn new(size: usize, rounds: usize) -> Self {
        Self { size, rounds, hash: Some(argon2("password")), key: Jwk::fresh("HS512", "stays") }
    }

    /// As many users as there is room for.
    pub(crate) fn of_bytes(bytes: usize, rounds: usize) -> Self {
        let mut all = Self::new(bytes / 200, rounds);
        // Later versions have more digits.
        let fits = |all: &Self| all.document(1_000).len() <= bytes;
        assert!(fits(&all), "a user takes 200 bytes at most");
        while fits(&all) {
            all.size += 50;
        }
        all.size -= 50;
        all
    }

    /// Users who have no passwords, and take little room.
    pub(crate) fn without_passwords(self) -> Self {
        Self { hash: None, ..self }
    }

    /// The users, all of them in two groups that name the version.
    pub(crate) fn document(&self, version: usize) -> String {
        let mut text = String::with_capacity(self.size * 160);
        text.push_str("users:\n");
        for number in 0..self.size {
            writeln!(text, "  u{number}:\n    groups: [v{version}a, v{version}b]").expect("memory");
            if let Some(hash) = &self.hash {
                writeln!(text, "    passwords: [{{hash: \"{hash}\"}}]").expect("memory");
            }
        }
        text
    }

    /// The ring's document: the key of all tokens, and from the first version on another one.
    pub(crate) fn ring(&self, version: usize) -> String {
        let more = (version > 0).then(|| Jwk::fresh("ES256", &format!("v{version}")));
        Jwk::ring(&[self.key.clone()].into_iter().chain(more).collect::<Vec<_>>())
    }

    /// Starts the process, whose store holds version 0, and replaces all each second. Within a `LocalSet`. `place` is for the
    /// figures.
    pub(crate) async fn under_traffic(&self, place: &str, setup: Setup, kept: &impl Kept) {
        let Self { size, rounds, key, .. } = self;
        let (size, rounds) = (*size, *rounds);
        let app = versioned_app().await;
        let setup = setup.upstream(&app);
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
        let mut after_first = 0;
        for version in 1..=rounds {
            let next_second = Instant::now() + Duration::from_secs(1);
            let text = self.document(version);
            let broken = format!("{}\n  - ", &text[..text.len() - 20]);
            vestibule.reloaded("users", "error", kept.write_users(&broken)).await;
            times.push(vestibule.reloaded("users", "ok", kept.write_users(&text)).await);

            let mut config = configured.clone();
            config["access"] = rules(version);
            let config = config.to_string();
            let half = &config[..config.len() / 2];
            vestibule.reloaded("config", "error", async { vestibule.replace("vestibule.yaml", half) }).await;
            vestibule.reloaded("config", "ok", async { vestibule.replace("vestibule.yaml", &config) }).await;

            let ring = self.ring(version);
            vestibule.reloaded("keys", "error", kept.write_keys(&ring[..ring.len() / 2])).await;
            vestibule.reloaded("keys", "ok", kept.write_keys(&ring)).await;

            // What is in force from now on is the whole of the new version, for every worker.
            for _ in 0..4 {
                let answer = vestibule.client().send(get("/").bearer(&token)).await;
                assert_eq!(answer.text(), format!("{version} {version}"));
            }
            if version == 1 {
                after_first = vestibule.resident();
            }
            tokio::time::sleep_until(next_second).await;
        }
        for what in ["users", "config", "keys"] {
            assert_eq!(vestibule.reloads(what, "ok").await, rounds as f64, "{what}");
            assert_eq!(vestibule.reloads(what, "error").await, rounds as f64, "{what}");
        }
        let (served, longest) = traffic.stop().await;
        let (after, peak) = (vestibule.resident(), vestibule.resident_peak());
        let table = format!("a table of {size} users{place}");
        figure(&format!("{table}: from the change until in force"), spread(&mut times));
        figure(
            &format!("{table}: resident memory before, after {rounds} reloads, at the most"),
            format!("{}, {}, {}", megabytes(before), megabytes(after), megabytes(peak)),
        );
        figure(
            &format!("{table}: requests meanwhile, none failed"),
            format!("{served}, the longest {} ms", longest.as_millis()),
        );
        // Two tables at a time and the text of one, not one for each version.
        assert!(after < 2 * after_first.max(before) + (32 << 20), "{after_first} bytes, and then {after}");
    }
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

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}
