//! An API server that is gone, hangs, refuses or forgets: requests go on, and what has changed is in force afterwards.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cluster::{Asked, Faults, KEYS, Reply, USERS, User, Way, alone, namespace};
use crate::sidecar::{LONGEST_PAUSE, Running, disable_admin, ring, secrets, sidecar};
use crate::support::figures::{figure, long};
use crate::support::{Jwk, eventually, eventually_after, password_of};

#[tokio::test]
async fn an_api_server_that_is_gone_stops_nobody() {
    let Some(ns) = alone().await else { return };
    let running = Running::in_namespace(&ns).await;
    let token = running.vestibule.token("admin").await;
    ns.cluster.own().stop_api_server().await;
    running.noted("users: last read ").await;
    running.noted("keys: last read ").await;
    for _ in 0..20 {
        assert_eq!(running.status(&token).await, 200);
        running.vestibule.token("two").await;
        sleep(Duration::from_millis(200)).await;
    }
    assert!(running.notes().await.contains("connection refused"), "{}", running.notes().await);
    ns.cluster.own().start_api_server().await;
    disable_admin(&ns, true).await;
    // The pauses have grown meanwhile.
    eventually_after(LONGEST_PAUSE, "a token that is refused", async || {
        (running.status(&token).await == 401).then_some(())
    })
    .await;
    running.nothing_is_noted().await;
    let refused = |line: &serde_json::Value| line["error"].to_string().contains("connection refused");
    let failed = running.vestibule.events("store_failed");
    assert_eq!(failed.iter().filter(|line| refused(line)).count(), 2, "one line for each store: {failed:?}");
}

#[tokio::test]
async fn a_start_without_an_api_server_reads_what_is_mounted() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let key = Jwk::fresh("HS512", "mounted");
    ns.set(KEYS, &[("keys.jwks", Jwk::ring(std::slice::from_ref(&key)))]).await;
    for hangs in [false, true] {
        let faults = Faults::start(kubeconfig.address).await;
        if hangs {
            faults.silence(&[Way::ToServer, Way::ToClient]);
        } else {
            faults.down().await;
        }
        let setup = sidecar(&kubeconfig.by_way_of(faults.address)).keys(std::slice::from_ref(&key));
        let (users, keys) = (setup.path("users"), setup.path("keys"));
        let fallback = json!({"kubernetes": {"fallback": {"users": users, "keys": keys}}});
        let running = Running::start(setup.store(fallback)).await;
        let token = running.vestibule.token("admin").await;
        assert_eq!(running.status(&token).await, 200);
        running.noted("users: not read since the start").await;
        assert!(ring(&ns).await.len() == 1);

        faults.heal().await;
        eventually("the API server's own", async || (running.notes().await == "ready\n").then_some(())).await;
        assert_eq!(running.status(&token).await, 200);
        disable_admin(&ns, true).await;
        running.comes_to(&token, 401).await;
        disable_admin(&ns, false).await;
    }
}

#[tokio::test]
async fn a_start_without_anything_waits_and_says_for_what() {
    let Some(ns) = namespace().await else { return };
    let kubeconfig = ns.account().await.kubeconfig().await;
    let faults = Faults::start(kubeconfig.address).await;
    faults.down().await;
    let setup = sidecar(&kubeconfig.by_way_of(faults.address)).without_readiness();
    let running = Running::start(setup).await;
    let unready = async |what: &str| {
        eventually(&format!("{what:?} in /readyz"), async || {
            let (status, text) = running.vestibule.admin("/readyz").await;
            (status == 503 && text.contains(what)).then_some(())
        })
        .await;
    };
    unready(&format!("users: Secret {}/{USERS} cannot be ", ns.name)).await;
    unready(&format!("keys: Secret {}/{KEYS} cannot be ", ns.name)).await;
    faults.heal().await;
    unready(&format!("users: Secret {}/{USERS} is not there", ns.name)).await;
    unready(&format!("keys: Secret {}/{KEYS} is not there", ns.name)).await;
    secrets(&ns).await;
    running.vestibule.ready().await;
    running.vestibule.token("admin").await;
}

