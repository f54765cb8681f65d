//! The only signer is revoked while logins, a download, an upload and a tunnel are under way at three processes.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::figures::figure;
use super::{
    App, Client, Kept, Listening, Setup, Vestibule, decode, eventually, full, get, now, password_of, post, time, within,
};

/// Between two reads of a store because of a key that is not known.
const REREADS: Duration = Duration::from_secs(2);

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// Starts three processes on one ring, which they make themselves, and revokes its only key again and again. Within a
/// `LocalSet`.
pub(crate) async fn revoked(setups: [Setup; 3], kept: &impl Kept, rounds: usize) {
    let (finish, finished) = watch::channel(false);
    let app = slow_app(finished).await;
    let mut served = Vec::new();
    for setup in setups {
        served.push(setup.upstream(&app).start().await);
    }
    let traffic = Traffic::start(&served, kept);
    for round in 0..rounds {
        if round > 0 {
            // A key that signs at once may be used before all have it: they read again, once in this time.
            sleep(REREADS).await;
        }
        finish.send_replace(false);
        revoke_under_traffic(&served, kept, &finish, round % 2 == 1).await;
    }
    let (logins, used, refused) = traffic.end().await;
    figure("logins at three processes during revocations, none refused", logins);
    figure("requests with tokens of keys that stand, none refused", used);
    figure("tokens of a revoked key that were got just before", refused);
}

async fn revoke_under_traffic(
    served: &[Vestibule],
    kept: &impl Kept,
    finish: &watch::Sender<bool>,
    with_successor: bool,
) {
    let [signer] = &kept.read_keys().await[..] else { panic!("one key") };
    let kid = signer.kid().to_owned();
    let token = served[0].token("admin").await;
    let successor = if with_successor {
        let rotated = kept.keys_command("rotate").await;
        assert_eq!(rotated.code, 0, "{rotated:?}");
        let successor = rotated.out.trim().to_owned();
        let ring = kept.read_keys().await;
        assert!(ring.iter().any(|key| key.kid() == successor && time(key, "nbf") > Some(now() + 60)));
        Some(successor)
    } else {
        None
    };

    let mut download = served[0].client().connect().await;
    let mut download = download.begin(get("/download").bearer(&token)).await.expect("its head");
    assert_eq!(download.status(), 200);
    let upload = tokio::spawn({
        let (client, call) = (served[1].client(), post("/upload").bearer(&token).stream(until(finish.subscribe())));
        async move { client.send(call).await }
    });
    let mut tunnel = served[2].client().wire().await;
    let ask = "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: own/1.0\r\n";
    tunnel.send(format!("{ask}Authorization: Bearer {token}\r\n\r\nfirst")).await;
    assert_eq!(tunnel.answer("GET").await.0.status(), 101);
    assert_eq!(tunnel.exactly(5).await[..], b"first"[..]);

    let revoked = kept.keys_command(&format!("revoke {kid}")).await;
    let written = Instant::now();
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let ring = kept.read_keys().await;
    let [key] = &ring[..] else { panic!("one key: {ring:?}") };
    assert!(key.kid() != kid && time(key, "nbf") <= Some(now()) && time(key, "exp").is_none(), "it signs: {key:?}");
    assert!(successor.is_none_or(|successor| successor == key.kid()), "the successor is brought forward");
    for vestibule in served {
        eventually("the old token is refused", async || {
            (vestibule.client().send(get("/").bearer(&token)).await.status == 401).then_some(())
        })
        .await;
        assert_eq!(decode(&vestibule.token("admin").await).0["kid"], key.kid());
    }
    let which = if with_successor { "with" } else { "without" };
    figure(
        &format!("from the command's end until all three refuse the old token and sign anew, {which} a successor"),
        format!("{} ms", written.elapsed().as_millis()),
    );
    assert!(written.elapsed() < Duration::from_secs(10));
    let rest = tunnel.rest().await;
    assert!(rest.is_empty(), "the tunnel ends: {rest:?}");
    assert!(!upload.is_finished(), "what was let in goes on");

    finish.send_replace(true);
    let body = within("the download", download.body_mut().collect()).await.expect("it is whole").to_bytes();
    assert!(body.ends_with(b"end"), "{} bytes", body.len());
    let answer = within("the upload", upload).await.expect("no panic");
    assert_eq!((answer.status, answer.text().ends_with("end")), (200, true), "{answer:?}");
    for vestibule in served {
        assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 401, "it stays so");
    }
}

