//! The proxy that breaks connections: each fault is what it says.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::cluster::{Faults, KEYS, Namespace, Watch, Way, namespace, selected};
use crate::support::eventually;

/// A watch through a proxy that has said its first word.
async fn watching(ns: &Namespace, faults: &Faults) -> Watch {
    ns.create_secret(KEYS, &[("entry", "text")]).await;
    let api = ns.admin().kubeconfig.by_way_of(faults.address).api();
    let mut watch = api.watch(&selected(&ns.name, KEYS)).await;
    assert_eq!(watch.next().await.expect("an event")["type"], "ADDED");
    watch
}

#[tokio::test]
async fn a_server_that_is_down_refuses_and_ends_what_was_open() {
    let Some(ns) = namespace().await else { return };
    let faults = Faults::start(ns.admin().kubeconfig.address).await;
    let mut watch = watching(&ns, &faults).await;
    assert_eq!((faults.connections(), faults.open()), (1, 1));
    assert!(faults.bytes(Way::ToServer) > 0 && faults.bytes(Way::ToClient) > 0);

    faults.refuse().await;
    let refused = TcpStream::connect(faults.address).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    ns.set(KEYS, &[("entry", "new")]).await;
    assert_eq!(watch.next().await.expect("open connections stay")["type"], "MODIFIED");

    faults.cut().await;
    assert!(watch.next().await.is_none());
    faults.heal().await;
    ns.admin().kubeconfig.by_way_of(faults.address).api().get("/version").await;
    assert_eq!(faults.connections(), 2);
}

#[tokio::test]
async fn a_silent_connection_stays_and_says_later_what_it_kept() {
    let Some(ns) = namespace().await else { return };
    let faults = Faults::start(ns.admin().kubeconfig.address).await;
    let mut watch = watching(&ns, &faults).await;
    for ways in [&[Way::ToClient][..], &[Way::ToServer, Way::ToClient]] {
        faults.silence(ways);
        ns.set(KEYS, &[("entry", format!("{ways:?}"))]).await;
        let told = timeout(Duration::from_millis(300), watch.next()).await;
        assert!(told.is_err(), "{told:?}");
        assert_eq!(faults.open(), 1);
        faults.heal().await;
        assert_eq!(watch.next().await.expect("an event")["type"], "MODIFIED");
    }
    faults.silence(&[Way::ToServer]);
    let api = ns.admin().kubeconfig.by_way_of(faults.address).api();
    let asked = timeout(Duration::from_millis(300), api.try_send("GET", "/version", None)).await;
    assert!(asked.is_err(), "{asked:?}");
    ns.set(KEYS, &[("entry", "last")]).await;
    assert_eq!(watch.next().await.expect("the other way is open")["type"], "MODIFIED");
    drop(watch);
    faults.heal().await;
    eventually("ends to be handed on", async || (faults.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_slow_connection_takes_its_time() {
    let Some(ns) = namespace().await else { return };
    let faults = Faults::start(ns.admin().kubeconfig.address).await;
    let api = ns.admin().kubeconfig.by_way_of(faults.address).api();
    ns.create_secret(KEYS, &[("entry", vec![b'x'; 150_000])]).await;
    faults.delay(Duration::from_millis(100));
    let began = Instant::now();
    api.get("/version").await;
    // Two round trips: TLS 1.3, and the request.
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());

    faults.heal().await;
    faults.limit(200_000);
    let began = Instant::now();
    api.get(&selected(&ns.name, KEYS)).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}
