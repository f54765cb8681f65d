//! Rotation under traffic: three processes with clocks that differ, some with rings that arrive late, and clients who
//! log in at one and call all.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::clocks::{Fast, Kubelet};
use super::shared::{Versions, rotations_of, skipped, time, with_keys};
use crate::alone;
use crate::figures::{figure, long};
use crate::support::{App, Client, Connection, Jwk, Setup, Vestibule, decode, faketime, get, password_of, post};

/// In seconds of the fast time, as all spans here.
const MAX_TTL: u64 = 300;
/// What a client leaves of a token's life: the clocks differ by 60 s, and are exact to some seconds.
const UNUSED: f64 = 90.0;
const CLIENTS: usize = 3;
/// Tokens that a client keeps.
const KEPT: usize = 20;

/// How keys follow each other.
#[derive(Clone, Copy)]
struct Spans {
    propagation: u64,
    rotate_every: u64,
}

impl Spans {
    /// As fast as may be.
    const fn of(propagation: u64) -> Self {
        Self { propagation, rotate_every: 2 * propagation + 1 }
    }

    const fn margin(self) -> u64 {
        2 * self.propagation
    }
}

/// One process's clock error, and how late its copy of the ring is; `None`: it shares the writers' directory.
type Replica = (f64, Option<f64>);

#[tokio::test]
async fn no_valid_token_is_ever_refused() {
    let _alone = alone().await;
    // The newest key is used by the fastest clock `propagation` after the slowest writer published it, less what these
    // differ by; by then the last copy has come.
    let two_writers = [(0.0, None), (30.0, None), (-30.0, Some(if long() { 70.0 } else { 45.0 }))];
    let one_writer = [(0.0, None), (30.0, Some(45.0)), (-30.0, Some(70.0))];
    if long() {
        let two_minutes = Spans::of(120);
        traffic("two writers, one copy 70 s late", two_writers, two_minutes, 30.0, 20).await;
        traffic("one writer, copies 45 s and 70 s late", one_writer, two_minutes, 30.0, 5).await;
        // What is left beyond the sum is for the machine, 30 times as slow in this time.
        let late = [(0.0, None), (30.0, Some(90.0)), (-30.0, Some(90.0))];
        traffic("one writer, copies 90 s late, propagation 170 s", late, Spans::of(170), 30.0, 5).await;
        let late = [(0.0, None), (15.0, Some(90.0)), (-15.0, Some(90.0))];
        traffic("one writer, copies 90 s late, clocks half as wrong", late, Spans::of(140), 30.0, 5).await;
    } else {
        traffic("two writers, one copy 45 s late", two_writers, Spans::of(120), 60.0, 2).await;
    }
}