/// Logins at each process one after another, each token used at the next process.
struct Traffic {
    done: Rc<Cell<bool>>,
    counts: Rc<RefCell<Counts>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    logins: usize,
    used: usize,
    refused: usize,
}

impl Traffic {
    fn start(served: &[Vestibule], kept: &impl Kept) -> Self {
        let (done, counts) = (Rc::default(), Rc::default());
        let tasks = (0..served.len()).map(|at| {
            let (login, next) = (served[at].client(), served[(at + 1) % served.len()].client());
            tokio::task::spawn_local(one(login, next, kept.clone(), Rc::clone(&done), Rc::clone(&counts)))
        });
        Self { tasks: tasks.collect(), done, counts }
    }

    async fn end(self) -> (usize, usize, usize) {
        self.done.set(true);
        for task in self.tasks {
            within("a client's end", task).await.expect("no login and no good token was refused");
        }
        let counts = self.counts.take();
        (counts.logins, counts.used, counts.refused)
    }
}

async fn one(login: Client, next: Client, kept: impl Kept, done: Rc<Cell<bool>>, counts: Rc<RefCell<Counts>>) {
    let (mut login, mut next) = (login.connect().await, next.connect().await);
    let body = json!({"userName": "admin", "pwd": password_of("admin")});
    while !done.get() {
        let answer = login.send(post("/authorize").json(&body)).await;
        assert_eq!(answer.status, 200, "a login: {answer:?}");
        counts.borrow_mut().logins += 1;
        let token = answer.json()["apiToken"].as_str().expect("a token").to_owned();
        let answer = next.send(get("/").bearer(&token)).await;
        if answer.status == 200 {
            counts.borrow_mut().used += 1;
        } else {
            let kid = decode(&token).0["kid"].clone();
            let stands = kept.read_keys().await.iter().any(|key| key.kid() == kid);
            assert!(answer.status == 401 && !stands, "a token of a key that stands: {answer:?}");
            counts.borrow_mut().refused += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Sends its answer, or reads a request, slowly; and tunnels.
async fn slow_app(finished: watch::Receiver<bool>) -> App {
    App::handling(Listening::Http, move |mut request| {
        let finished = finished.clone();
        async move {
            match request.uri().path() {
                "/download" => Response::new(until(finished)),
                "/upload" => {
                    let body = request.into_body().collect().await.expect("a whole body").to_bytes();
                    Response::new(full(body))
                }
                "/tunnel" => {
                    let upgrading = hyper::upgrade::on(&mut request);
                    tokio::spawn(async move {
                        let io = hyper_util::rt::TokioIo::new(upgrading.await.expect("an upgrade"));
                        let (mut read, mut write) = tokio::io::split(io);
                        drop(tokio::io::copy(&mut read, &mut write).await);
                    });
                    let switch = Response::builder().status(101).header("connection", "upgrade");
                    switch.header("upgrade", "own/1.0").body(full("")).expect("a response")
                }
                _ => Response::new(full("hello")),
            }
        }
    })
    .await
}

/// A piece every 10 ms until it shall end, and then `end`.
fn until(finished: watch::Receiver<bool>) -> Body {
    let pieces = futures_util::stream::unfold(Some(finished), |finished| async {
        let finished = finished?;
        sleep(Duration::from_millis(10)).await;
        let over = *finished.borrow();
        let (piece, next) = if over { ("end", None) } else { ("piece ", Some(finished)) };
        Some((Ok(Frame::data(Bytes::from_static(piece.as_bytes()))), next))
    });
    StreamBody::new(pieces).boxed_unsync()
}
