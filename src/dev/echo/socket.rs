//! The echo application's WebSocket: sends back each message that it receives.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::body::EchoBody;
use super::text;

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Switches protocols (RFC 6455, section 4.2.2), or says what is missing for that.
pub(super) fn upgrade(mut request: Request<Incoming>, place: Arc<OwnedSemaphorePermit>) -> Response<EchoBody> {
    let Some(accept) = accept(request.method(), request.headers()) else {
        let message = serde_json::json!({ "message": "/ws takes a WebSocket handshake, version 13", "status": 426 });
        let mut response = text(StatusCode::UPGRADE_REQUIRED, message.to_string());
        response.headers_mut().insert(UPGRADE, WEBSOCKET);
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    };
    tokio::spawn(echo(hyper::upgrade::on(&mut request), place));
    let mut response = Response::new(EchoBody::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// What a handshake is answered with; `None`: it is none.
fn accept(method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    let is = |name, value: &[u8]| headers.get(name).is_some_and(|given| given.as_bytes().eq_ignore_ascii_case(value));
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    if *method != Method::GET || !is(UPGRADE, b"websocket") || !is(SEC_WEBSOCKET_VERSION, b"13") {
        return None;
    }
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()
}

/// Until either side closes; the connection keeps its place that long.
async fn echo(on_upgrade: OnUpgrade, place: Arc<OwnedSemaphorePermit>) {
    let Ok(upgraded) = on_upgrade.await else { return };
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    // Reading answers pings and the close by itself.
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            break;
        }
    }
    drop(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_handshake_is_accepted() {
        // The example of RFC 6455, section 1.3.
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = [("upgrade", "WebSocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", key)];
        let with = |fields: &[(&'static str, &'static str)]| {
            fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
        };
        let headers: HeaderMap = with(&good);
        assert_eq!(accept(&Method::GET, &headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(accept(&Method::POST, &headers).is_none());
        for missing in 0..good.len() {
            let mut fields = good.to_vec();
            fields.remove(missing);
            assert!(accept(&Method::GET, &with(&fields)).is_none(), "{missing}");
        }
        let old = [("upgrade", "websocket"), ("sec-websocket-version", "8"), ("sec-websocket-key", key)];
        assert!(accept(&Method::GET, &with(&old)).is_none());
    }
}
