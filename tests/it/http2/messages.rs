//! Requests over HTTP/2 that are malformed, or say two things.

use super::*;

/// The status of the answer to these fields, or `None` where the stream or the connection ended without one.
async fn ask(vestibule: &Vestibule, pairs: &[(&str, &str)]) -> Option<u16> {
    let mut frames = Frames::connect(&vestibule.client()).await;
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(pairs))).await;
    while let Some(next) = frames.next().await {
        match next.kind {
            RST_STREAM | GOAWAY => return None,
            // The status comes first; either an index of HPACK's static table or a literal.
            HEADERS => {
                return Some(match next.payload[0] {
                    0x88 => 200,
                    0x8c => 400,
                    0x8d => 404,
                    0x48 | 0x08 => {
                        let text = &next.payload[2..];
                        let huffman = next.payload[1] & 0x80 != 0;
                        // "401", "403" and so on are no static entries; compressed they are told by their bits.
                        if huffman { huffman_status(text) } else { parse(&text[..3]) }
                    }
                    other => panic!("an unknown status: {other:x} {next:?}"),
                });
            }
            _ => {}
        }
    }
    None
}

fn parse(text: &[u8]) -> u16 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a status")
}

/// The digits 0, 1 and 2 take five bits, the others six (RFC 7541, appendix B).
fn huffman_status(bytes: &[u8]) -> u16 {
    let bits: String = bytes.iter().take(3).map(|byte| format!("{byte:08b}")).collect();
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&bits[at..at + 5], 2).expect("bits");
        if five <= 2 {
            status = status * 10 + five;
            at += 5;
        } else {
            let six = u16::from_str_radix(&bits[at..at + 6], 2).expect("bits");
            status = status * 10 + (six - 0b01_1001) + 3;
            at += 6;
        }
    }
    status
}

const GOOD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/open")];

fn with<'a>(name: &str, value: Option<&'a str>, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<(&str, &str)> = GOOD.to_vec();
    match value {
        Some(value) => all.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, old)| *old = value),
        None => all.retain(|(known, _)| *known != name),
    }
    all.extend(more);
    all
}

#[tokio::test]
async fn one_authority_and_no_other() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    assert_eq!(ask(&vestibule, &GOOD).await, Some(200));
    assert_eq!(ask(&vestibule, &with("", Some(""), &[("host", "localhost")])).await, Some(200));
    assert_eq!(ask(&vestibule, &with(":authority", None, &[("host", "localhost")])).await, Some(200));
    let before = app.seen().len();
    for (what, pairs) in [
        ("another host", with("", Some(""), &[("host", "other")])),
        ("two hosts", with("", Some(""), &[("host", "localhost"), ("host", "localhost")])),
        ("no authority", with(":authority", None, &[])),
        ("an empty authority", with(":authority", Some(""), &[])),
        ("user information", with(":authority", Some("u@localhost"), &[])),
        ("no path", with(":path", None, &[])),
        ("an empty path", with(":path", Some(""), &[])),
        ("no method", with(":method", None, &[])),
        ("no scheme", with(":scheme", None, &[])),
        ("a path twice", with("", Some(""), &[(":path", "/open")])),
        ("an unknown pseudo-field", with("", Some(""), &[(":other", "x")])),
        ("a pseudo-field of answers", with("", Some(""), &[(":status", "200")])),
        ("a pseudo-field after others", with(":path", None, &[("x-a", "b"), (":path", "/open")])),
        ("a name in capitals", with("", Some(""), &[("X-A", "b")])),
        ("a field of the connection", with("", Some(""), &[("connection", "close")])),
        ("an encoding of HTTP/1.1", with("", Some(""), &[("transfer-encoding", "chunked")])),
        ("an upgrade", with("", Some(""), &[("upgrade", "h2c")])),
        ("NUL in a value", with("", Some(""), &[("x-a", "b\0c")])),
        ("a line break in a value", with("", Some(""), &[("x-a", "b\r\nx-forwarded-user: root")])),
        ("a space in a name", with("", Some(""), &[("x a", "b")])),
        ("a space in the path", with(":path", Some("/open x"), &[])),
        ("a relative path", with(":path", Some("open"), &[])),
        ("a line break in the path", with(":path", Some("/open HTTP/1.1\r\nx: y"), &[])),
        ("a length that is none", with("", Some(""), &[("content-length", "x")])),
        ("a length without a body", with("", Some(""), &[("content-length", "5")])),
        ("CONNECT", with(":method", Some("CONNECT"), &[])),
    ] {
        let status = ask(&vestibule, &pairs).await;
        assert!(matches!(status, None | Some(400)), "{what}: {status:?}");
        assert_eq!(app.seen().len(), before, "{what}");
    }
    assert_eq!(ask(&vestibule, &GOOD).await, Some(200));
}

/// The HTTP library cuts a fragment off before anybody judges: then the application does not see it either.
#[tokio::test]
async fn a_fragment_over_http2_is_refused_or_cut_off() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for (path, judged) in [("/open#x", Some(200)), ("/closed#/open", Some(401)), ("/open/#/../closed", Some(200))] {
        let status = ask(&vestibule, &with(":path", Some(path), &[])).await;
        assert!(status == judged || matches!(status, None | Some(400)), "{path}: {status:?}");
    }
    assert!(app.seen().iter().all(|seen| ["/open", "/open/"].contains(&seen.target.as_str())), "{:?}", app.seen());
}

/// What is our own refusal has our form.
#[tokio::test]
async fn another_host_is_refused_in_our_form() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut connection = vestibule.client().http2().connect().await;
    let answer = connection.send(get("/open").header("host", "other")).await;
    assert_eq!((answer.status, answer.json()["status"].as_u64()), (400, Some(400)));
    assert_eq!(connection.send(get("/open")).await.status, 200, "the connection goes on");
    assert_eq!(app.seen().len(), 1);
}

/// Lengths and data must agree (RFC 9113, section 8.1.1).
#[tokio::test]
async fn more_or_less_data_than_said_is_no_request() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for length in ["2", "9"] {
        let mut frames = Frames::connect(&vestibule.client()).await;
        let block = fields(&with(":method", Some("POST"), &[("content-length", length)]));
        let data = frame(DATA, END_STREAM, 1, b"hello");
        frames.send(&[frame(HEADERS, END_HEADERS, 1, &block), data].concat()).await;
        let reset = async {
            while let Some(next) = frames.next().await {
                if next.kind == RST_STREAM || next.kind == GOAWAY {
                    return true;
                }
                // A refusal is as good.
                if next.kind == HEADERS && next.payload[0] != 0x88 {
                    return true;
                }
            }
            true
        };
        assert!(within("an end", reset).await, "{length}");
        assert_eq!(app.seen().len(), 0, "{length}");
    }
}