async fn traffic(name: &str, replicas: [Replica; 3], spans: Spans, rate: f64, rotations: usize) {
    let Spans { propagation, rotate_every } = spans;
    let Some(library) = faketime() else { return skipped("libfaketime (Debian's package `libfaketime`)") };
    let app = App::start().await;
    let fast = Fast::new(rate);
    let began = fast.now() as u64;
    // One key that should have been dropped, and one whose rotation is due.
    let over = Jwk::fresh("HS512", "over")
        .with(&json!({"nbf": began - 9000, "iat": began - 9000, "exp": began - propagation - 60}));
    let due = Jwk::fresh("HS512", "due").with(&json!({"nbf": began - 1000, "iat": began - 1000}));
    let shared = tempfile::tempdir().expect("a directory");
    let file = shared.path().join("keys.jwks");
    fs::write(&file, Jwk::ring(&[over, due])).expect("a file");
    let versions = Versions::follow(file.clone());

    let mut kubelets = Vec::new();
    let mut all = Vec::new();
    for (error, late) in replicas {
        let mut setup = Setup::new().upstream(&app).config(&format!(
            "{{keys: {{rotateEvery: {rotate_every}s, propagation: {propagation}s}}, tokens: {{ttl: 2m, maxTtl: {MAX_TTL}s}}}}"
        ));
        match late {
            Some(late) => kubelets.push(Kubelet::mount(file.clone(), setup.path("keys"), fast.span(late))),
            None => setup = with_keys(setup, shared.path()),
        }
        all.push(fast.of(setup, &library, error).start().await);
    }

    let seen = Rc::new(RefCell::new(Seen::default()));
    let local = LocalSet::new();
    for number in 0..CLIENTS {
        let clients: Vec<_> = all.iter().map(Vestibule::client).collect();
        local.spawn_local(client(number, clients, fast, Rc::clone(&seen)));
    }
    let deadline = Instant::now() + Duration::from_secs(60 * rotations as u64);
    local
        .run_until(async {
            // Timers run in real time: what one of them would find, they find when something beside the ring changes.
            for touched in 0_u64.. {
                fs::write(shared.path().join("touched"), touched.to_string()).expect("a file");
                sleep(Duration::from_millis(100)).await;
                let made = versions.so_far().len() - 1;
                let signs = time(&newest(&versions), "nbf") < Some(fast.now() as u64 - 60);
                if made >= rotations && signs {
                    break;
                }
                assert!(Instant::now() < deadline, "{made} rotations: {:?}", seen.borrow().refused);
            }
        })
        .await;
    let versions = versions.end();
    drop(local);
    let seen = seen.take();
    let made = versions.len() - 1;
    let clocks = replicas.map(|(error, _)| format!("{error:+}")).join("/");
    figure(&format!("{name}: rotations, clocks {clocks} s, x{rate}"), made);
    figure(&format!("{name}: logins"), seen.tokens.len());
    figure(&format!("{name}: requests with a valid token"), seen.requests);
    figure(&format!("{name}: of these with a key that no longer signed"), seen.with_old_key);
    figure(&format!("{name}: refused"), seen.refused.values().sum::<usize>());
    assert!(seen.refused.is_empty(), "{:?}", seen.refused);
    assert!(seen.requests > 100 && seen.with_old_key > 0, "there was traffic");

    assert_eq!(rotations_of(&all, "ok").await, made as f64, "every write is one rotation");
    figure(&format!("{name}: rotations that another process was faster with"), rotations_of(&all, "conflict").await);
    assert_eq!(rotations_of(&all, "error").await, 0.0);
    each_is_one_write(&versions, spans);
    no_token_outlives_its_key(&versions, &seen);
}

fn newest(versions: &Versions) -> Jwk {
    let ring = versions.so_far().pop().expect("a ring");
    ring.into_iter().max_by_key(|key| time(key, "nbf")).expect("a key")
}

/// Each version has one key more, published in time and when due; gives its predecessor the end that it needs, and has
/// none that has been over for long.
fn each_is_one_write(versions: &[Vec<Jwk>], spans: Spans) {
    let Spans { propagation, rotate_every } = spans;
    let kids = |ring: &[Jwk]| ring.iter().map(|key| key.kid().to_owned()).collect::<BTreeSet<_>>();
    let mut dropped = 0;
    for pair in versions.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let added: Vec<_> = after.iter().filter(|key| !kids(before).contains(key.kid())).collect();
        let [new] = added[..] else { panic!("not one new key: {:?} after {:?}", kids(after), kids(before)) };
        let published = time(new, "iat").expect("a time");
        assert_eq!(time(new, "nbf"), Some(published + propagation));
        let predecessor = before.iter().max_by_key(|key| time(key, "nbf")).expect("a key");
        let signed_since = time(predecessor, "nbf").expect("a time");
        assert!(
            published >= signed_since + rotate_every,
            "two rotations for one due time: {signed_since}, {published}"
        );
        let retired = after.iter().find(|key| key.kid() == predecessor.kid()).expect("the predecessor stays");
        assert_eq!(time(retired, "exp"), Some(published + propagation + MAX_TTL + spans.margin()));
        let over = |key: &Jwk| time(key, "exp").is_some_and(|exp| exp + propagation <= published);
        assert!(!after.iter().any(over), "what is over is dropped");
        dropped += before.iter().filter(|key| over(key)).count();
    }
    figure("keys that were dropped after their end", dropped);
    assert!(dropped > 0);
}