#[tokio::test]
async fn a_watch_that_has_silently_died_is_noticed() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let kubeconfig = ns.account().await.kubeconfig().await;
    let faults = Faults::start(kubeconfig.address).await;
    let running = Running::start(sidecar(&kubeconfig.by_way_of(faults.address))).await;
    let token = running.vestibule.token("admin").await;
    let before = faults.connections();
    faults.silence(&[Way::ToServer, Way::ToClient]);
    let began = Instant::now();
    disable_admin(&ns, true).await;
    let deadline = began + Duration::from_secs(35);
    while faults.connections() == before {
        assert!(Instant::now() < deadline, "nobody has noticed");
        sleep(Duration::from_millis(50)).await;
    }
    figure("a silent connection is given up after", format!("{:.1} s", began.elapsed().as_secs_f64()));
    assert_eq!(running.status(&token).await, 200, "the last good one");
    faults.heal().await;
    running.comes_to(&token, 401).await;
}

/// Behind a proxy that answers PINGs itself, only the events are missing. It takes two and a half minutes.
#[tokio::test]
async fn a_watch_that_has_died_behind_a_proxy_is_noticed() {
    if !long() {
        return;
    }
    let Some(ns) = namespace().await else { return };
    let (running, front) = Running::behind_front(&ns).await;
    let token = running.vestibule.token("admin").await;
    front.drop_events(true);
    let began = Instant::now();
    disable_admin(&ns, true).await;
    let watches = || front.asked().iter().filter(|asked| asked.is_watch).count();
    let before = watches();
    eventually_after(Duration::from_secs(180), "another watch", async || (watches() > before).then_some(())).await;
    figure("a watch without events is begun again after", format!("{:.1} s", began.elapsed().as_secs_f64()));
    front.drop_events(false);
    front.end(USERS);
    eventually_after(LONGEST_PAUSE, "a token that is refused", async || {
        (running.status(&token).await == 401).then_some(())
    })
    .await;
}

/// Pauses that double, each drawn anew: thousands that fail together do not come back together.
#[tokio::test]
async fn what_fails_again_and_again_is_asked_more_and_more_rarely() {
    const WATCHED: Duration = Duration::from_secs(12);
    /// What the pauses are drawn from, in seconds; the first two may be over before the first failure.
    const LIMITS: [f64; 4] = [1.0, 2.0, 4.0, 8.0];
    let Some(ns) = namespace().await else { return };
    let (running, front) = Running::behind_front(&ns).await;
    let token = running.vestibule.token("admin").await;
    front.answer(usize::MAX, Reply::status(500), |asked| asked.is_watch);
    let began = Instant::now();
    for secret in [USERS, KEYS] {
        assert_eq!(front.end(secret), 1);
    }
    sleep(WATCHED).await;
    let mut are_drawn = false;
    for secret in [USERS, KEYS] {
        let asked = front.asked();
        let tries = asked.iter().filter(|asked| asked.at > began && asked.secret.as_deref() == Some(secret));
        let tries: Vec<_> = tries.map(|asked| asked.at).collect();
        let pauses: Vec<_> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        assert!((2..=20).contains(&tries.len()), "{secret}: {pauses:?}");
        are_drawn |= pauses.iter().zip(LIMITS).any(|(pause, limit)| *pause < 0.9 * limit);
        figure(&format!("{secret}: pauses between tries that fail"), format!("{pauses:.1?} s"));
    }
    assert!(are_drawn, "nobody drew less than nine tenths of the longest pause");
    assert_eq!(running.status(&token).await, 200);
    front.pass();
    running.nothing_is_noted().await;
}

