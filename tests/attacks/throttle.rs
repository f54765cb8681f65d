//! Attempts at one account, all at once: how many passwords a burst, a crowd and a client that leaves get checked.

mod queue;
mod sources;
mod spray;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::alone;
use super::figures::figure;
use crate::support::*;

/// Long enough that no wait runs out during a test, however busy the machine is.
const LONG: &str = "throttle: {first: 100s, factor: 2, max: 24h, forgetAfter: 48h}";
/// Clients that a proxy on this machine names are believed.
const PROXIED: &str = "trustedProxies: [127.0.0.0/8]";

const BURST: usize = 1000;

/// A Densify login.
fn login(user: &str, password: &str) -> Call {
    post("/authorize").json(&json!({"userName": user, "pwd": password}))
}

/// The same, from a client that a proxy names.
fn login_from(source: &str, user: &str, password: &str) -> Call {
    login(user, password).header("x-forwarded-for", source)
}

fn retry_after(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 429, "{answer:?}");
    answer.header("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds")
}

/// `slow`, whose two passwords, `right` and `new`, take about a tenth of a second to check, as every failing login does.
fn slow_users() -> Value {
    users_with_cost(60 * 1024)
}

fn users_with_cost(memory_kib: u32) -> Value {
    let password = |password: &str| json!({"hash": argon2_with(password, memory_kib, 1)});
    let mut users = default_users();
    users["users"]["slow"] = json!({"groups": ["Administrator"], "passwords": [password("right"), password("new")]});
    users
}

/// Counts checks by the processor time of the hashing thread.
struct Checks<'a> {
    vestibule: &'a Vestibule,
    before: Duration,
}

impl<'a> Checks<'a> {
    fn since_now(vestibule: &'a Vestibule) -> Self {
        Self { vestibule, before: vestibule.cpu_of_threads("hashing") }
    }

    fn cpu(&self) -> Duration {
        self.vestibule.cpu_of_threads("hashing") - self.before
    }
}

/// What one login that fails costs the hashing thread, the mean of three.
async fn one_check(vestibule: &Vestibule) -> Duration {
    let checks = Checks::since_now(vestibule);
    for number in 0..3 {
        assert_eq!(vestibule.client().login(&format!("measured {number}"), "x").await.status, 401);
    }
    let one = checks.cpu() / 3;
    assert!(one >= Duration::from_millis(40), "too little to be counted by: {one:?}");
    one
}

/// Sends all at once on one HTTP/2 connection, as streams in this order.
fn streams(connection: &Connection, calls: impl IntoIterator<Item = Call>) -> Vec<JoinHandle<Answer>> {
    let send = |call| {
        let mut stream = connection.another();
        tokio::spawn(async move { stream.send(call).await })
    };
    calls.into_iter().map(send).collect()
}

