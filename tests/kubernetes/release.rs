//! What a release goes through, from an empty namespace to an outage, with the rights of deploy/rbac.yaml alone.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep};

use crate::cluster::{Entry, KEYS, Namespace, USERS, alone, entry};
use crate::shell::Shell;
use crate::sidecar::{LONGEST_PAUSE, ring, sidecar};
use crate::support::figures::{figure, long};
use crate::support::{
    App, Called, Commands as _, Spans, Vestibule, eventually, eventually_after, get, log_in_and_call, now, password_of,
    publish, time, within,
};

const NONE: &[(&str, &str)] = &[];
/// The client's own user, and another one.
const USER: &str = "admin";
const OTHER: &str = "ann";
const SPANS: Spans = Spans { propagation: 4, rotate_every: 12 };

#[tokio::test]
async fn a_release_lives_through_changes_rotations_and_an_outage() {
    let Some(ns) = alone().await else { return };
    LocalSet::new().run_until(release(&ns)).await;
}

async fn release(ns: &Namespace) {
    for secret in [USERS, KEYS] {
        ns.create_secret(secret, NONE).await;
    }
    let account = ns.account().await;
    let trail = account.trail(ns).expect("a cluster of ours");
    let kubeconfig = account.kubeconfig().await;
    let (app, mounted) = (App::start().await, tempfile::tempdir().expect("a folder"));
    let fallback = json!({"users": mounted.path().join("users"), "keys": mounted.path().join("keys")});
    let start = async || {
        let setup = sidecar(&kubeconfig).store(json!({"kubernetes": {"fallback": fallback}}));
        setup.upstream(&app).config(&SPANS.config()).start().await
    };
    let mut replicas = vec![start().await, start().await];
    let shell = Shell::admin(ns);

    // Users who are added log in at once: the first attempt of each is a good one.
    for user in [USER, OTHER] {
        add(&shell, user);
        let began = Instant::now();
        for replica in &replicas {
            has_users(replica, if user == USER { 1 } else { 2 }).await;
            replica.token(user).await;
        }
        figure("from the end of `users add` until both have let in the user", format!("{:?}", began.elapsed()));
    }
    let token = replicas[0].token(OTHER).await;
    shell.done(&format!("users disable {OTHER} --secret {USERS}"));
    let began = Instant::now();
    for replica in &replicas {
        eventually("a refusal", async || (status(replica, &token).await == 401).then_some(())).await;
    }
    figure("from the end of `users disable` until both have refused a token", format!("{:?}", began.elapsed()));
    for replica in &replicas {
        assert_eq!(status(replica, &token).await, 401, "it stays so");
        assert_eq!(replica.client().login(OTHER, &password_of(OTHER)).await.status, 401);
    }

    // Keys rotate under traffic; then nothing of them is due for a while.
    let mut traffic = Traffic::default();
    traffic.start(&replicas);
    rotated(ns, if long() { 3 } else { 1 }).await;

    mount(ns, mounted.path()).await;
    let token = replicas[0].token(USER).await;
    let own = ns.cluster.own();
    own.stop_api_server().await;
    let stopped = Instant::now();
    let outage = Duration::from_secs(if long() { 60 } else { 8 });
    sleep(outage / 4).await;
    traffic.pause().await;
    traffic.start(&replicas[..1]);
    assert_eq!(replicas.pop().expect("two").stop().await, Some(0));
    replicas.push(start().await);
    assert_eq!(status(&replicas[1], &token).await, 200, "a token from before");
    traffic.pause().await;
    traffic.start(&replicas);
    sleep(outage.saturating_sub(stopped.elapsed())).await;
    for replica in &replicas {
        let (code, notes) = replica.admin("/readyz").await;
        assert!(code == 200 && notes.contains("cannot be "), "{notes}");
    }
    figure("the API server was stopped for", format!("{:.0} s", stopped.elapsed().as_secs_f64()));
    own.start_api_server().await;

    shell.done(&format!("users enable {OTHER} --secret {USERS}"));
    for replica in &replicas {
        eventually_after(LONGEST_PAUSE, "a store that can be read", async || {
            (replica.admin("/readyz").await == (200, "ready\n".to_owned())).then_some(())
        })
        .await;
        has_users(replica, 2).await;
        assert_eq!(status(replica, &replica.token(OTHER).await).await, 200);
    }
    if long() {
        // What came due meanwhile.
        rotated(ns, 1).await;
    }
    traffic.pause().await;

    let seen = traffic.seen.take();
    seen.nothing_was_refused("a release, its rotations, an outage and a restart meanwhile");
    let requests = trail.requests();
    let patches = requests.iter().filter(|entry| entry.verb == "patch" && entry.status == 200).count();
    assert_eq!(patches, ring(ns).await.len(), "each key is one patch: {requests:?}");
    figure("verbs that the sidecars used, by the audit log", trail.verbs().join(", "));
    assert!(trail.verbs().iter().all(|verb| ["get", "list", "patch", "watch"].contains(&verb.as_str())));
    // An API server that starts is asked whether it is ready.
    let needed = |entry: &Entry| entry.resource == "secrets" || entry.uri == "/readyz";
    assert!(requests.iter().all(needed), "{requests:?}");
}

