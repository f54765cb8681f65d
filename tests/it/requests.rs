//! Requests byte by byte: what is refused, how, and that nothing of it is ever read as another request.

mod expect;
mod framing;
mod heads;
mod methods;

use std::sync::{Arc, Mutex};

use crate::support::*;

/// `/open` and all below it is anyone's, so that rules are there and no token is needed.
const OPEN: &str = "access: {rules: [{prefix: /open, allow: anyone}]}";

/// Everything that reaches an application, byte by byte; it answers each request that is whole with 200 and `ok`.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<String>>>);

impl Witness {
    async fn start() -> (Self, App) {
        let witness = Self::default();
        let own = witness.clone();
        let app = App::raw(move |mut wire, _| {
            let own = own.clone();
            async move {
                while let Some((head, body)) = wire.request().await {
                    let seen = format!("{} {} {}", head.method(), head.target(), String::from_utf8_lossy(&body));
                    own.0.lock().expect("nobody panics under this lock").push(seen.trim_end().to_owned());
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        });
        (witness, app.await)
    }

    /// Method, target and body of each request, in their order.
    fn seen(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics under this lock").clone()
    }

    fn forget(&self) {
        self.0.lock().expect("nobody panics under this lock").clear();
    }
}

/// Sends bytes on a connection of their own and reads answers until the other side closes, or `most` have come.
async fn exchange(vestibule: &Vestibule, bytes: impl AsRef<[u8]>, most: usize) -> Vec<(Head, Vec<u8>)> {
    let mut wire = vestibule.client().wire().await;
    wire.send(bytes).await;
    let mut answers = Vec::new();
    while answers.len() < most {
        let Some(head) = wire.head().await else { return answers };
        let length = head.one("content-length").map_or(0, |length| length.parse().expect("a length"));
        let body = if length == 0 { Vec::new() } else { wire.exactly(length).await };
        answers.push((head, body));
    }
    answers
}

/// What is refused is answered in our form, and the connection is closed.
fn assert_refused(answer: &(Head, Vec<u8>), status: u16, what: &str) {
    let (head, body) = answer;
    assert_eq!(head.status(), status, "{what}: {head:?}");
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_else(|_| panic!("{what}: no JSON: {body:?}"));
    assert_eq!(body["status"], status, "{what}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}");
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(2), "{what}: {body}");
    assert_eq!(head.one("content-type"), Some("application/json"), "{what}");
    assert_eq!(head.one("cache-control"), Some("no-store"), "{what}");
}
