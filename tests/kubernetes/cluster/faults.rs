//! A TCP proxy that breaks what goes through it: the network between a sidecar and the API server.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::eventually;

const PIECE: usize = 16 * 1024;
/// Pieces on their way in one direction.
const PIECES: usize = 256;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// Everything that goes through it ends when it is dropped. It begins without a fault.
pub(crate) struct Faults {
    /// Where clients connect to.
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
    counts: Arc<Counts>,
}

#[derive(Debug, Clone, Default)]
struct Mode {
    refused: bool,
    silent: Vec<Way>,
    delay: Duration,
    /// Bytes a second, each way of each connection.
    rate: Option<u32>,
    /// How often all connections have been cut.
    cuts: u64,
}

#[derive(Default)]
struct Counts {
    listening: AtomicBool,
    connections: AtomicUsize,
    /// Which of them are open, by when they came.
    open: Mutex<BTreeSet<usize>>,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Faults {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mode, seen) = watch::channel(Mode::default());
        let counts = Arc::new(Counts::default());
        tokio::spawn(accept(listener, server, seen, Arc::clone(&counts)));
        Self { address, mode, counts }
    }

    /// Nobody listens any more: new connections are refused. Open ones stay.
    pub(crate) async fn refuse(&self) {
        self.mode.send_modify(|mode| mode.refused = true);
        self.listening(false).await;
    }

    /// Ends all open connections with a reset.
    pub(crate) async fn cut(&self) {
        // Clients may be back before anybody looks.
        let last = self.connections();
        self.mode.send_modify(|mode| mode.cuts += 1);
        let are_cut = || self.counts.open().first().is_none_or(|first| *first > last);
        eventually("connections to be cut", async || are_cut().then_some(())).await;
    }

    /// The server is not reachable: new connections are refused, open ones are reset.
    pub(crate) async fn down(&self) {
        self.refuse().await;
        self.cut().await;
    }

    /// Nothing gets through this way any more, not even an end; connections stay and new ones are accepted. What comes
    /// meanwhile is kept, as TCP would send it again. The kernel still answers TCP keep-alive.
    pub(crate) fn silence(&self, ways: &[Way]) {
        self.mode.send_modify(|mode| mode.silent = ways.to_vec());
    }

    /// Everything takes so much longer, each way.
    pub(crate) fn delay(&self, delay: Duration) {
        self.mode.send_modify(|mode| mode.delay = delay);
    }

    /// No more bytes a second than this, each way of each connection.
    pub(crate) fn limit(&self, bytes_per_second: u32) {
        self.mode.send_modify(|mode| mode.rate = Some(bytes_per_second));
    }

    /// No fault from now on.
    pub(crate) async fn heal(&self) {
        self.mode.send_modify(|mode| *mode = Mode { cuts: mode.cuts, ..Mode::default() });
        self.listening(true).await;
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.counts.open().len()
    }

    /// How many bytes have been forwarded.
    pub(crate) fn bytes(&self, way: Way) -> u64 {
        self.counts.of(way).load(Ordering::Relaxed)
    }

    async fn listening(&self, wanted: bool) {
        let reached = async || (self.counts.listening.load(Ordering::Relaxed) == wanted).then_some(());
        eventually("connections to be refused, or accepted again", reached).await;
    }
}

impl Counts {
    fn open(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.open.lock().expect("nobody panics under this lock")
    }

    fn of(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, mut mode: watch::Receiver<Mode>, counts: Arc<Counts>) {
    let address = listener.local_addr().expect("an address");
    let mut listener = Some(listener);
    loop {
        let refused = mode.borrow_and_update().refused;
        if refused {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        counts.listening.store(listener.is_some(), Ordering::Relaxed);
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None if refused => std::future::pending().await,
                // The port is not free yet.
                None => {
                    sleep(Duration::from_millis(10)).await;
                    None
                }
            }
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            client = accepted => if let Some((client, _)) = client {
                let number = counts.connections.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::spawn(connection(number, client, server, mode.clone(), Arc::clone(&counts)));
            },
        }
    }
}

/// One connection until both sides have ended it, it is cut, or the proxy is dropped.
async fn connection(
    number: usize,
    mut client: TcpStream,
    server: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    counts: Arc<Counts>,
) {
    let _open = Open::new(&counts, number);
    let cuts = mode.borrow().cuts;
    let ended = async {
        let mut server = TcpStream::connect(server).await?;
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let there = forward(Way::ToServer, from_client, to_server, mode.clone(), &counts);
        let back = forward(Way::ToClient, from_server, to_client, mode.clone(), &counts);
        tokio::try_join!(there, back).map(drop)
    };
    let is_whole = tokio::select! {
        ended = ended => ended.is_ok(),
        _ = async { mode.clone().wait_for(|mode| mode.cuts != cuts).await.map(drop) } => false,
    };
    // An end that one side has not asked for must not look like one.
    if !is_whole && mode.has_changed().is_ok() {
        // A reset stays within the connection's silence, unless it is a cut.
        let cut = mode.borrow().cuts != cuts;
        if !cut {
            drop(mode.wait_for(|mode| !mode.silent.contains(&Way::ToClient) || mode.cuts != cuts).await);
        }
        drop(SockRef::from(&client).set_linger(Some(Duration::ZERO)));
    }
}

async fn forward(
    way: Way,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
    counts: &Counts,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let mut seen = mode.clone();
    let read = async move {
        let mut buffer = vec![0; PIECE];
        loop {
            let count = from.read(&mut buffer).await?;
            let due = Instant::now() + seen.borrow_and_update().delay;
            // An empty piece is the end.
            if sender.send((due, buffer[..count].to_vec())).await.is_err() || count == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            let rate = mode.borrow().rate;
            if let Some(rate) = rate {
                sleep(Duration::from_secs_f64(piece.len() as f64 / f64::from(rate))).await;
            }
            if mode.wait_for(|mode| !mode.silent.contains(&way)).await.is_err() {
                break;
            }
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
            counts.of(way).fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

/// Counts an open connection.
struct Open<'a>(&'a Counts, usize);

impl<'a> Open<'a> {
    fn new(counts: &'a Counts, number: usize) -> Self {
        counts.open().insert(number);
        Self(counts, number)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open().remove(&self.1);
    }
}
