//! Tunnels end as their protocol wants it, where there is place for it between two frames.

use super::*;

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: ";
/// A text message of five bytes, as a server and as a client sends it.
const PLAIN: &[u8] = b"\x81\x05hello";
const MASKED: &[u8] = b"\x81\x85\0\0\0\0hello";
/// 1001, and why (RFC 6455, section 7.4.1).
const GOING_AWAY: &[u8] = b"\x03\xe9shutting down";

/// What the application sends after it has switched, and what each side sees in the end.
async fn cut(protocol: &str, application_sends: &'static [u8], client_sends: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (seen, mut was_seen) = mpsc::unbounded_channel();
    let switch = format!("{SWITCH}{protocol}\r\n\r\n");
    let app = App::raw(move |mut wire, _| {
        let (seen, switch) = (seen.clone(), switch.clone());
        async move {
            if wire.request().await.is_some() {
                wire.send(switch).await;
                wire.send(application_sends).await;
                seen.send(wire.rest().await).expect("it is read");
            }
        }
    })
    .await;
    let setup = Setup::new().upstream(&app).config(OPEN);
    let mut vestibule = setup.config("shutdown: {delay: 0s, grace: 1s}").start().await;
    let mut wire = vestibule.client().wire().await;
    wire.send(format!("GET /open HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n")).await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    wire.send(client_sends).await;
    assert_eq!(wire.exactly(application_sends.len()).await, application_sends);
    vestibule.signal(Signal::TERM);
    // An error instead of the end would be a reset, or an end without TLS's own.
    let mut at_client = Vec::new();
    within("the end", wire.stream.read_to_end(&mut at_client)).await.expect("an end in order");
    drop(wire);
    let at_application = within("the end", was_seen.recv()).await.expect("a connection");
    assert_eq!(vestibule.ended().await.code(), Some(0));
    let rest = at_application.strip_prefix(client_sends).expect("what the client has sent");
    (at_client, rest.to_vec())
}

/// A close frame as a client sends it, and its payload without the mask.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    assert_eq!((frame[0], usize::from(frame[1])), (0x88, 0x80 + frame.len() - 6), "a masked close frame: {frame:?}");
    frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

#[tokio::test]
async fn both_ends_of_a_web_socket_are_told() {
    let (client, application) = cut("WebSocket", PLAIN, MASKED).await;
    assert_eq!((client[0], usize::from(client[1])), (0x88, client.len() - 2), "a close frame: {client:?}");
    assert_eq!(&client[2..], GOING_AWAY);
    assert_eq!(unmasked(&application), GOING_AWAY);
}

#[tokio::test]
async fn nothing_is_said_within_a_frame() {
    let (client, application) = cut("websocket", b"\x82\x7e\x01\x00begun", MASKED).await;
    assert_eq!(client, b"", "the application's frame of 256 bytes is not at its end");
    assert_eq!(unmasked(&application), GOING_AWAY, "the other direction is");
    let (client, application) = cut("websocket", PLAIN, b"\x82\xfe\x01").await;
    assert_eq!(&client[2..], GOING_AWAY);
    assert_eq!(application, b"");
}

#[tokio::test]
async fn nothing_is_said_after_a_close_frame_or_in_another_protocol() {
    let (client, application) = cut("websocket", b"\x88\x02\x03\xe8", MASKED).await;
    assert_eq!(client, b"");
    assert_eq!(unmasked(&application), GOING_AWAY);
    assert_eq!(cut("own", PLAIN, MASKED).await, (Vec::new(), Vec::new()));
}