fn no_token_outlives_its_key(versions: &[Vec<Jwk>], seen: &Seen) {
    let mut ends = BTreeMap::new();
    for key in versions.iter().flatten() {
        ends.extend(time(key, "exp").map(|exp| (key.kid().to_owned(), exp)));
    }
    let latest = seen.tokens.iter().filter_map(|(kid, exp)| Some(ends.get(kid)?.saturating_sub(*exp)));
    let least = latest.min().expect("tokens of keys that are retired");
    figure("the least that a retired key outlives its last token by", format!("{least} s"));
    for (kid, exp) in &seen.tokens {
        assert!(ends.get(kid).is_none_or(|end| exp <= end), "a token of {kid} ends at {exp}, its key earlier");
    }
}

#[derive(Default)]
struct Seen {
    /// Key and end of each token.
    tokens: Vec<(String, u64)>,
    requests: usize,
    with_old_key: usize,
    /// Why, by which process, how often.
    refused: BTreeMap<(usize, String), usize>,
}

/// Logs in at one after another, calls all three with the new token, and one of them with an older one.
async fn client(number: usize, clients: Vec<Client>, fast: Fast, seen: Rc<RefCell<Seen>>) {
    let mut connections: Vec<Option<Connection>> = clients.iter().map(|_| None).collect();
    let mut kept: Vec<(String, String, u64)> = Vec::new();
    for turn in number.. {
        let ttl = if turn % 2 == 0 { MAX_TTL } else { 120 };
        let login = json!({"userName": "admin", "pwd": password_of("admin"), "ttl": ttl});
        let at = turn % clients.len();
        let answer = connected(&mut connections, &clients, at).await.send(post("/authorize").json(&login)).await;
        if answer.status != 200 {
            *seen.borrow_mut().refused.entry((at, format!("login {}", answer.text()))).or_default() += 1;
            sleep(Duration::from_millis(10)).await;
            continue;
        }
        let token = answer.json()["apiToken"].as_str().expect("a token").to_owned();
        let (header, claims) = decode(&token);
        let (kid, exp) = (header["kid"].as_str().expect("a kid").to_owned(), claims["exp"].as_u64().expect("a time"));
        seen.borrow_mut().tokens.push((kid.clone(), exp));
        kept.retain(|(_, _, exp)| *exp as f64 > fast.now() + UNUSED);
        if kept.len() == KEPT {
            kept.remove(turn % KEPT);
        }
        kept.push((token.clone(), kid.clone(), exp));
        let older = kept[turn * 7 % kept.len()].clone();
        let calls = (0..clients.len()).map(|at| (at, &token, &kid, exp));
        for (at, token, of, exp) in calls.chain([((turn + 1) % clients.len(), &older.0, &older.1, older.2)]) {
            let answer = connected(&mut connections, &clients, at).await.send(get("/").bearer(token)).await;
            if exp as f64 <= fast.now() + UNUSED / 2.0 {
                // It was used too late to say anything.
                continue;
            }
            let mut seen = seen.borrow_mut();
            seen.requests += 1;
            seen.with_old_key += usize::from(*of != kid);
            if answer.status != 200 {
                let why = format!("{} {:?}", answer.status, answer.header("www-authenticate"));
                *seen.refused.entry((at, why)).or_default() += 1;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn connected<'a>(connections: &'a mut [Option<Connection>], clients: &[Client], at: usize) -> &'a mut Connection {
    if connections[at].as_ref().is_none_or(Connection::is_closed) {
        connections[at] = Some(clients[at].connect().await);
    }
    connections[at].as_mut().expect("it was just made")
}