/// Clients who log in and call until they are paused.
#[derive(Default)]
struct Traffic {
    seen: Rc<RefCell<Called>>,
    clients: Vec<(JoinHandle<()>, Rc<Cell<bool>>)>,
}

impl Traffic {
    fn start(&mut self, replicas: &[Vestibule]) {
        for number in 0..2 {
            let clients = replicas.iter().map(Vestibule::client).collect();
            let is_going = Rc::new(Cell::new(true));
            let going = Rc::clone(&is_going);
            let client = log_in_and_call(number, clients, || now() as f64, move || going.get(), Rc::clone(&self.seen));
            self.clients.push((tokio::task::spawn_local(client), is_going));
        }
    }

    /// Each ends what it has begun: a login that is broken off counts as a wrong password.
    async fn pause(&mut self) {
        for (client, is_going) in self.clients.drain(..) {
            is_going.set(false);
            within("a client's end", client).await.expect("no connection was dropped");
        }
    }
}

fn add(shell: &Shell, user: &str) {
    let password = format!("{}\n", password_of(user));
    let ran = shell.run_with(
        &format!("users add {user} --group Administrator --password-stdin --secret {USERS}"),
        password.as_bytes(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
}

async fn status(replica: &Vestibule, token: &str) -> u16 {
    replica.client().send(get("/").bearer(token)).await.status
}

async fn has_users(replica: &Vestibule, active: usize) {
    eventually("a table of users", async || {
        let metrics = replica.metrics().await;
        (metrics.value("vestibule_users{state=\"active\"}") == active as f64).then_some(())
    })
    .await;
}

/// Waits for so many rotations, until the last one's key signs.
async fn rotated(ns: &Namespace, times: usize) {
    let wanted = ring(ns).await.len() + times;
    let takes = Duration::from_secs(times as u64 * (SPANS.rotate_every + SPANS.propagation + 10));
    eventually_after(takes, "rotations", async || (ring(ns).await.len() >= wanted).then_some(())).await;
    let signs = ring(ns).await.iter().filter_map(|key| time(key, "nbf")).max().expect("keys");
    eventually("a key that signs", async || (now() > signs).then_some(())).await;
}

/// The Secrets as kubelet mounts them.
async fn mount(ns: &Namespace, folder: &Path) {
    for (secret, name) in [(USERS, "users"), (KEYS, "keys")] {
        let secret = ns.secret(secret).await;
        let entries = secret["data"].as_object().expect("entries");
        let text = |name: &String| String::from_utf8(entry(&secret, name).expect("an entry")).expect("text");
        let files: Vec<_> = entries.keys().map(|name| (name.as_str(), text(name))).collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        publish(&folder.join(name), "1", &files);
    }
}
