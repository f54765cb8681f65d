//! A flood of logins beside proxied traffic: what it does to latency and to memory, and what keeps it from doing more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
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
const GUESSERS: u32 = 24;
const RUNS: usize = 5;
/// How much nicer hashing is.
const HASHING: i32 = 10;

/// Guesses, or requests without a token, each as soon as the one before it is answered, over connections that stay open:
/// handshakes are no guesses. Attackers have machines of their own; on this one their thread has little priority.
struct Flood {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    what: AtomicU8,
    /// Requests of a second, at most.
    pace: AtomicU64,
    sent: AtomicU64,
    ended: AtomicBool,
}

const NOTHING: u8 = 0;
const GUESSES: u8 = 1;
/// To compare with: as many that need no hash, beside a program of no concern to us that computes all the time.
const OTHERS: u8 = 2;

impl Flood {
    fn new(client: &Client) -> Self {
        let shared = Arc::<Shared>::default();
        let thread = thread::spawn({
            let (client, shared) = (client.http2(), Arc::clone(&shared));
            move || {
                rustix::process::nice(19).expect("less priority is nobody's to deny");
                let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    for number in 0..CONNECTIONS {
                        let connection = client.connect().await;
                        for guesser in 0..GUESSERS {
                            let (mut stream, shared) = (connection.another(), Arc::clone(&shared));
                            tokio::spawn(async move {
                                guess(&mut stream, number * GUESSERS + guesser, &shared).await;
                            });
                        }
                    }
                    while !shared.ended.load(Ordering::Relaxed) {
                        sleep(Duration::from_millis(20)).await;
                    }
                });
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Begins, at `pace` requests of a second at most.
    fn begin(&self, what: u8, pace: u64) {
        self.shared.sent.store(0, Ordering::Relaxed);
        self.shared.pace.store(pace, Ordering::Relaxed);
        self.shared.what.store(what, Ordering::Relaxed);
        if what == OTHERS {
            let shared = Arc::clone(&self.shared);
            thread::spawn(move || {
                rustix::process::nice(HASHING).expect("less priority is nobody's to deny");
                while shared.what.load(Ordering::Relaxed) == OTHERS {
                    std::hint::spin_loop();
                }
            });
        }
    }

    /// Ends it, and says how many have been sent.
    fn end(&self) -> u64 {
        self.shared.what.store(NOTHING, Ordering::Relaxed);
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end();
        self.shared.ended.store(true, Ordering::Relaxed);
        // What went wrong in it has been printed, and shows in what was measured.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Each guess is another name from another source.
async fn guess(stream: &mut Connection, guesser: u32, shared: &Shared) {
    let mut began = Instant::now();
    for number in 0_u32.. {
        while shared.what.load(Ordering::Relaxed) == NOTHING {
            sleep(Duration::from_millis(10)).await;
            began = Instant::now();
        }
        while shared.sent.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
            > shared.pace.load(Ordering::Relaxed) as f64
        {
            sleep(Duration::from_millis(1)).await;
        }
        let call = if shared.what.load(Ordering::Relaxed) == OTHERS {
            get("/")
        } else {
            let [_, b, c, d] = (guesser << 16 | number & 0xFFFF).to_be_bytes();
            let body = json!({"userName": format!("name {number}"), "pwd": "wrong"});
            post("/authorize").json(&body).header("x-forwarded-for", format!("10.{b}.{c}.{d}"))
        };
        if stream.try_send(call).await.is_err() {
            return;
        }
        shared.sent.fetch_add(1, Ordering::Relaxed);
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

struct Setting {
    vestibule: Vestibule,
    token: String,
    clients: Vec<Connection>,
    flood: Flood,
    length: Duration,
    _app: App,
}

/// What `RUNS` quiet and flooded measurements, taken in turns, have come to.
struct Measured {
    quiet: Vec<Vec<f64>>,
    flooded: Vec<Vec<f64>>,
    /// Requests of the flood, in a second.
    guesses: f64,
    checked: f64,
}

impl Setting {
    async fn start() -> Self {
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
        Self { vestibule, token, clients, flood, length, _app: app }
    }

    async fn measure(&mut self) -> Vec<f64> {
        measure(&mut self.clients, &self.token, self.length).await
    }

    /// `pace`: requests of a second, at most.
    async fn compare(&mut self, what: u8, pace: u64) -> Measured {
        let denied = "vestibule_authorize_total{dialect=\"densify\",outcome=\"denied\"}";
        let mut measured = Measured { quiet: Vec::new(), flooded: Vec::new(), guesses: 0.0, checked: 0.0 };
        for _ in 0..RUNS {
            measured.quiet.push(self.measure().await);
            let checked = self.vestibule.metrics().await.value(denied);
            let began = Instant::now();
            self.flood.begin(what, pace);
            sleep(Duration::from_millis(200)).await;
            measured.flooded.push(self.measure().await);
            let sent = self.flood.end();
            let seconds = began.elapsed().as_secs_f64() * RUNS as f64;
            measured.guesses += sent as f64 / seconds;
            measured.checked += (self.vestibule.metrics().await.value(denied) - checked) / seconds;
            // Those that are queued are checked before it is quiet again.
            eventually("an empty queue", async || {
                let cpu = self.vestibule.cpu_of_threads("hashing");
                sleep(Duration::from_millis(150)).await;
                (self.vestibule.cpu_of_threads("hashing") - cpu < Duration::from_millis(30)).then_some(())
            })
            .await;
        }
        measured
    }
}

impl Measured {
    /// The 99th percentile beside the flood over that without, of each run, and the median of them.
    fn ratio(&self) -> (f64, Vec<f64>) {
        let runs = self.flooded.iter().zip(&self.quiet);
        let ratios: Vec<_> = runs.map(|(busy, calm)| quantile(busy, 0.99) / quantile(calm, 0.99)).collect();
        (quantile(&ratios, 0.5), ratios)
    }

    /// Medians of the runs, quiet and flooded, in milliseconds.
    fn median_of(&self, share: f64) -> (f64, f64) {
        let median =
            |runs: &[Vec<f64>]| quantile(&runs.iter().map(|run| quantile(run, share)).collect::<Vec<_>>(), 0.5);
        (median(&self.quiet), median(&self.flooded))
    }

    fn p99(&self) -> (f64, f64) {
        self.median_of(0.99)
    }

    fn tell(&self, how: &str) {
        for (share, name) in [(0.5, "median"), (0.99, "p99")] {
            let (calm, busy) = self.median_of(share);
            let what = format!("proxied requests, {name}, quiet and beside a flood of logins{how}");
            figure(&what, format!("{calm:.2} ms, {busy:.2} ms"));
        }
        let (ratio, ratios) = self.ratio();
        let what = format!("p99 beside a flood over p99 without, the median of five runs{how}");
        figure(&what, format!("{ratio:.2} (of {ratios:.2?})"));
        let rates = format!("{:.0}/s, {:.0}/s of them checked", self.guesses, self.checked);
        figure(&format!("guesses of the flood{how}"), rates);
    }
}

#[tokio::test]
async fn a_flood_of_logins_does_not_move_proxied_traffic() {
    let _alone = alone().await;
    let mut setting = Setting::start().await;
    setting.measure().await;
    let quiet_memory = setting.vestibule.resident();

    let measured = setting.compare(GUESSES, u64::MAX).await;
    measured.tell("");
    let grown = setting.vestibule.resident_peak().saturating_sub(quiet_memory);
    figure("resident memory more at the flood's height, one hashing thread", format!("{} MiB", grown >> 20));
    assert!(measured.guesses > 2.0 * measured.checked && measured.checked > 0.0, "no flood");
    assert!(grown <= 64 << 20, "{grown} bytes");
    if long() {
        let others = setting.compare(OTHERS, measured.guesses as u64).await;
        others.tell(", but of requests without a token, beside a program that computes at the hashing's priority");
    }
    if long() && setting.vestibule.renice_hashing() {
        setting.compare(GUESSES, u64::MAX).await.tell(", hashing at the priority of other threads");
    }
    // The system's scheduler gives whatever computes a slice of some milliseconds, however nice it is: where all processors
    // are taken, the hundredth request waits for its end (sched(7)).
    let (calm, busy) = measured.p99();
    assert!(busy <= 3.0 * calm + 10.0, "{busy} ms, {calm} ms where it is quiet");
}

#[tokio::test]
async fn hashing_is_nicer_than_every_other_thread() {
    let _alone = alone().await;
    let vestibule = Setup::new().config("authorize: {hashing: {threads: 3}}").start().await;
    let threads = vestibule.niceness();
    assert_eq!(threads.iter().filter(|(name, _)| name.starts_with("hashing")).count(), 3, "{threads:?}");
    // Those who run the tests may be nice themselves.
    let nice = rustix::process::nice(0).expect("nothing is changed");
    for (name, found) in &threads {
        let more = if name.starts_with("hashing") { HASHING } else { 0 };
        assert_eq!(*found, nice + more, "{threads:?}");
    }
}

/// A thread keeps what it works in from one hash to the next, and no longer.
#[tokio::test]
async fn what_hashing_takes_goes_back_when_there_is_nothing_to_hash() {
    let _alone = alone().await;
    let users = json!({"users": {"usual": {"passwords": [{"hash": argon2_with("usual", 65_536, 1)}]}}});
    let vestibule = Setup::new().users(&users).start().await;
    let before = vestibule.resident();
    for _ in 0..3 {
        let login = post("/authorize").json(&json!({"userName": "usual", "pwd": "usual"}));
        assert_eq!(vestibule.client().send(login).await.status, 200);
    }
    assert!(vestibule.resident_peak() > before + (60 << 20), "a hash takes 64 MiB");
    let after = eventually("the memory back", async || {
        sleep(Duration::from_millis(50)).await;
        Some(vestibule.resident()).filter(|after| *after < before + (4 << 20))
    });
    let after = after.await;
    let told = format!("{:.1} MiB, {:.1} MiB", before as f64 / 1048576.0, after as f64 / 1048576.0);
    figure("resident memory before the first login, and some seconds after logins of 64 MiB each", told);
}
