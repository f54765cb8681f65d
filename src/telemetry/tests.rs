//! Whole lines: their form in both formats, and what can and cannot come into them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;

use serde_json::{Value as Json, json};

use super::*;
use crate::metrics::{ClosedSet, Outcome};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn settings(format: Format) -> Settings {
    Settings { format, level: Level::Info, access: true }
}

/// Runs `log` and returns what was written.
fn written(settings: Settings, log: impl FnOnce(&Logger)) -> String {
    let kept = Kept::default();
    let logger = Logger::to_writer(settings, kept.clone()).unwrap();
    log(&logger);
    assert!(logger.flush(Duration::from_secs(10)));
    let bytes = kept.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn parsed(text: &str) -> Json {
    assert_eq!(text.matches('\n').count(), 1, "{text:?}");
    serde_json::from_str(text).expect(text)
}

#[test]
fn a_json_line_has_its_fields_in_order() {
    let text = written(settings(Format::Json), |logger| {
        logger
            .event(Level::Info, EventName::Login, "login granted")
            .field("user", "apiUser")
            .field("source", IpAddr::V6(Ipv6Addr::LOCALHOST))
            .field("peer", SocketAddr::from((Ipv4Addr::LOCALHOST, 80)))
            .field("outcome", Outcome::Login)
            .field("kid", None::<&str>)
            .field("jti", Some("j-1"))
            .field("count", 18_446_744_073_709_551_615_u64)
            .field("skew", -3_i64)
            .field("took_ms", Duration::from_micros(1_234_005))
            .field("first", true)
            .field("why", format_args!("{}-{}", 1, "\"2\""))
            .emit();
    });
    let (timestamp, rest) = text.strip_prefix("{\"timestamp\":\"").unwrap().split_once('"').unwrap();
    assert!(timestamp.parse::<jiff::Timestamp>().is_ok() && timestamp.len() == 24, "{timestamp}");
    assert_eq!(
        rest,
        ",\"level\":\"info\",\"event\":\"login\",\"audit\":true,\"message\":\"login granted\",\
         \"user\":\"apiUser\",\"source\":\"::1\",\"peer\":\"127.0.0.1:80\",\"outcome\":\"login\",\"jti\":\"j-1\",\
         \"count\":18446744073709551615,\"skew\":-3,\"took_ms\":1234.005,\"first\":true,\"why\":\"1-\\\"2\\\"\"}\n"
    );
    parsed(&text);
}

#[test]
fn a_text_line_quotes_what_is_not_a_plain_word() {
    let text = written(settings(Format::Text), |logger| {
        logger
            .event(Level::Warn, EventName::StoreFailed, "cannot read\nthe store")
            .field("path", "/etc/vestibule/users")
            .field("user", "a b=c")
            .field("empty", "")
            .field("forged", "x\n2026-01-01T00:00:00.000Z INFO  login: granted")
            .field("source", IpAddr::V4(Ipv4Addr::LOCALHOST))
            .field("n", 7_u16)
            .emit();
    });
    let (_, rest) = text.split_once(' ').unwrap();
    assert_eq!(
        rest,
        "WARN  store_failed: cannot read\\nthe store path=/etc/vestibule/users user=\"a b=c\" empty=\"\" \
         forged=\"x\\n2026-01-01T00:00:00.000Z INFO  login: granted\" source=127.0.0.1 n=7\n"
    );
}

#[test]
fn whatever_the_bytes_a_line_is_one_json_object() {
    let mut hostile: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![b'a', byte, b'"', byte]).collect();
    hostile.push(b"\",\"user\":\"admin".to_vec());
    hostile.push(b"}\n{\"event\":\"login\"}".to_vec());
    hostile.push(vec![b'\\'; 700]);
    hostile.push(vec![0; 10_000]);
    hostile.push("\u{1f511}".repeat(400).into_bytes());
    for bytes in hostile {
        let lossy = String::from_utf8_lossy(&bytes);
        let text = written(settings(Format::Json), |logger| {
            logger
                .event(Level::Info, EventName::Refusal, &lossy)
                .field("user", bytes.as_slice())
                .field("detail", format_args!("{lossy}"))
                .emit();
        });
        let line = parsed(&text);
        assert_eq!(line["event"], "refusal");
        assert_eq!(line.as_object().unwrap().len(), 7);
        let user = line["user"].as_str().unwrap();
        assert!(user.len() <= 512 + '…'.len_utf8() && lossy.starts_with(user.trim_end_matches('…')));
        assert_eq!(line["user"], line["detail"], "both ways in are bounded alike");
        assert!(text.len() < 20_000);
    }
}

