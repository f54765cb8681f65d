//! HTTP/1.1 connections that rest, on a clock that stands still while anything is to be done.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::*;
use crate::shutdown::Shutdown;

/// Longer than it takes until a silent connection rests.
const A_WHILE: Duration = Duration::from_secs(3);

/// Answers at once, having read the body, or not where the path says so.
struct Plain;

struct PlainPeer(Activity, #[expect(dead_code, reason = "held until the end")] Held);

impl Service for Plain {
    type Peer = PlainPeer;
    type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>;

    fn connected(self: Rc<Self>, _: SocketAddr, activity: Activity, held: Held) -> PlainPeer {
        PlainPeer(activity, held)
    }

    fn head_refused(_: &PlainPeer) -> Box<dyn HeadRefused> {
        struct Bare;
        impl HeadRefused for Bare {
            fn refused(&self, status: u16) -> Bytes {
                Bytes::from(format!("HTTP/1.1 {status} refused\r\n\r\n"))
            }
        }
        Box::new(Bare)
    }

    async fn serve(peer: Rc<PlainPeer>, request: Request<Incoming>) -> Result<Response<Self::Body>, Infallible> {
        let mut serving = peer.0.serve(request.body().size_hint().exact());
        let said = request.uri().path().to_owned();
        if said != "/unread" {
            let body = request.into_body().collect().await.map(|body| body.to_bytes());
            serving.read(body.map_or(0, |body| body.len() as u64));
        }
        serving.answered();
        Ok(Response::new(Full::new(Bytes::from(said)).map_err(|never| match never {}).boxed_unsync()))
    }
}

/// One connection, and the client's end of it.
struct Open {
    client: DuplexStream,
    roster: Rc<Roster>,
    peer: Rc<PlainPeer>,
    serving: tokio::task::JoinHandle<()>,
}

fn open() -> Open {
    let second = Duration::from_secs(1);
    let limits = ConnectionLimits {
        header_bytes: 8192,
        header_timeout: 10 * second,
        idle_timeout: 60 * second,
        handshake_timeout: 10 * second,
    };
    let (client, stream) = tokio::io::duplex(1 << 16);
    let (activity, roster) = (Activity::new(), Roster::new());
    let held = Held {
        _permit: Arc::new(Semaphore::new(1)).try_acquire_owned().expect("one is there"),
        _counted: Arc::new(Metrics::new()).connection(),
        _drain: Shutdown::new().guard(),
    };
    let peer = Rc::new(PlainPeer(activity.clone(), held));
    let driven = Driven { limits: limits.clone(), place: roster.join(activity.clone()), activity };
    let looking = Rc::clone(&roster);
    tokio::task::spawn_local(async move { looking.look_after(&limits).await });
    let stream = Box::new(BufReader::new(stream));
    let serving = tokio::task::spawn_local(serve_http1::<Plain, _>(stream, Rc::clone(&peer), driven));
    Open { client, roster, peer, serving }
}

impl Open {
    async fn says(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.expect("it is open");
    }

    /// What comes until nothing more does.
    async fn hears(&mut self) -> String {
        let (mut heard, mut piece) = (Vec::new(), [0; 1024]);
        while let Ok(Ok(read @ 1..)) =
            tokio::time::timeout(Duration::from_millis(100), self.client.read(&mut piece)).await
        {
            heard.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(heard).expect("text")
    }

    async fn hears_of(&mut self, path: &str) {
        let heard = self.hears().await;
        assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with(&format!("\r\n\r\n{path}")), "{path}: {heard:?}");
    }

    /// Here, where the connection is served, and for the HTTP library, which is there or not.
    fn rests(&self) -> bool {
        Rc::strong_count(&self.peer) == 2
    }
}

fn on_a_clock(test: impl Future<Output = ()>) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(LocalOptions::default()).expect("a runtime");
    runtime.block_on(test);
}

#[test]
fn a_silent_connection_rests_and_goes_on() {
    on_a_clock(async {
        let mut open = open();
        sleep(Duration::from_millis(300)).await;
        assert!(!open.rests(), "it has just come");
        sleep(A_WHILE).await;
        assert!(open.rests(), "nothing has come yet");
        for number in 0..3 {
            open.says(&format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            open.hears_of(&format!("/{number}")).await;
            assert!(!open.rests(), "it has just spoken");
            sleep(A_WHILE).await;
            assert!(open.rests());
            open.says(&format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")).await;
            open.hears_of(&format!("/{number}")).await;
            sleep(A_WHILE).await;
            assert!(open.rests());
        }
        open.says("GET / HTTP/1.1\r\nho").await;
        sleep(A_WHILE).await;
        assert!(!open.rests(), "a head has begun");
        open.says("st: a\r\nconnection: close\r\n\r\n").await;
        open.hears_of("/").await;
        drop(open.client);
        open.serving.await.expect("its end");
    });
}

#[test]
fn nothing_that_was_said_is_lost_by_a_rest() {
    on_a_clock(async {
        // A second head has begun in the read that held the first's end; the third, in the one that held a body's.
        let cases = [
            ("GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HT", "TP/1.1\r\nhost: a\r\n\r\n", "/b"),
            ("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nxyGET /c HT", "TP/1.1\r\nhost: a\r\n\r\n", "/c"),
            (
                "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\nGET /d HT",
                "TP/1.1\r\nhost: a\r\n\r\n",
                "/d",
            ),
        ];
        for (first, rest, path) in cases {
            let mut open = open();
            open.says(first).await;
            open.hears_of("/a").await;
            sleep(A_WHILE).await;
            assert!(!open.rests(), "{path}");
            open.says(rest).await;
            open.hears_of(path).await;
        }
        // Of a body that nobody has read, the rest is no head.
        let mut open = open();
        open.says("POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\n").await;
        open.hears_of("/unread").await;
        sleep(A_WHILE).await;
        if open.client.write_all(b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").await.is_ok() {
            assert!(!open.hears().await.contains("smuggled"));
        }
    });
}

#[test]
fn a_connection_at_rest_is_told_to_end() {
    on_a_clock(async {
        let mut drained = open();
        sleep(A_WHILE).await;
        assert!(drained.rests());
        drained.roster.drain();
        assert_eq!(drained.client.read(&mut [0; 8]).await.expect("a clean end"), 0);
        drop(drained.client);
        drained.serving.await.expect("its end");

        let cut = open();
        sleep(A_WHILE).await;
        cut.roster.cut();
        drop(cut.client);
        cut.serving.await.expect("its end");

        let idle = open();
        sleep(A_WHILE).await;
        assert!(idle.rests());
        tokio::time::timeout(Duration::from_secs(61), idle.serving).await.expect("idle for too long").expect("its end");

        let mut left = open();
        sleep(A_WHILE).await;
        left.client.shutdown().await.expect("it is open");
        left.serving.await.expect("its end");
    });
}
