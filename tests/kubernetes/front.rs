//! The proxy that answers in the API server's place: each answer is what it says.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::cluster::{Api, Front, KEYS, Namespace, Reply, entry, named, namespace, selected};
use crate::support::{eventually, get};

/// The account of a sidecar by way of a front.
async fn behind(ns: &Namespace) -> (Front, Api) {
    ns.create_secret(KEYS, &[("entry", "old")]).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let front = Front::start(&kubeconfig).await;
    let api = front.kubeconfig(&kubeconfig).api();
    (front, api)
}

#[tokio::test]
async fn it_hands_on_what_it_is_not_told_to_answer() {
    let Some(ns) = namespace().await else { return };
    let (front, api) = behind(&ns).await;
    let path = named(&ns.name, KEYS);
    for (api, is_http2) in [(&api, false), (&api.http2(), true)] {
        assert_eq!(entry(&api.get(&path).await, "entry").as_deref(), Some(&b"old"[..]));
        api.patch(&path, &json!({"metadata": {"annotations": {"by": "tests"}}})).await;
        assert_eq!(api.send("GET", &ns.path("secrets"), None).await.status, 403, "as the account, not as its own");
        let last = front.asked().pop().expect("a request");
        assert_eq!((last.is_http2, last.is_watch, last.secret), (is_http2, false, None));
    }

    front.answer(2, Reply::status(429).retry_after(7), |asked| asked.secret.as_deref() == Some(KEYS));
    for _ in 0..2 {
        let answer = api.send("GET", &path, None).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
        assert_eq!(answer.json()["reason"], "TooManyRequests");
    }
    api.get(&path).await;
    front.answer(usize::MAX, Reply::status(500), |asked| asked.method == "PATCH");
    assert_eq!(api.send("PATCH", &path, Some(&json!({}))).await.status, 500);
    api.get(&path).await;
    front.pass();
    api.patch(&path, &json!({})).await;
}

#[tokio::test]
async fn it_has_a_clock_of_its_own() {
    let Some(ns) = namespace().await else { return };
    let (front, api) = behind(&ns).await;
    let date = async || {
        let answer = api.send("GET", &named(&ns.name, KEYS), None).await;
        let date = answer.header("date").expect("a date").to_owned();
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&date).expect("a date").as_second()
    };
    let right = date().await;
    for error in [-3600, 3600] {
        front.set_clock(error);
        let off = date().await - right;
        assert!((error..error + 20).contains(&off), "{off} s");
    }
}

#[tokio::test]
async fn it_makes_watches_say_what_it_wants() {
    let Some(ns) = namespace().await else { return };
    let (front, api) = behind(&ns).await;
    let old = ns.secret(KEYS).await;
    for api in [&api, &api.http2()] {
        let mut watch = api.watch(&selected(&ns.name, KEYS)).await;
        assert_eq!(watch.next().await.expect("an event")["type"], "ADDED");
        assert_eq!(front.watches(KEYS), 1);

        front.drop_events(true);
        ns.set(KEYS, &[("entry", "lost")]).await;
        let told = timeout(Duration::from_millis(300), watch.next()).await;
        assert!(told.is_err(), "{told:?}");
        front.drop_events(false);
        ns.set(KEYS, &[("entry", "new")]).await;
        let event = watch.next().await.expect("an event");
        assert_eq!(entry(&event["object"], "entry").as_deref(), Some(&b"new"[..]));

        assert_eq!(front.inject(KEYS, &json!({"type": "MODIFIED", "object": old})), 1);
        assert_eq!(watch.next().await.expect("an event")["object"], old);
        assert_eq!(front.expire(KEYS), 1);
        let event = watch.next().await.expect("an event");
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
        assert!(watch.next().await.is_none(), "it ends with that");
        eventually("an end of the watch", async || (front.watches(KEYS) == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn it_says_goodbye_and_finishes_what_runs() {
    let Some(ns) = namespace().await else { return };
    let (front, api) = behind(&ns).await;
    for (api, value) in [(&api, "new"), (&api.http2(), "newer")] {
        let mut watch = api.watch(&selected(&ns.name, KEYS)).await;
        watch.next().await.expect("an event");
        let mut idle = api.connect().await;
        idle.send(get("/version")).await;
        front.go_away();
        eventually("an end of the idle connection", async || idle.is_closed().then_some(())).await;
        ns.set(KEYS, &[("entry", value)]).await;
        watch.next().await.expect("an event on a connection that ends");
        front.end(KEYS);
        assert!(watch.next().await.is_none());
    }
}
