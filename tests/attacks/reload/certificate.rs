//! A certificate and its key replaced in every order and half, under traffic.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::alone;
use crate::figures::{figure, long};
use crate::support::*;

const CLIENTS: usize = 8;

#[tokio::test]
async fn only_whole_pairs_are_served_and_nothing_is_dropped() {
    let _alone = alone().await;
    LocalSet::new().run_until(files_in_place()).await;
    LocalSet::new().run_until(swapped_links()).await;
}

/// Keep-alive clients of both versions, and one that connects anew and looks at what it is served.
async fn traffic(vestibule: &Vestibule, pairs: &[Pair]) -> Traffic {
    let token = vestibule.token("admin").await;
    let mut traffic = Traffic::default();
    for number in 0..2 * CLIENTS {
        let client = vestibule.client();
        let client = if number < CLIENTS { client } else { client.http2() };
        let token = token.clone();
        traffic.client(client.connect().await, async move |connection: &mut Connection| {
            assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200);
        });
    }
    let known: Vec<_> = pairs.iter().map(Pair::der).collect();
    for client in [vestibule.client(), vestibule.client().http2()] {
        let (token, known) = (token.clone(), known.clone());
        traffic.client(client, async move |client: &mut Client| {
            // A handshake proves that the key is the certificate's.
            let stream = client.tls_stream().await.expect("a handshake");
            let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
            assert!(known.iter().any(|der| **der == *chain[0]), "a certificate that was never whole");
            drop(stream);
            assert_eq!(client.send(get("/").bearer(&token)).await.status, 200);
        });
    }
    traffic
}

async fn files_in_place() {
    let app = App::start().await;
    let setup = Setup::new().upstream(&app).config("log: {access: false}");
    let pairs: Vec<_> = (0..4).map(|_| setup.issue(30)).collect();
    let vestibule = setup.start().await;
    vestibule.replace("tls.crt", &pairs[3].certificate);
    vestibule.reload("certificate", "tls.key", &pairs[3].key).await;
    let traffic = traffic(&vestibule, &pairs).await;
    let mut before = (pairs[3].der(), vestibule.reloads("certificate", "ok").await);
    let mut bad = vestibule.reloads("certificate", "error").await;
    let mut times = Vec::new();
    let rounds = if long() { 200 } else { 16 };
    for round in 0..rounds {
        let pair = &pairs[round % 3];
        let halves = [("tls.crt", &pair.certificate), ("tls.key", &pair.key)];
        let [first, second] = if round % 2 == 0 { halves } else { [halves[1], halves[0]] };
        // One half alone, in its place or cut off: the last pair stays, and the metric says so once.
        let in_pieces = round % 4 >= 2;
        if in_pieces {
            write_in_pieces(&vestibule.path(first.0), first.1).await;
        } else {
            vestibule.replace(first.0, first.1);
        }
        eventually("half a pair is told", async || {
            let errors = vestibule.reloads("certificate", "error").await;
            (errors > bad).then_some(())
        })
        .await;
        assert_eq!(vestibule.served_certificate().await, before.0, "round {round}: the last good pair");
        let began = Instant::now();
        if in_pieces {
            write_in_pieces(&vestibule.path(second.0), second.1).await;
        } else {
            vestibule.replace(second.0, second.1);
        }
        eventually("the new pair", async || (vestibule.served_certificate().await == pair.der()).then_some(())).await;
        times.push(began.elapsed());
        // Counted a moment after it is in force.
        eventually("the new pair is counted", async || {
            (vestibule.reloads("certificate", "ok").await > before.1).then_some(())
        })
        .await;
        let now_bad = vestibule.reloads("certificate", "error").await;
        // A piece more each time that the writer paused.
        assert!(now_bad - bad <= if in_pieces { 4.0 } else { 1.0 }, "round {round}: {bad} and then {now_bad}");
        bad = now_bad;
        before = (pair.der(), before.1 + 1.0);
        assert_eq!(vestibule.reloads("certificate", "ok").await, before.1, "round {round}: one reload a pair");
    }
    let (served, longest) = traffic.stop().await;
    figure("certificate and key one after the other, whole and in pieces: until served", spread(&mut times));
    figure("requests meanwhile, none failed", format!("{served}, the longest {} ms", longest.as_millis()));
}

async fn swapped_links() {
    let app = App::start().await;
    let setup = Setup::new().upstream(&app).config("log: {access: false}");
    let pairs: Vec<_> = (0..4).map(|_| setup.issue(30)).collect();
    let volume = setup.path("mounted");
    let swap = |version: String, certificate: &str, key: &str| {
        publish(&volume, &version, &[("tls.crt", certificate), ("tls.key", key)]);
    };
    swap("start".to_owned(), &pairs[3].certificate, &pairs[3].key);
    let (certificate, key) = (volume.join("tls.crt"), volume.join("tls.key"));
    let config = format!("tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
    let vestibule = setup.config(&config).start().await;
    let traffic = traffic(&vestibule, &pairs).await;
    let mut times = Vec::new();
    let rounds = if long() { 200 } else { 16 };
    let mut last = &pairs[3];
    for round in 0..rounds {
        let (pair, other) = (&pairs[round % 3], &pairs[(round + 1) % 3]);
        let wrong = async { swap(format!("wrong{round}"), &pair.certificate, &other.key) };
        vestibule.reloaded("certificate", "error", wrong).await;
        assert_eq!(vestibule.served_certificate().await, last.der(), "round {round}: the last good pair");
        let right = async { swap(format!("right{round}"), &pair.certificate, &pair.key) };
        times.push(vestibule.reloaded("certificate", "ok", right).await);
        assert_eq!(vestibule.served_certificate().await, pair.der(), "round {round}");
        last = pair;
    }
    assert_eq!(vestibule.reloads("certificate", "ok").await, rounds as f64);
    assert_eq!(vestibule.reloads("certificate", "error").await, rounds as f64, "each wrong pair once");
    let (served, longest) = traffic.stop().await;
    figure("a pair by a swap of links: until in force", spread(&mut times));
    figure("requests meanwhile, none failed", format!("{served}, the longest {} ms", longest.as_millis()));
}

/// Truncates the file and writes it in two pieces, with a pause that is longer than the watch waits for more.
async fn write_in_pieces(path: &Path, text: &str) {
    let mut file = std::fs::File::create(path).expect("a file");
    let (first, rest) = text.split_at(text.len() / 2);
    file.write_all(first.as_bytes()).expect("a file");
    sleep(Duration::from_millis(60)).await;
    file.write_all(rest.as_bytes()).expect("a file");
}
