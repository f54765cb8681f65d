//! `vestibule dev` as a newcomer meets it: it makes what it needs, and what it prints works.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use self::support::{Dev, bash, block_on, files, lacks_curl};

#[test]
fn the_printed_lines_work_in_bash_as_they_are() {
    if lacks_curl() {
        return;
    }
    let parent = TempDir::new().unwrap();
    // A name that a shell would take apart.
    let dev = Dev::start(&parent.path().join("it's a $dir"), &[]);
    let commands = dev.commands();
    assert_eq!(commands.len(), 5, "{commands:?}");
    assert!(commands.iter().all(|command| !command.contains(" -k")));

    let called = bash(&format!("{}\n{}", commands[0], commands[1]), &[]);
    let seen: Value = serde_json::from_str(&called).unwrap_or_else(|_| panic!("{called}"));
    assert_eq!((&seen["method"], &seen["path"]), (&Value::from("GET"), &Value::from("/hello")));
    assert_eq!(seen["headers"]["x-forwarded-user"], "admin");
    assert_eq!(seen["headers"]["x-forwarded-groups"], "Administrator");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "https");
    assert_eq!(seen["headers"].get("authorization"), None);

    let refused = bash(&commands[2], &[]);
    assert!(refused.contains(" 401") && refused.contains("Bearer realm="), "{refused}");
    let events = bash(&format!("{}\n{}", commands[0], commands[3]), &[]);
    assert_eq!(events, "id: 1\ndata: {\"event\":1}\n\nid: 2\ndata: {\"event\":2}\n\n");
    assert!(bash(&commands[4], &[]).contains("vestibule_requests_total"));

    // And pasted as one block, comments and all.
    let block = dev.printed();
    let block = &block[block.find("# Logs in").unwrap()..];
    let all = bash(block, &[]);
    assert!(all.contains("\"x-forwarded-user\": \"admin\"") && all.contains(" 401") && all.contains("id: 2"), "{all}");
}

#[test]
fn a_second_start_reuses_everything_and_tells_no_password() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("dev");
    let first = Dev::start(&dir, &[]);
    let password = first.password().expect("the first start shows a password");
    let printed = first.printed();
    assert_eq!(first.stop(), Some(0));
    let before = files(&dir);
    for name in ["tls/ca.crt", "tls/ca.key", "tls/tls.crt", "tls/tls.key", "users/users.yaml", "keys/keys.jwks"] {
        assert!(before.contains_key(Path::new(name)), "{name}: {:?}", before.keys());
        let text = String::from_utf8_lossy(&before[Path::new(name)]);
        assert!(!text.contains(&password), "{name}");
    }
    for name in ["tls/ca.key", "tls/tls.key", "users/users.yaml", "keys/keys.jwks"] {
        assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(before[Path::new(".gitignore")], b"*\n");

    let second = Dev::start(&dir, &[]);
    assert_eq!(files(&dir), before);
    assert_eq!(second.password(), None);
    let text = second.printed();
    assert!(!text.contains(&password) && printed.contains(&password));
    assert!(text.contains(" users passwd admin --dir ") && text.contains(" --generate"), "{text}");
    assert!(!second.log().contains(&password));
    if !lacks_curl() {
        let commands = second.commands();
        let called = bash(&format!("{}\n{}", commands[0], commands[1]), &[("PASSWORD", &password)]);
        assert!(called.contains("\"x-forwarded-user\": \"admin\""), "{called}");
    }
}

#[test]
fn events_come_at_once_and_slow_answers_when_they_are_due() {
    let parent = TempDir::new().unwrap();
    let dev = Dev::start(&parent.path().join("dev"), &[]);
    block_on(async {
        let token = dev.token().await;
        let started = Instant::now();
        let event = dev.request_until(&get("/sse", &token), "\n\n\r\n").await;
        assert!(event.contains("text/event-stream") && event.contains("id: 1\n"), "{event}");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

        let started = Instant::now();
        let slow = dev.request(&get("/slow?ms=400", &token)).await;
        assert!(slow.starts_with("HTTP/1.1 200") && slow.contains("\"query\": \"ms=400\""), "{slow}");
        assert!((400..2_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());

        for (path, status) in
            [("/slow?ms=x", "400"), ("/slow?ms=60001", "400"), ("/status/418", "418"), ("/status/99", "400")]
        {
            let answer = dev.request(&get(path, &token)).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        }
        let empty = dev.request(&get("/status/204", &token)).await;
        assert!(empty.starts_with("HTTP/1.1 204") && empty.ends_with("\r\n\r\n"), "{empty}");
        let bytes = dev.request(&get("/bytes/100000", &token)).await;
        let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains("content-length: 100000"), "{head}");
        assert_eq!(body.len(), 100_000);
        let head = dev.request(&get("/hello", &token).replacen("GET", "HEAD", 1)).await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    });
}

