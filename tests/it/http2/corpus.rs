//! Frames that somebody else broke: each costs its own connection and no other.
//!
//! `VESTIBULE_CORPORA` names a folder with `http2-frames/` of http2jp/http2-frame-test-case in it.

use serde_json::Value;

use super::*;

/// Name and bytes of each case of a folder; `None`, said loudly, where there is none.
fn cases(folder: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let Some(corpora) = std::env::var_os("VESTIBULE_CORPORA") else {
        eprintln!("SKIPPED: VESTIBULE_CORPORA names no folder, so `http2-frames/{folder}` is not tested");
        return None;
    };
    let folder = std::path::Path::new(&corpora).join("http2-frames").join(folder);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let case = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("an entry").path();
        let case: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        let wire = case["wire"].as_str().expect("bytes");
        let bytes = wire.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
        let bytes = bytes.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect();
        (path.file_name().expect("a name").to_string_lossy().into_owned(), bytes)
    };
    Some(files.map(case).collect())
}

async fn unharmed(vestibule: &Vestibule, what: &str) {
    let answer = vestibule.client().http2().send(get("/open")).await;
    assert_eq!(answer.status, 200, "after {what}");
}

#[tokio::test]
async fn broken_frames_end_their_own_connection() {
    let Some(cases) = cases("error") else { return };
    assert!(cases.len() >= 20, "{} cases", cases.len());
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for (name, bytes) in &cases {
        let mut frames = Frames::connect(&vestibule.client()).await;
        // An open stream, for frames that need one.
        let block =
            fields(&[(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/open")]);
        frames.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
        frames.send(bytes).await;
        frames.send(&frame(PING, 0, 0, b"are you?")).await;
        let mut ended = true;
        while let Some(next) = frames.next().await {
            if next.kind == GOAWAY || next.kind == RST_STREAM {
                break;
            }
            if next.kind == PING && next.flags & 1 == 1 {
                ended = false;
                break;
            }
        }
        assert!(ended, "{name} was taken as if it were good");
        unharmed(&vestibule, name).await;
    }
}

#[tokio::test]
async fn frames_at_the_wrong_moment_hurt_nobody() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for folder in ["data", "headers", "priority", "rst_stream", "settings", "push_promise", "ping", "goaway"]
        .into_iter()
        .chain(["window_update", "continuation"])
    {
        let Some(cases) = cases(folder) else { return };
        for (name, bytes) in cases {
            let mut frames = Frames::connect(&vestibule.client()).await;
            frames.send(&bytes).await;
            frames.send(&bytes.repeat(3)).await;
            drop(frames);
            unharmed(&vestibule, &format!("{folder}/{name}")).await;
        }
    }
}

/// The preface, cut off and garbled.
#[tokio::test]
async fn a_broken_preface_hurts_nobody() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[0; 1000], b"PRI"] {
        let stream = vestibule.client().http2().tls_stream().await.expect("a handshake");
        let mut wire = Wire::new(stream);
        wire.send(bytes).await;
        if bytes.len() > 3 {
            let rest = wire.rest().await;
            assert!(!rest.windows(8).any(|part| part == b"HTTP/1.1"), "{rest:?}");
        }
        unharmed(&vestibule, "a broken preface").await;
    }
    assert!(app.seen().iter().all(|seen| seen.target == "/open"));
}
