//! The answer that shows what was received: method, path, headers, body.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;

use super::body::EchoBody;
use super::{bad, text};

/// Bytes of a body that are shown; all are read and counted.
const SHOWN: usize = 4_096;

/// The largest body that is read.
const MAX_BODY: u64 = 1 << 30;

/// How long a body may rest between two of its parts.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Received<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    protocol: String,
    headers: BTreeMap<&'a str, Values>,
    /// The first [`SHOWN`] bytes, as text.
    body: String,
    body_bytes: u64,
}

/// A header's values; most have one.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

pub(super) async fn answer(request: Request<Incoming>) -> Response<EchoBody> {
    let (head, body) = request.into_parts();
    let (body, body_bytes) = match read(body).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let received = Received {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        protocol: format!("{:?}", head.version),
        headers: headers(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
        body_bytes,
    };
    match serde_json::to_string_pretty(&received) {
        Ok(json) => text(StatusCode::OK, json),
        Err(_) => bad("The request cannot be shown as JSON"),
    }
}

/// The first bytes of a body, and how many it had.
async fn read(mut body: Incoming) -> Result<(Vec<u8>, u64), Response<EchoBody>> {
    let mut shown = Vec::new();
    let mut bytes = 0;
    loop {
        match tokio::time::timeout(BODY_TIMEOUT, body.frame()).await {
            Err(_) => return Err(refusal(StatusCode::REQUEST_TIMEOUT, "The body did not come in time")),
            Ok(Some(Err(_))) => return Err(bad("The body broke off")),
            Ok(None) => return Ok((shown, bytes)),
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                bytes += data.len() as u64;
                if bytes > MAX_BODY {
                    return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 1 GiB"));
                }
                let room = SHOWN - shown.len();
                shown.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
    }
}

fn refusal(status: StatusCode, message: &str) -> Response<EchoBody> {
    text(status, serde_json::json!({ "message": message, "status": status.as_u16() }).to_string())
}

fn headers(headers: &HeaderMap) -> BTreeMap<&str, Values> {
    let value = |name: &str| {
        let mut values: Vec<String> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        match values.pop() {
            Some(only) if values.is_empty() => Values::One(only),
            last => {
                values.extend(last);
                Values::Several(values)
            }
        }
    };
    headers.keys().map(|name| (name.as_str(), value(name.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_header_is_shown_with_all_its_values() {
        let mut map = HeaderMap::new();
        map.append("x-one", HeaderValue::from_static("1"));
        map.append("x-two", HeaderValue::from_static("a"));
        map.append("x-two", HeaderValue::from_static("b"));
        map.append("x-odd", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let shown = serde_json::to_value(headers(&map)).unwrap();
        assert_eq!(shown, serde_json::json!({ "x-one": "1", "x-two": ["a", "b"], "x-odd": "caf\u{fffd}" }));
    }
}