#[test]
fn the_echo_shows_what_the_application_receives() {
    let parent = TempDir::new().unwrap();
    let dev = Dev::start(&parent.path().join("dev"), &[]);
    block_on(async {
        let token = dev.token().await;
        let body = "x".repeat(5_000);
        let request = format!(
            "POST /a/b?c=d HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nX_Forwarded_User: mallory\r\n\
             X-Twice: 1\r\nX-Twice: 2\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = dev.request(&request).await;
        let (_, json) = answer.split_once("\r\n\r\n").unwrap();
        let seen: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("{answer}"));
        assert_eq!(seen["method"], "POST");
        assert_eq!((&seen["path"], &seen["query"]), (&Value::from("/a/b"), &Value::from("c=d")));
        assert_eq!(seen["headers"]["x-twice"], serde_json::json!(["1", "2"]));
        assert_eq!(seen["headers"]["x-forwarded-user"], "admin");
        assert_eq!(seen["headers"].get("x_forwarded_user"), None);
        assert!(!answer.contains(&token));
        assert_eq!(seen["body"].as_str().map(str::len), Some(4_096));
        assert_eq!(seen["bodyBytes"], 5_000);
    });
}

#[test]
fn a_websocket_is_echoed_through_the_proxy() {
    let parent = TempDir::new().unwrap();
    let dev = Dev::start(&parent.path().join("dev"), &[]);
    block_on(async {
        let token = dev.token().await;
        let mut request = "wss://localhost/ws".into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::client_async(request, dev.connect().await).await.unwrap();
        let large = "x".repeat(200_000);
        for message in [Message::text("hello"), Message::binary(vec![0, 255, 1]), Message::text(large)] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
        socket.send(Message::Ping(Bytes::from_static(b"p"))).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"p")));
        socket.close(None).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));

        let plain = dev.request(&get("/ws", &token)).await;
        assert!(plain.starts_with("HTTP/1.1 426"), "{plain}");
    });
}

#[test]
fn an_application_of_ones_own_takes_the_place_of_the_echo() {
    let parent = TempDir::new().unwrap();
    // Where nothing listens any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dev = Dev::start(&parent.path().join("dev"), &["--upstream", &format!("http://{gone}")]);
    assert_eq!(dev.commands().len(), 4, "{:?}", dev.commands());
    assert!(dev.printed().contains("your application"));
    block_on(async {
        let token = dev.token().await;
        assert!(dev.request(&get("/", &token)).await.starts_with("HTTP/1.1 502"));
    });
}

#[test]
fn an_address_in_use_ends_it_before_anything_is_written() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("dev");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin"] {
        let (code, errors) = Dev::fail(&dir, &[flag, &taken]);
        assert_eq!(code, Some(64), "{errors}");
        assert!(errors.contains(&taken) && errors.contains(flag) && errors.lines().count() == 1, "{errors}");
        assert!(!dir.exists());
    }
    for flags in [
        &["--upstream", "nonsense"][..],
        &["--store-directory-users", "/x"],
        &["--tls-client-ca", "/not/there"],
        &["--no-such-flag"],
    ] {
        let (code, errors) = Dev::fail(&dir, flags);
        assert_eq!(code, Some(64), "{errors}");
        assert!(!dir.exists(), "{flags:?}");
    }
}

#[test]
fn a_broken_file_is_told_with_its_mend_and_left_alone() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("dev");
    assert_eq!(Dev::start(&dir, &[]).stop(), Some(0));
    for name in ["tls/ca.crt", "tls/ca.key", "tls/tls.crt", "tls/tls.key", "users/users.yaml", "keys/keys.jwks"] {
        let good = fs::read(dir.join(name)).unwrap();
        fs::write(dir.join(name), "{broken").unwrap();
        let before = files(&dir);
        let (code, errors) = Dev::fail(&dir, &[]);
        assert_eq!(code, Some(64), "{name}: {errors}");
        assert!(errors.contains(name.split('/').next_back().unwrap()) && errors.contains("remove"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert_eq!(files(&dir), before, "{name}");
        fs::write(dir.join(name), good).unwrap();
    }
    // Each is made again where it is gone.
    for name in ["tls/ca.crt", "tls/ca.key", "tls/tls.crt", "tls/tls.key", "users/users.yaml", "keys/keys.jwks"] {
        fs::remove_file(dir.join(name)).unwrap();
        let again = Dev::start(&dir, &[]);
        assert!(dir.join(name).exists(), "{name}");
        assert_eq!(again.password().is_some(), name.starts_with("users/"), "{name}");
        assert_eq!(again.stop(), Some(0));
    }
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n")
}