async fn answers(sent: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for one in sent {
        answers.push(one.await.expect("no panic"));
    }
    answers
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Waits until an attempt is at the desk, where nothing but it is remembered.
async fn at_the_desk(vestibule: &Vestibule, entries: f64) {
    eventually("an attempt at the desk", async || {
        (vestibule.metrics().await.value("vestibule_throttled_entries") == entries).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_thousand_parallel_guesses_get_one_password_checked() {
    let _alone = alone().await;
    let vestibule = Setup::new().users(&slow_users()).config(LONG).start().await;
    let one = one_check(&vestibule).await;
    let before = vestibule.metrics().await;

    let checks = Checks::since_now(&vestibule);
    let connection = vestibule.client().http2().connect().await;
    // The right one is among them, and gains nothing by it.
    let guess = |number| if number == BURST / 2 { "right".to_owned() } else { format!("guess {number}") };
    let answered = answers(streams(&connection, (0..BURST).map(|number| login("slow", &guess(number))))).await;
    let by_cpu = checks.cpu().as_secs_f64() / one.as_secs_f64();
    figure(
        "passwords checked of 1,000 guessed at once, HTTP/2",
        format!("{} ({by_cpu:.1} by processor time)", count(&answered, 401)),
    );
    assert_eq!((count(&answered, 401), count(&answered, 429)), (1, BURST - 1));
    assert!(by_cpu < 1.6, "{by_cpu}");
    let after = vestibule.metrics().await;
    for (outcome, attempts) in [("granted", 0.0), ("denied", 1.0), ("throttled", BURST as f64 - 1.0)] {
        let series = format!("vestibule_authorize_total{{dialect=\"densify\",outcome=\"{outcome}\"}}");
        assert_eq!(after.value(&series) - before.value(&series), attempts, "{outcome}");
    }

    let mut connections = Vec::new();
    for _ in 0..BURST {
        connections.push(vestibule.client().from("127.0.0.2").connect().await);
    }
    let checks = Checks::since_now(&vestibule);
    let sent = connections.into_iter().enumerate().map(|(number, mut connection)| {
        let call = login("slow", &guess(number));
        tokio::spawn(async move { connection.send(call).await })
    });
    let answered = answers(sent.collect()).await;
    let by_cpu = checks.cpu().as_secs_f64() / one.as_secs_f64();
    figure(
        "passwords checked of 1,000 guessed at once, HTTP/1.1",
        format!("{} ({by_cpu:.1} by processor time)", count(&answered, 401)),
    );
    assert_eq!((count(&answered, 401), count(&answered, 429)), (1, BURST - 1));
    assert!(by_cpu < 1.6, "{by_cpu}");
}

#[tokio::test]
async fn two_hundred_of_the_same_share_one_hash_and_one_answer() {
    let _alone = alone().await;
    let vestibule = Setup::new().users(&slow_users()).config(LONG).start().await;
    let one = one_check(&vestibule).await;
    for (source, password, status) in [("127.0.0.2", "right", 200), ("127.0.0.3", "wrong", 401)] {
        let client = vestibule.client().from(source).http2();
        // A connection has 128 streams at most.
        let connections = [client.connect().await, client.connect().await];
        let checks = Checks::since_now(&vestibule);
        let all = |connection| streams(connection, (0..100).map(|_| login("slow", password)));
        let answered = answers(connections.iter().flat_map(all).collect()).await;
        let by_cpu = checks.cpu().as_secs_f64() / one.as_secs_f64();
        figure(
            &format!("hashes for 200 times the same {password} password at once"),
            format!("{by_cpu:.1} by processor time"),
        );
        if status == 401 {
            // Those that come after the decision are refused.
            assert!(count(&answered, 401) >= 190, "{answered:?}");
            assert!(by_cpu < 1.6, "{by_cpu}");
        } else {
            assert_eq!(count(&answered, status), 200);
            // Right passwords that come after the decision are checked anew, and share again.
            assert!(by_cpu < 2.6, "{by_cpu}");
        }
    }
    // One failure, however many shared it: the wait is the first, doubled once by this attempt.
    let late = vestibule.client().from("127.0.0.4").http2().connect().await;
    let answered = answers(streams(&late, (0..20).map(|_| login("nobody", "wrong")))).await;
    assert_eq!(count(&answered, 401), 20);
    assert_eq!(retry_after(&late.another().send(login("nobody", "wrong")).await), 200);
}

#[tokio::test]
async fn twenty_right_passwords_behind_one_address_get_in_and_wrong_ones_among_them_get_one_guess() {
    let _alone = alone().await;
    let vestibule = Setup::new().users(&slow_users()).config(LONG).start().await;
    // Who is first at the desk is told by the desk; the others come while that one is being checked.
    for (number, first, expected) in [(0_u8, "right", (21, 1, 19)), (1, "wrong", (0, 1, 40)), (2, "new", (21, 1, 19))] {
        let connection = vestibule.client().from(&format!("127.0.0.{}", 10 + number)).http2().connect().await;
        let before = vestibule.metrics().await.value("vestibule_throttled_entries");
        // Another source's check keeps the hashing thread busy meanwhile.
        let plug = tokio::spawn({
            let client = vestibule.client().from("127.0.0.9");
            async move { client.login(&format!("plug {number}"), "x").await }
        });
        at_the_desk(&vestibule, before + 1.0).await;
        let mut sent = streams(&connection, [login("slow", first)]);
        at_the_desk(&vestibule, before + 2.0).await;
        let pairs = (0..20).flat_map(|number| ["right".to_owned(), format!("wrong {number}")]);
        sent.extend(streams(&connection, pairs.map(|password| login("slow", &password))));
        let answered = answers(sent).await;
        let found = (count(&answered, 200), count(&answered, 401), count(&answered, 429));
        figure(
            &format!("20 right and 20 wrong passwords at once behind `{first}`"),
            format!("{} let in, {} denied, {} refused", found.0, found.1, found.2),
        );
        assert_eq!(found, expected, "behind {first}");
        plug.await.expect("no panic");
    }
    // Twenty clients, each with a connection of its own, in whichever order they come.
    let clients = (0..20).map(|_| {
        let client = vestibule.client().from("127.0.0.20");
        tokio::spawn(async move { client.login("slow", "right").await })
    });
    assert_eq!(count(&answers(clients.collect()).await, 200), 20);
}

#[tokio::test]
async fn leaving_before_the_decision_is_a_failure_and_takes_nobody_else_along() {
    let _alone = alone().await;
    let vestibule = Setup::new().users(&slow_users()).config(LONG).start().await;
    let client = vestibule.client().http2();

    // Streams that are reset at once: each would be a guess for nothing.
    let connection = client.connect().await;
    let guesses = streams(&connection, (0..100).map(|number| login("slow", &format!("guess {number}"))));
    at_the_desk(&vestibule, 1.0).await;
    let checks = Checks::since_now(&vestibule);
    for guess in &guesses {
        guess.abort();
    }
    let last = connection.another().send(login("slow", "right")).await;
    figure("Retry-After behind 100 guesses whose streams were reset", format!("{} s", retry_after(&last)));
    // Whether some had been refused already or came while waiting is a matter of time; there is no way past the wait.
    assert!(retry_after(&last) >= 100);
    eventually("quiet hashing", async || {
        let cpu = checks.cpu();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (checks.cpu() == cpu).then_some(())
    })
    .await;
    let one = one_check(&vestibule).await;
    let by_cpu = checks.cpu().as_secs_f64() / one.as_secs_f64() - 3.0;
    assert!(by_cpu < 1.6, "{by_cpu}");

    // The one that began the check leaves, by closing its connection; those that share it stay. Another source's check
    // keeps the hashing thread busy until all are there.
    let source = client.from("127.0.0.2");
    let entries = vestibule.metrics().await.value("vestibule_throttled_entries");
    let plug = client.from("127.0.0.3").connect().await;
    let plugging = streams(&plug, (0..3).map(|number| login(&format!("plug {number}"), "x")));
    at_the_desk(&vestibule, entries + 3.0).await;
    let leader = source.connect().await;
    let leading = streams(&leader, [login("slow", "right")]);
    at_the_desk(&vestibule, entries + 4.0).await;
    let stay = source.connect().await;
    let staying = streams(&stay, (0..20).map(|_| login("slow", "right")));
    // Answered after those before it on the connection have been read.
    assert_eq!(count(&answers(streams(&stay, [post("/authorize").body("{")])).await, 400), 1);
    leading[0].abort();
    drop((leader, leading));
    assert_eq!(count(&answers(staying).await, 200), 20);
    assert_eq!(source.login("slow", "right").await.status, 200, "and nothing is held against them");
    assert_eq!(count(&answers(plugging).await, 401), 3);
}
