//! The hashing queue under a flood: sources take turns, the greediest gives way, those that logged in lately go first.

use std::sync::{Arc, Mutex};

use super::*;

const QUEUE: usize = 64;
/// How many checks may come before one whose turn is next: on a busy machine some end while it is on its way.
const SOON: usize = QUEUE / 4;

/// Answers in the order in which they came, by the names of those who asked.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<(String, u16)>>>);

impl Order {
    /// Sends a login that fails, from a source of this name.
    fn send(&self, connection: &Connection, name: &str, source: &str, user: &str) {
        let (order, mut stream) = (self.clone(), connection.another());
        let (name, call) = (name.to_owned(), login_from(source, user, "wrong"));
        tokio::spawn(async move {
            let status = stream.send(call).await.status;
            order.0.lock().expect("nobody panics under this lock").push((name, status));
        });
    }

    fn all(&self) -> Vec<(String, u16)> {
        self.0.lock().expect("nobody panics under this lock").clone()
    }

    fn count(&self, name: &str, status: u16) -> usize {
        self.all().iter().filter(|(other, found)| other == name && *found == status).count()
    }

    /// How many had their passwords checked before this one was answered, which is waited for.
    async fn checked_before(&self, name: &str) -> usize {
        let what = format!("an answer to {name}");
        let place = eventually(&what, async || self.all().iter().position(|(other, _)| other == name)).await;
        self.all()[..place].iter().filter(|(_, status)| *status == 401).count()
    }
}

/// One hashing thread; every check that fails takes it some hundredths of a second.
async fn one_thread() -> Vestibule {
    let hashing = format!("authorize: {{hashing: {{threads: 1, queue: {QUEUE}}}}}");
    Setup::new().users(&users_with_cost(8 * 1024)).config(LONG).config(PROXIED).config(&hashing).start().await
}

#[tokio::test]
async fn a_flood_from_one_source_waits_for_itself() {
    let _alone = alone().await;
    let vestibule = one_thread().await;
    let flood = [vestibule.client().http2().connect().await, vestibule.client().http2().connect().await];
    let other = vestibule.client().http2().connect().await;
    let order = Order::default();
    const MORE: usize = 60;
    for number in 0..QUEUE + MORE {
        order.send(&flood[number % 2], "flood", "192.0.2.1", &format!("name {number}"));
    }
    // What the queue cannot hold is told so at once: the newest of this source, which are those that came last.
    eventually("a full queue", async || (order.count("flood", 503) >= MORE - 5).then_some(())).await;
    let checked = order.count("flood", 401);
    assert!(checked < 10, "the queue was filled while {checked} were checked");

    let overloaded = order.count("flood", 503);
    order.send(&other, "single", "192.0.2.2", "somebody");
    let before = order.checked_before("single").await - checked;
    figure("checks between a single login's arrival in a flood and its answer, 64 being queued", before);
    assert_eq!(order.count("single", 401), 1);
    assert!(before <= SOON, "its turn came after {before} others");
    assert!(order.count("flood", 503) <= overloaded + 1, "one gave way at most");

    // The flood goes on without a pause, and so does the other, ten times.
    let mut most = 0;
    for number in 0..10 {
        for more in 0..10 {
            order.send(&flood[more % 2], "flood", "192.0.2.1", &format!("more {number} {more}"));
        }
        let checked = order.count("flood", 401);
        let name = format!("single {number}");
        order.send(&other, &name, "192.0.2.2", &name);
        let before = order.checked_before(&name).await.saturating_sub(checked + number + 1);
        assert_eq!(order.count(&name, 401), 1);
        most = most.max(before);
    }
    figure("the most in ten single logins while the flood goes on", most);
    assert!(most <= SOON, "{most}");
}

/// Somebody has lately logged in from 198.51.100.1.
async fn one_thread_and_a_guest() -> (Vestibule, Connection) {
    let vestibule = one_thread().await;
    let connection = vestibule.client().http2().connect().await;
    let call = login_from("198.51.100.1", "admin", "admin-password");
    assert_eq!(connection.another().send(call).await.status, 200);
    (vestibule, connection)
}

#[tokio::test]
async fn the_greediest_gives_way_and_who_lately_logged_in_goes_first() {
    let _alone = alone().await;
    let (vestibule, connection) = one_thread_and_a_guest().await;

    // One source holds ten of the places, 54 sources hold one each; the hashing thread is busy with another.
    let order = Order::default();
    order.send(&connection, "plug", "192.0.2.254", "plug");
    at_the_desk(&vestibule, 1.0).await;
    for number in 0..QUEUE - 10 {
        order.send(&connection, &format!("crowd {number}"), &format!("192.0.2.{number}"), "name");
    }
    for number in 0..10 {
        order.send(&connection, &format!("greedy {number}"), "203.0.113.1", &format!("name {number}"));
    }
    at_the_desk(&vestibule, 1.0 + QUEUE as f64).await;
    let full = order.all().len();
    let late = vestibule.client().http2().connect().await;
    for (name, source) in [("stranger", "203.0.113.2"), ("stranger 2", "203.0.113.3"), ("guest", "198.51.100.1")] {
        order.send(&late, name, source, name);
    }
    let guest = order.checked_before("guest").await - full;
    let refused: Vec<_> = order.all().into_iter().filter(|(_, status)| *status == 503).map(|(name, _)| name).collect();
    figure("checks before one that lately logged in had its turn, 64 strangers being queued", guest);
    // A place may have become free meanwhile; whoever gave way was the newest of the greediest.
    assert!(refused.len() <= 3, "{refused:?}");
    for (place, name) in refused.iter().enumerate() {
        assert_eq!(*name, format!("greedy {}", 9 - place), "{refused:?}");
    }
    assert!(guest <= SOON, "its turn came after {guest} others");
    let stranger = order.checked_before("stranger").await - full;
    figure("and before a stranger that came just before it", stranger);
    assert!(stranger >= 30, "{stranger}");
}

#[tokio::test]
async fn a_queue_full_of_strangers_has_a_place_for_one_that_lately_logged_in() {
    let _alone = alone().await;
    let (_vestibule, connection) = one_thread_and_a_guest().await;
    let order = Order::default();
    // More sources than there are places, one attempt each: none holds more than another.
    for number in 0..QUEUE + 40 {
        order.send(&connection, "stranger", &format!("192.0.2.{number}"), "name");
    }
    order.send(&connection, "guest", "198.51.100.1", "guest");
    let before = order.checked_before("guest").await;
    assert_eq!(order.count("guest", 401), 1, "it was not turned away");
    assert!(order.count("stranger", 503) >= 30, "the queue was full");
    figure("checks before one that lately logged in, in a queue full of 64 other sources", before);
    assert!(before <= SOON, "{before}");
}
