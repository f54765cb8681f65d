//! Rotation under traffic: clients who log in at one process and call all, and what must be true of each rotation.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::figures::figure;
use super::{Client, Connection, Jwk, Vestibule, decode, get, password_of, post};

/// The longest life of a token, in seconds.
const MAX_TTL: u64 = 300;
/// What a client leaves of a token's life: the clocks differ by 60 s, and are exact to some seconds.
const UNUSED: f64 = 90.0;
/// Tokens that a client keeps.
const KEPT: usize = 20;

/// How keys follow each other, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Spans {
    pub(crate) propagation: u64,
    pub(crate) rotate_every: u64,
}

impl Spans {
    /// As fast as may be.
    pub(crate) const fn of(propagation: u64) -> Self {
        Self { propagation, rotate_every: 2 * propagation + 1 }
    }

    /// The part of a configuration that says so.
    pub(crate) fn config(self) -> String {
        let Self { propagation, rotate_every } = self;
        format!(
            "{{keys: {{rotateEvery: {rotate_every}s, propagation: {propagation}s}}, tokens: {{ttl: 2m, maxTtl: {MAX_TTL}s}}}}"
        )
    }

    /// A ring whose rotation is due, with another key that should have been dropped.
    pub(crate) fn due(self, now: u64) -> Vec<Jwk> {
        let over = json!({"nbf": now - 9000, "iat": now - 9000, "exp": now - self.propagation - 60});
        let due = json!({"nbf": now - 1000, "iat": now - 1000});
        vec![Jwk::fresh("HS512", "over").with(&over), Jwk::fresh("HS512", "due").with(&due)]
    }
}

/// What clients have seen.
#[derive(Default)]
pub(crate) struct Called {
    /// Key and end of each token.
    tokens: Vec<(String, u64)>,
    requests: usize,
    with_old_key: usize,
    /// Why, by which process, how often.
    pub(crate) refused: BTreeMap<(usize, String), usize>,
}

impl Called {
    /// There was traffic, with keys that followed each other, and nothing of it was refused.
    pub(crate) fn nothing_was_refused(&self, name: &str) {
        figure(&format!("{name}: logins"), self.tokens.len());
        figure(&format!("{name}: requests with a valid token"), self.requests);
        figure(&format!("{name}: of these with a key that no longer signed"), self.with_old_key);
        figure(&format!("{name}: refused"), self.refused.values().sum::<usize>());
        assert!(self.refused.is_empty(), "{:?}", self.refused);
        assert!(self.requests > 100 && self.with_old_key > 0, "there was traffic");
    }

    /// Nothing was refused, and each of these versions of the ring, from the first one on, is one rotation and no more.
    pub(crate) fn judge(&self, name: &str, versions: &[Vec<Jwk>], spans: Spans) {
        self.nothing_was_refused(name);
        each_is_one_write(versions, spans);
        no_token_outlives_its_key(versions, self);
    }
}

/// A time of a key.
pub(crate) fn time(key: &Jwk, member: &str) -> Option<u64> {
    key.0[member].as_u64()
}

/// How many rotations several processes have attempted with this result.
pub(crate) async fn rotations_of(all: &[Vestibule], result: &str) -> f64 {
    let mut sum = 0.0;
    for vestibule in all {
        sum += vestibule.metrics().await.value(&format!("vestibule_key_rotations_total{{result=\"{result}\"}}"));
    }
    sum
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
        assert_eq!(time(retired, "exp"), Some(published + propagation + MAX_TTL + 2 * propagation));
        let over = |key: &Jwk| time(key, "exp").is_some_and(|exp| exp + propagation <= published);
        assert!(!after.iter().any(over), "what is over is dropped");
        dropped += before.iter().filter(|key| over(key)).count();
    }
    figure("keys that were dropped after their end", dropped);
    assert!(dropped > 0);
}

fn no_token_outlives_its_key(versions: &[Vec<Jwk>], seen: &Called) {
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

/// Logs in at one after another, calls all with the new token, and one of them with an older one, as long as `goes_on`
/// says so. `now`: seconds since the epoch.
pub(crate) async fn log_in_and_call(
    number: usize,
    clients: Vec<Client>,
    now: impl Fn() -> f64,
    goes_on: impl Fn() -> bool,
    seen: Rc<RefCell<Called>>,
) {
    let mut connections: Vec<Option<Connection>> = clients.iter().map(|_| None).collect();
    let mut kept: Vec<(String, String, u64)> = Vec::new();
    for turn in number.. {
        if !goes_on() {
            return;
        }
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
        kept.retain(|(_, _, exp)| *exp as f64 > now() + UNUSED);
        if kept.len() == KEPT {
            kept.remove(turn % KEPT);
        }
        kept.push((token.clone(), kid.clone(), exp));
        let older = kept[turn * 7 % kept.len()].clone();
        let calls = (0..clients.len()).map(|at| (at, &token, &kid, exp));
        for (at, token, of, exp) in calls.chain([((turn + 1) % clients.len(), &older.0, &older.1, older.2)]) {
            let answer = connected(&mut connections, &clients, at).await.send(get("/").bearer(token)).await;
            if exp as f64 <= now() + UNUSED / 2.0 {
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
