//! Those who are not attacked: how long they wait, beside an attacked process and, at the same moments, beside a quiet one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::figures::{figure, long};
use crate::support::{App, Client, Connection, Setup, Vestibule, eventually, eventually_after, get};

/// Requests of a round, to each process.
const ROUND: usize = 150;
/// Connections to each process, so that every worker has some, in both protocols.
const CONNECTIONS: usize = 8;

/// Two processes of one configuration on one machine: what keeps the machine busy slows both, an attack one.
pub(crate) struct Processes {
    pub(crate) attacked: Arc<Vestibule>,
    pub(crate) token: String,
    before: Before,
    quiet: Vestibule,
    to_attacked: Vec<Connection>,
    to_quiet: Vec<Connection>,
    path: &'static str,
    rounds: Vec<(Duration, Duration)>,
}

/// Of the attacked process when nothing had happened yet.
struct Before {
    resident: u64,
    files: u64,
    cpu: Duration,
}

impl Processes {
    /// Two workers each; `path` answers at once.
    pub(crate) async fn start(app: &App, config: &str, path: &'static str) -> Self {
        let start = async || Setup::new().upstream(app).config("workers: 2").config(config).start().await;
        let (attacked, quiet) = (start().await, start().await);
        let token = attacked.token("admin").await;
        let mut this = Self {
            to_attacked: connect(&attacked).await,
            to_quiet: connect(&quiet).await,
            attacked: Arc::new(attacked),
            before: Before { resident: 0, files: 0, cpu: Duration::ZERO },
            quiet,
            token,
            path,
            rounds: Vec::new(),
        };
        // What the first requests need for good is not the attack's.
        this.round().await;
        this.rounds.clear();
        let (resident, files, cpu) = (this.attacked.resident(), this.attacked.open_files().await, this.attacked.cpu());
        this.before = Before { resident, files, cpu };
        this
    }

    /// Asks both processes in turn, and notes the 99th percentile of each.
    pub(crate) async fn round(&mut self) {
        let mut took = (Vec::new(), Vec::new());
        for number in 0..ROUND {
            let at = number % CONNECTIONS;
            took.0.push(ask(&mut self.to_quiet[at], &client(&self.quiet, at), self.path).await);
            took.1.push(ask(&mut self.to_attacked[at], &client(&self.attacked, at), self.path).await);
        }
        self.rounds.push((p99(took.0), p99(took.1)));
    }

    /// Rounds until it has ended, and a few at least.
    pub(crate) async fn rounds_until(&mut self, ended: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(300);
        while self.rounds.len() < least_rounds() || !ended() {
            self.round().await;
            assert!(Instant::now() < deadline, "the attack does not end");
        }
    }

    /// Tells what the others have seen. Where the machine is busy and the build not the released one, it asserts generously.
    pub(crate) fn tell(&mut self, what: &str) {
        let median = |mut all: Vec<Duration>| {
            all.sort_unstable();
            all[all.len() / 2]
        };
        let rounds = std::mem::take(&mut self.rounds);
        let quiet = median(rounds.iter().map(|round| round.0).collect());
        let attacked = median(rounds.iter().map(|round| round.1).collect());
        let ratio = attacked.as_secs_f64() / quiet.as_secs_f64();
        figure(
            &format!("{what}: the others' 99th percentile, beside a quiet process's at the same moments"),
            format!(
                "{:.2} ms, {:.2} ms, {ratio:.2} times (medians of {} rounds)",
                attacked.as_secs_f64() * 1e3,
                quiet.as_secs_f64() * 1e3,
                rounds.len()
            ),
        );
        let most = if long() { 2 * quiet } else { 4 * quiet + Duration::from_millis(40) };
        assert!(attacked < most, "{what}: {attacked:?}, {quiet:?} where it is quiet");
    }

    /// Bytes that the attacked process has taken since the start, at its worst.
    pub(crate) fn peak_growth(&self) -> u64 {
        self.attacked.resident_peak().saturating_sub(self.before.resident)
    }

    pub(crate) fn growth(&self) -> u64 {
        self.attacked.resident().saturating_sub(self.before.resident)
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.attacked.cpu() - self.before.cpu
    }

    /// How many the attackers have.
    pub(crate) async fn connections(&self) -> usize {
        (self.attacked.metrics().await.value("vestibule_connections") as usize).saturating_sub(CONNECTIONS)
    }

    /// Waits until nothing is left in the process, for which the attackers have this long: connections, requests,
    /// descriptors.
    pub(crate) async fn nothing_is_left(mut self, after: Duration) {
        self.to_attacked.clear();
        eventually_after(after, "nothing is left of the attack", async || {
            let metrics = self.attacked.metrics().await;
            let left = metrics.value("vestibule_requests_in_flight") + metrics.value("vestibule_connections");
            (left == 0.0).then_some(())
        })
        .await;
        // Connections to the application stay for the next requests.
        eventually("descriptors come back", async || {
            (self.attacked.open_files().await <= self.before.files + 64).then_some(())
        })
        .await;
        assert_eq!(self.quiet.events("panic").len() + self.attacked.events("panic").len(), 0);
    }
}

/// A percentile of few requests is a matter of chance.
pub(crate) fn least_rounds() -> usize {
    if long() { 9 } else { 3 }
}

async fn connect(vestibule: &Vestibule) -> Vec<Connection> {
    let mut all = Vec::new();
    for number in 0..CONNECTIONS {
        all.push(client(vestibule, number).connect().await);
    }
    all
}

/// In turn with HTTP/1.1 and HTTP/2.
fn client(vestibule: &Vestibule, number: usize) -> Client {
    let client = vestibule.client();
    if number.is_multiple_of(2) { client } else { client.http2() }
}

async fn ask(connection: &mut Connection, client: &Client, path: &str) -> Duration {
    // It may have idled for too long while the machine was busy.
    if connection.is_closed() {
        *connection = client.connect().await;
    }
    let began = Instant::now();
    let answer = match connection.try_send(get(path)).await {
        Ok(answer) => answer,
        Err(error) => {
            assert!(connection.is_closed(), "{error}");
            *connection = client.connect().await;
            connection.send(get(path)).await
        }
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    began.elapsed()
}

fn p99(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() * 99 / 100]
}