#[tokio::test]
async fn a_watch_goes_on_whatever_ends_it() {
    let Some(ns) = namespace().await else { return };
    let (running, front) = Running::behind_front(&ns).await;
    let token = running.vestibule.token("admin").await;
    let mut disabled = false;
    let mut change = async || {
        disabled = !disabled;
        disable_admin(&ns, disabled).await;
        let status = if disabled { 401 } else { 200 };
        // Watches that end again and again are begun at longer and longer intervals, up to 30 s.
        eventually_after(Duration::from_secs(60), &format!("answers of {status}"), async || {
            (running.status(&token).await == status).then_some(())
        })
        .await;
    };
    let of_users = |asked: &Asked| asked.is_watch_of(USERS);
    let begins_anew = async || {
        eventually("a watch from the beginning", async || {
            let last = front.asked().into_iter().rfind(of_users).expect("a watch");
            last.query.contains("sendInitialEvents=true").then_some(())
        })
        .await;
    };
    change().await;
    assert_eq!(front.end(USERS), 1);
    eventually("a watch that goes on", async || {
        let last = front.asked().into_iter().rfind(of_users).expect("a watch");
        (!last.query.contains("sendInitialEvents") && front.watches(USERS) == 1).then_some(())
    })
    .await;
    assert_eq!(front.expire(USERS), 1);
    begins_anew().await;
    change().await;
    front.answer(1, Reply::status(410), move |asked| of_users(asked));
    assert_eq!(front.end(USERS), 1);
    begins_anew().await;
    change().await;
    assert_eq!(running.vestibule.events("store_failed").len(), 0, "that a version is forgotten is nothing wrong");
    assert_eq!(front.end(USERS), 1);
    change().await;
    front.go_away();
    change().await;
    front.answer(2, Reply::status(500), move |asked| of_users(asked));
    assert_eq!(front.end(USERS), 1);
    change().await;
    assert_eq!(running.notes().await, "ready\n");
    let http2 = front.asked().iter().all(|asked| asked.is_http2);
    assert!(http2 && front.asked()[0].user_agent.starts_with("vestibule/"), "{:?}", front.asked()[0]);
}

#[tokio::test]
async fn an_api_server_that_wants_to_be_left_alone_is() {
    const WANTED: u32 = 6;
    let Some(ns) = namespace().await else { return };
    let (running, front) = Running::behind_front(&ns).await;
    let of_users = |asked: &Asked| asked.is_watch_of(USERS);
    let before = front.asked().len();
    front.answer(1, Reply::status(429).retry_after(WANTED), move |asked| of_users(asked));
    assert_eq!(front.end(USERS), 1);
    let tries =
        || front.asked()[before..].iter().filter(|asked| of_users(asked)).map(|asked| asked.at).collect::<Vec<_>>();
    let tries = eventually("another try", async || Some(tries()).filter(|tries| tries.len() == 2)).await;
    // Without being asked it would be a second at most.
    assert!(tries[1] - tries[0] >= Duration::from_secs(u64::from(WANTED)), "{:?}", tries[1] - tries[0]);
    running.nothing_is_noted().await;
}

#[tokio::test]
async fn rights_and_credentials_that_come_back_are_used() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    let kubeconfig = account.kubeconfig().await;
    account.revoke().await;
    let setup = sidecar(&kubeconfig.with_user(User::Token("none".to_owned()))).without_readiness();
    let file = setup.path("kubeconfig");
    let running = Running::start(setup).await;
    let unready = async |what: &str| {
        eventually_after(LONGEST_PAUSE, &format!("{what:?} in /readyz"), async || {
            running.vestibule.admin("/readyz").await.1.contains(what).then_some(())
        })
        .await;
    };
    unready("does not accept this token").await;
    kubeconfig.write(&file);
    unready("allow `watch` on `secrets` with resourceNames").await;
    account.grant().await;
    // Tried slowly, as only people can mend it.
    sleep(Duration::from_secs(20)).await;
    running.vestibule.ready().await;
    assert_eq!(running.login("admin", &password_of("admin")).await, 200);
}

#[tokio::test]
async fn a_kubeconfig_that_is_broken_is_one_line() {
    let Some(ns) = namespace().await else { return };
    let kubeconfig = ns.account().await.kubeconfig().await;
    let secret = kubeconfig.token().expect("a token").to_owned();
    for (text, says) in [
        (format!("users: [{{name: x, user: {{token: {secret}}}]"), "line"),
        ("{}".to_owned(), "no current context"),
        (
            kubeconfig.document().to_string().replace("\"current-context\":\"tests\"", "\"current-context\":\"x\""),
            "no context",
        ),
    ] {
        let setup = sidecar(&kubeconfig).file("kubeconfig", &text);
        let failed = setup.fails().await;
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
        assert!(
            failed.line().contains("store.kubernetes: kubeconfig") && failed.line().contains(says),
            "{}",
            failed.line()
        );
        assert!(!failed.line().contains(&secret));
    }
}