#[test]
fn a_level_that_is_off_writes_nothing() {
    for (level, lines) in [(Level::Error, 1), (Level::Warn, 2), (Level::Info, 3), (Level::Trace, 5)] {
        let text = written(Settings { format: Format::Json, level, access: true }, |logger| {
            for level in Level::ALL {
                assert_eq!(logger.enabled(*level), *level <= logger.settings.level);
                logger.event(*level, EventName::Listening, "up").emit();
            }
        });
        assert_eq!(text.lines().count(), lines, "{level:?}");
    }
    let disabled = Logger::disabled();
    assert!(!disabled.enabled(Level::Error) && disabled.flush(Duration::ZERO));
    disabled.event(Level::Error, EventName::Listening, "up").emit();
}

fn request() -> Access<'static> {
    Access {
        method: "GET",
        path: "/a/b?token=secret",
        protocol: "HTTP/2",
        status: 200,
        outcome: Outcome::Forwarded,
        bytes_in: 0,
        bytes_out: 512,
        duration: Duration::from_micros(2_500),
        upstream: Some(Duration::from_micros(1_001)),
        user: Some("apiUser"),
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        request_id: "r-1",
    }
}

#[test]
fn an_access_line_has_no_query() {
    let text = written(settings(Format::Json), |logger| logger.access(&request()));
    let mut line = parsed(&text);
    line.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(
        line,
        json!({
            "level": "info", "event": "access", "message": "request served", "method": "GET", "path": "/a/b",
            "status": 200, "outcome": "forwarded", "bytes_in": 0, "bytes_out": 512, "duration_ms": 2.5,
            "upstream_ms": 1.001, "user": "apiUser", "source": "192.0.2.1", "request_id": "r-1",
            "protocol": "HTTP/2",
        })
    );
    let bare = Access { user: None, upstream: None, ..request() };
    let line = parsed(&written(settings(Format::Json), |logger| {
        logger.access(&bare);
    }));
    assert!(line.get("user").is_none() && line.get("upstream_ms").is_none());
}

#[test]
fn the_access_log_can_be_switched_off() {
    let off = [
        Settings { access: false, ..settings(Format::Json) },
        Settings { level: Level::Warn, ..settings(Format::Json) },
    ];
    for settings in off {
        let text = written(settings, |logger| {
            assert!(!logger.access_enabled());
            logger.access(&request());
        });
        assert_eq!(text, "");
    }
}

#[test]
fn a_panic_is_an_event_without_its_message() {
    let previous = panic::take_hook();
    let text = written(settings(Format::Json), |logger| {
        logger.catch_panics();
        let thread = std::thread::Builder::new().name("doomed".to_owned());
        let ended = thread.spawn(|| panic!("hunter2")).unwrap().join();
        assert!(ended.is_err());
        drop(panic::take_hook());
    });
    panic::set_hook(previous);
    let line = text.lines().map(parsed_line).find(|line| line["thread"] == "doomed").unwrap();
    assert_eq!(line["event"], "panic");
    assert!(line["location"].as_str().unwrap().contains("tests.rs"));
    assert!(!text.contains("hunter2"));
}

fn parsed_line(line: &str) -> Json {
    serde_json::from_str(line).expect(line)
}

#[test]
fn names_parse_back() {
    for level in Level::ALL {
        assert_eq!(level.as_str().parse(), Ok(*level));
    }
    assert_eq!("text".parse(), Ok(Format::Text));
    assert_eq!("INFO".parse::<Level>(), Err(UnknownName));
    assert_eq!("".parse::<Format>(), Err(UnknownName));
}

#[test]
fn the_documentation_names_every_event() {
    let page = include_str!("../../docs/logs.md");
    let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    for event in EventName::ALL {
        let name = event.as_str();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        let row = rows.iter().find(|row| row.starts_with(&format!("{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not documented"));
        assert_eq!(row.contains("| yes |"), event.is_audit(), "{name}");
    }
}
