//! Rotation under traffic: three processes with clocks that differ, some with rings that arrive late, and clients who
//! log in at one and call all.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::kubelet::Kubelet;
use super::shared::{Versions, with_keys};
use crate::alone;
use crate::figures::{figure, long};
use crate::support::{
    App, Called, Fast, Jwk, NEEDS_FAKETIME, Setup, Spans, Vestibule, faketime, log_in_and_call, rotations_of, skipped,
    time,
};

const CLIENTS: usize = 3;

/// One process's clock error, and how late its copy of the ring is; `None`: it shares the writers' directory.
type Replica = (f64, Option<f64>);

#[tokio::test]
async fn no_valid_token_is_ever_refused() {
    let _alone = alone().await;
    // The newest key is used by the fastest clock `propagation` after the slowest writer published it, less what these
    // differ by; by then the last copy has come.
    let two_writers = [(0.0, None), (30.0, None), (-30.0, Some(if long() { 70.0 } else { 45.0 }))];
    let one_writer = [(0.0, None), (30.0, Some(45.0)), (-30.0, Some(70.0))];
    if long() {
        let two_minutes = Spans::of(120);
        traffic("two writers, one copy 70 s late", two_writers, two_minutes, 30.0, 20).await;
        traffic("one writer, copies 45 s and 70 s late", one_writer, two_minutes, 30.0, 5).await;
        // What is left beyond the sum is for the machine, 30 times as slow in this time.
        let late = [(0.0, None), (30.0, Some(90.0)), (-30.0, Some(90.0))];
        traffic("one writer, copies 90 s late, propagation 170 s", late, Spans::of(170), 30.0, 5).await;
        let late = [(0.0, None), (15.0, Some(90.0)), (-15.0, Some(90.0))];
        traffic("one writer, copies 90 s late, clocks half as wrong", late, Spans::of(140), 30.0, 5).await;
    } else {
        traffic("two writers, one copy 45 s late", two_writers, Spans::of(120), 60.0, 2).await;
    }
}

async fn traffic(name: &str, replicas: [Replica; 3], spans: Spans, rate: f64, rotations: usize) {
    let Some(library) = faketime() else { return skipped(NEEDS_FAKETIME) };
    let app = App::start().await;
    let fast = Fast::new(rate);
    let shared = tempfile::tempdir().expect("a directory");
    let file = shared.path().join("keys.jwks");
    fs::write(&file, Jwk::ring(&spans.due(fast.now() as u64))).expect("a file");
    let versions = Versions::follow(file.clone());

    let mut kubelets = Vec::new();
    let mut all = Vec::new();
    for (error, late) in replicas {
        let mut setup = Setup::new().upstream(&app).config(&spans.config());
        match late {
            Some(late) => kubelets.push(Kubelet::mount(file.clone(), setup.path("keys"), fast.span(late))),
            None => setup = with_keys(setup, shared.path()),
        }
        all.push(fast.of(setup, &library, error).start().await);
    }

    let seen = Rc::new(RefCell::new(Called::default()));
    let local = LocalSet::new();
    for number in 0..CLIENTS {
        let clients: Vec<_> = all.iter().map(Vestibule::client).collect();
        local.spawn_local(log_in_and_call(number, clients, move || fast.now(), || true, Rc::clone(&seen)));
    }
    let deadline = Instant::now() + Duration::from_secs(60 * rotations as u64);
    local
        .run_until(async {
            // Timers run in real time: what one of them would find, they find when something beside the ring changes.
            for touched in 0_u64.. {
                fs::write(shared.path().join("touched"), touched.to_string()).expect("a file");
                sleep(Duration::from_millis(100)).await;
                let made = versions.so_far().len() - 1;
                let signs = time(&newest(&versions), "nbf") < Some(fast.now() as u64 - 60);
                if made >= rotations && signs {
                    break;
                }
                assert!(Instant::now() < deadline, "{made} rotations: {:?}", seen.borrow().refused);
            }
        })
        .await;
    let versions = versions.end();
    drop(local);
    let seen = seen.take();
    let made = versions.len() - 1;
    let clocks = replicas.map(|(error, _)| format!("{error:+}")).join("/");
    figure(&format!("{name}: rotations, clocks {clocks} s, x{rate}"), made);
    seen.judge(name, &versions, spans);
    assert_eq!(rotations_of(&all, "ok").await, made as f64, "every write is one rotation");
    figure(&format!("{name}: rotations that another process was faster with"), rotations_of(&all, "conflict").await);
    assert_eq!(rotations_of(&all, "error").await, 0.0);
}

fn newest(versions: &Versions) -> Jwk {
    let ring = versions.so_far().pop().expect("a ring");
    ring.into_iter().max_by_key(|key| time(key, "nbf")).expect("a key")
}
