//! A flood of logins beside proxied traffic: what it does to latency and to memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use tokio::runtime;
use tokio::time::{Instant, sleep, sleep_until};

use super::alone;
use super::figures::{figure, long};
use super::statistics::quantile;
use crate::support::*;

const CLIENTS: u32 = 32;
/// Requests in a second, of all clients together: little enough that they never wait for each other.
const RATE: u32 = 320;
const CONNECTIONS: u32 = 4;
/// On each connection at once: more than the hashing queue holds, all together.
const GUESSES: u32 = 24;
/// How long a guesser that was turned away waits: ten times as many guesses come as can be checked, and what they
/// themselves cost this machine stays small.
const PAUSE: Duration = Duration::from_millis(200);
const RUNS: usize = 5;

/// Guesses from a thread of its own, so low in priority that it takes no time from those who measure, but while
/// it is `on`.
struct Flood {
    on: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn new(client: &Client) -> Self {
        let (on, ended, sent) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = thread::spawn({
            let (client, on, ended, sent) = (client.http2(), Arc::clone(&on), Arc::clone(&ended), Arc::clone(&sent));
            move || {
                rustix::process::nice(19).expect("less priority is nobody's to deny");
                let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    for number in 0..CONNECTIONS {
                        let connection = client.connect().await;
                        for guesser in 0..GUESSES {
                            let mut stream = connection.another();
                            let (on, sent) = (Arc::clone(&on), Arc::clone(&sent));
                            tokio::spawn(
                                async move { guess(&mut stream, number * GUESSES + guesser, &on, &sent).await },
                            );
                        }
                    }
                    while !ended.load(Ordering::Relaxed) {
                        sleep(Duration::from_millis(20)).await;
                    }
                });
            }
        });
        Self { on, ended, sent, thread: Some(thread) }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // What went wrong in it has been printed, and shows in what was measured.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Each guess is another name from another source.
async fn guess(stream: &mut Connection, guesser: u32, on: &AtomicBool, sent: &AtomicU64) {
    for number in 0_u32.. {
        while !on.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(10)).await;
        }
        let [_, b, c, d] = (guesser << 16 | number & 0xFFFF).to_be_bytes();
        let body = json!({"userName": format!("name {number}"), "pwd": "wrong"});
        let call = post("/authorize").json(&body).header("x-forwarded-for", format!("10.{b}.{c}.{d}"));
        let Ok(answer) = stream.try_send(call).await else { return };
        sent.fetch_add(1, Ordering::Relaxed);
        if answer.status != 401 {
            sleep(PAUSE).await;
        }
    }
}

/// Milliseconds of each request of this long, sent at fixed times whatever becomes of those before.
async fn measure(clients: &mut Vec<Connection>, token: &str, length: Duration) -> Vec<f64> {
    let begin = Instant::now() + Duration::from_millis(10);
    let interval = Duration::from_secs(1) * CLIENTS / RATE;
    let running: Vec<_> = (0..)
        .zip(clients.drain(..))
        .map(|(place, mut client): (u32, Connection)| {
            let token = token.to_owned();
            tokio::spawn(async move {
                let (mut taken, mut due) = (Vec::new(), begin + interval * place / CLIENTS);
                while due < begin + length {
                    sleep_until(due).await;
                    let sent = Instant::now();
                    let answer = client.send(get("/").bearer(&token)).await;
                    taken.push(sent.elapsed().as_secs_f64() * 1000.0);
                    assert_eq!(answer.status, 200);
                    due += interval;
                }
                (client, taken)
            })
        })
        .collect();
    let mut all = Vec::new();
    for one in running {
        let (client, taken) = one.await.expect("no panic");
        clients.push(client);
        all.extend(taken);
    }
    all
}

#[tokio::test]
async fn a_flood_of_logins_does_not_move_proxied_traffic() {
    let _alone = alone().await;
    let app = App::start().await;
    let mut users = default_users();
    // What new passwords cost: 19 MiB, two passes.
    users["users"]["usual"] = json!({"passwords": [{"hash": argon2_with("usual", 19_456, 2)}]});
    let setup = Setup::new().upstream(&app).users(&users).config("trustedProxies: [127.0.0.0/8]");
    let vestibule = setup.config("log: {access: false}").start().await;
    let token = vestibule.token("admin").await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = vestibule.client().connect().await;
        assert_eq!(client.send(get("/").bearer(&token)).await.status, 200);
        clients.push(client);
    }
    let flood = Flood::new(&vestibule.client());
    let length = Duration::from_secs(if long() { 5 } else { 1 });
    measure(&mut clients, &token, length).await;
    let quiet_memory = vestibule.resident();

    let (mut quiet, mut flooded, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut guesses, mut checks) = (0, 0.0);
    let denied = "vestibule_authorize_total{dialect=\"densify\",outcome=\"denied\"}";
    for _ in 0..RUNS {
        let calm = measure(&mut clients, &token, length).await;
        let before = (flood.sent(), vestibule.metrics().await.value(denied));
        flood.on.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(200)).await;
        let busy = measure(&mut clients, &token, length).await;
        flood.on.store(false, Ordering::Relaxed);
        guesses += flood.sent() - before.0;
        checks += vestibule.metrics().await.value(denied) - before.1;
        // Those that are queued are checked before it is quiet again.
        eventually("an empty queue", async || {
            let cpu = vestibule.cpu_of_threads("hashing");
            sleep(Duration::from_millis(150)).await;
            (vestibule.cpu_of_threads("hashing") - cpu < Duration::from_millis(30)).then_some(())
        })
        .await;
        ratios.push(quantile(&busy, 0.99) / quantile(&calm, 0.99));
        quiet.push(calm);
        flooded.push(busy);
    }
    let median_of =
        |runs: &[Vec<f64>], share| quantile(&runs.iter().map(|run| quantile(run, share)).collect::<Vec<_>>(), 0.5);
    for (share, name) in [(0.5, "median"), (0.99, "p99")] {
        let (calm, busy) = (median_of(&quiet, share), median_of(&flooded, share));
        figure(
            &format!("proxied requests, {name}, quiet and beside a flood of logins"),
            format!("{calm:.2} ms, {busy:.2} ms"),
        );
    }
    let ratio = quantile(&ratios, 0.5);
    figure("p99 beside a flood over p99 without, the median of five runs", format!("{ratio:.2} (of {ratios:.2?})"));
    let seconds = f64::from(u32::try_from(RUNS).expect("few")) * length.as_secs_f64();
    figure(
        "guesses of the flood",
        format!("{:.0}/s, {:.0}/s of them checked", guesses as f64 / seconds, checks / seconds),
    );
    let grown = vestibule.resident_peak().saturating_sub(quiet_memory);
    figure("resident memory more at the flood's height, one hashing thread", format!("{} MiB", grown >> 20));
    assert!(guesses as f64 > 2.0 * checks && checks > 0.0, "no flood: {guesses} guesses, {checks} checked");
    assert!(grown <= 64 << 20, "{grown} bytes");
    assert!(ratio <= if long() { 1.5 } else { 3.0 }, "{ratio}");
}
