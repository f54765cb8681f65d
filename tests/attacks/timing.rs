//! Whether the time that a failing login takes tells anything of the user: distributions compared, classes interleaved.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::json;

use super::alone;
use super::figures::{figure, long};
use super::statistics::{Comparison, quantile};
use crate::support::*;

/// Some milliseconds each, so that every kind is a good part of the whole.
const ARGON2_KIB: u32 = 2 * 1024;
const DEARER_KIB: u32 = 5 * 1024;
const BCRYPT_COST: u32 = 6;

/// Rounds of samples that the normal run takes at most: chance goes with more of them, a difference stays.
const ROUNDS: usize = 3;

/// A name, the password that it is tried with, and what it stands for. The first is what the others are compared with.
const CLASSES: [(&str, &str, &str); 8] = [
    ("one", "wrong", "wrong password"),
    ("nobody", "wrong", "unknown name"),
    ("off", "right", "disabled, right password"),
    ("three", "wrong", "three passwords"),
    ("dearer", "wrong", "dearer argon2id"),
    ("bcrypt", "wrong", "bcrypt"),
    ("long", "wrong", "64 bytes of salt and hash"),
    ("unusable", "wrong", "unusable hash"),
];

fn users() -> serde_json::Value {
    let argon2 = |password: &str, memory_kib| json!({"hash": argon2_with(password, memory_kib, 1)});
    let [salt, output] = [[1; 64], [2; 64]].map(|bytes| STANDARD_NO_PAD.encode(bytes));
    let long = format!("$argon2id$v=19$m={ARGON2_KIB},t=1,p=1${salt}${output}");
    json!({"users": {
        "one": {"passwords": [argon2("right", ARGON2_KIB)]},
        "off": {"disabled": true, "passwords": [argon2("right", ARGON2_KIB)]},
        "three": {"passwords": [argon2("a", ARGON2_KIB), argon2("b", ARGON2_KIB), argon2("c", ARGON2_KIB)]},
        "dearer": {"passwords": [argon2("right", DEARER_KIB)]},
        "bcrypt": {"passwords": [{"hash": bcrypt_with("right", BCRYPT_COST)}]},
        "long": {"passwords": [{"hash": long}]},
        "unusable": {"passwords": [{"hash": "$apr1$lZL6V/ci$eIMz/iKDkbtys"}]},
    }})
}

/// Milliseconds by class, one after another on one connection, each from a source of its own.
struct Samples {
    connection: Connection,
    taken: u32,
    random: u64,
    by_class: [Vec<f64>; CLASSES.len()],
}

impl Samples {
    async fn take(&mut self, count: usize) {
        for _ in 0..count {
            let mut order: Vec<_> = (0..CLASSES.len()).collect();
            for last in (1..order.len()).rev() {
                // xorshift64
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                order.swap(last, (self.random % (last as u64 + 1)) as usize);
            }
            for class in order {
                let milliseconds = self.login(class).await;
                self.by_class[class].push(milliseconds);
            }
        }
    }

    async fn login(&mut self, class: usize) -> f64 {
        let (user, password, what) = CLASSES[class];
        let [_, b, c, d] = self.taken.to_be_bytes();
        self.taken += 1;
        let call = post("/authorize").json(&json!({"userName": user, "pwd": password}));
        let call = call.header("x-forwarded-for", format!("10.{b}.{c}.{d}"));
        let began = Instant::now();
        let answer = self.connection.send(call).await;
        let milliseconds = began.elapsed().as_secs_f64() * 1000.0;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        milliseconds
    }

    /// Each class but the first against the first.
    fn compared(&self) -> Vec<(&'static str, Comparison)> {
        let compare = |class: usize| (CLASSES[class].2, Comparison::of(&self.by_class[class], &self.by_class[0]));
        (1..CLASSES.len()).map(compare).collect()
    }

    fn table(&self) {
        println!(
            "{:<26} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7} {:>6}",
            "", "p25 ms", "median", "p75 ms", "AUC", "effect", "p", "KS"
        );
        for ((_, _, what), sample) in CLASSES.iter().zip(&self.by_class) {
            let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile(sample, share));
            let with = Comparison::of(sample, &self.by_class[0]);
            let (auc, effect, p, ks) = (with.auc, with.rank_biserial(), with.p, with.ks);
            println!("{what:<26} {low:>9.3} {median:>9.3} {high:>9.3} {auc:>7.3} {effect:>+7.3} {p:>7.3} {ks:>6.3}");
            figure(
                &format!("time of a failing login, {what}"),
                format!(
                    "median {median:.3} ms; against a wrong password AUC {auc:.3}, p {p:.3}, {} samples",
                    sample.len()
                ),
            );
        }
    }
}

#[tokio::test]
async fn the_time_of_a_failing_login_tells_nothing_of_the_user() {
    let _alone = alone().await;
    let vestibule = Setup::new().users(&users()).config("trustedProxies: [127.0.0.0/8]").start().await;
    let connection = vestibule.client().connect().await;
    let mut samples = Samples { connection, taken: 0, random: 0x9E37_79B9_7F4A_7C15, by_class: Default::default() };
    for class in 0..CLASSES.len() {
        // The first ones pay for what is made but once.
        samples.login(class).await;
    }
    // By chance alone AUC strays from 0.5 by 0.05 (standard deviation) with 60 samples, by 0.009 with 2,000.
    let (rounds, count, most, least) = if long() { (1, 2000, 0.03, 0.001) } else { (ROUNDS, 60, 0.2, 0.0) };
    let strays = |compared: &Comparison| (compared.auc - 0.5).abs() > most || compared.p < least;
    for _ in 0..rounds {
        samples.take(count).await;
        if !samples.compared().iter().any(|(_, compared)| strays(compared)) {
            break;
        }
    }
    samples.table();
    for (what, compared) in samples.compared() {
        assert!(!strays(&compared), "{what}: {compared:?}");
    }
}
