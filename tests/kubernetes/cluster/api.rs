//! The Kubernetes API over plain HTTP, as one user: nothing of what is tested is in between.

use std::io;

use bytes::BytesMut;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::kubeconfig::Kubeconfig;
use crate::support::{Answer, Call, Client, Connection, within};

/// The API as the user of a kubeconfig; each request has a connection of its own.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) kubeconfig: Kubeconfig,
    client: Client,
}

/// A watch: events as they come.
pub(crate) struct Watch {
    pub(crate) status: u16,
    body: Incoming,
    buffer: BytesMut,
}

/// The path of one Secret.
pub(crate) fn named(namespace: &str, secret: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{secret}")
}

/// The path of the list of one Secret, by a field selector; `&watch=true` makes a watch of it.
pub(crate) fn selected(namespace: &str, secret: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets?fieldSelector=metadata.name%3D{secret}")
}

impl Api {
    pub(super) fn new(kubeconfig: Kubeconfig) -> Self {
        Self { client: kubeconfig.client(), kubeconfig }
    }

    /// The same with HTTP/2.
    pub(crate) fn http2(&self) -> Self {
        Self { kubeconfig: self.kubeconfig.clone(), client: self.client.http2() }
    }

    /// Sends a request, whatever the answer; panics where there is none.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, path, body).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same of a server that may not be there.
    pub(crate) async fn try_send(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        let mut connection = self.client.try_connect().await?;
        connection.try_send(self.call(method, path, body)).await.map_err(io::Error::other)
    }

    /// What a path names; panics unless the answer is 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    /// Makes an object, and returns it as it was stored.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Value {
        let answer = self.send("POST", path, Some(object)).await;
        assert_eq!(answer.status, 201, "POST {path}: {}", answer.text());
        answer.json()
    }

    /// A JSON merge patch (RFC 7396).
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Value {
        let answer = self.send("PATCH", path, Some(patch)).await;
        assert_eq!(answer.status, 200, "PATCH {path}: {}", answer.text());
        answer.json()
    }

    pub(crate) async fn delete(&self, path: &str) {
        let answer = self.send("DELETE", path, None).await;
        assert!([200, 202].contains(&answer.status), "DELETE {path}: {}", answer.text());
    }

    /// Opens a watch; `path` is a list's, with a query.
    pub(crate) async fn watch(&self, path: &str) -> Watch {
        let mut connection = self.client.connect().await;
        let call = self.call("GET", &format!("{path}&watch=true"), None);
        let response = connection.begin(call).await.unwrap_or_else(|error| panic!("a watch of {path}: {error}"));
        Watch::of(response)
    }

    /// The API server's own metrics, the sum of one over the series that have these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let answer = self.send("GET", "/metrics", None).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        sum(answer.text(), name, labels)
    }

    /// A connection that stays open; who asks stands in each [`Api::call`].
    pub(crate) async fn connect(&self) -> Connection {
        self.client.connect().await
    }

    pub(super) async fn is_ready(&self) -> bool {
        self.try_send("GET", "/readyz", None).await.is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Call {
        let mut call = Call::new(method, path).header("accept", "application/json");
        if let Some(token) = self.kubeconfig.token() {
            call = call.bearer(token);
        }
        if let Some(body) = body {
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            call = call.header("content-type", kind).body(body.to_string());
        }
        call
    }
}

impl Watch {
    fn of(response: Response<Incoming>) -> Self {
        Self { status: response.status().as_u16(), body: response.into_body(), buffer: BytesMut::new() }
    }

    /// The next event; `None` at the end, also at one that breaks off.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        within("an event of a watch", async {
            loop {
                if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                    let line = self.buffer.split_to(end + 1);
                    return Some(serde_json::from_slice(&line).expect("an event is a line of JSON"));
                }
                let frame = self.body.frame().await?.ok()?;
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
            }
        })
        .await
    }
}

/// The sum of one metric over the series that have these labels, in Prometheus' text format.
fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |series: &str, (label, value): &(&str, &str)| {
        ['{', ','].iter().any(|before| series.contains(&format!("{before}{label}=\"{value}\"")))
    };
    let series = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let rest = series.strip_prefix(name)?;
        let fits = (rest.is_empty() || rest.starts_with('{')) && labels.iter().all(|label| has(rest, label));
        fits.then(|| value.parse::<f64>().expect("a number"))
    });
    series.sum()
}
