//! Bodies of logins: accepted are exactly those that a reader accepts who keeps every member and then looks.
//!
//! Input: a line `densify|redis|refresh MAX_TTL BASIC`, then the body. BASIC: `name:password`, or nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use vestibule::fuzzing::{Login, login, refresh_ttl};
use vestibule::metrics::Dialect;

use crate::json::{Json, is_deep};

pub(crate) fn run(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(line), body) = (std::str::from_utf8(&data[..end]), &data[end + 1..]) else { return };
    let mut words = line.splitn(3, ' ');
    let dialect = words.next().unwrap_or_default();
    let Some(max_ttl) = words.next().and_then(|word| word.parse::<u64>().ok()) else { return };
    let basic = words.next().and_then(|word| word.split_once(':'));
    if is_deep(body) {
        return;
    }
    let model = Json::parse(body);

    if dialect == "refresh" {
        let ttl = refresh_ttl(body, max_ttl);
        match &model {
            _ if body.is_empty() => assert_eq!(ttl, Ok(None)),
            // What is no member of ours is passed over unread.
            None => {}
            Some(json) => assert_eq!(ttl.ok(), body_ttl(json, max_ttl), "{:?}", String::from_utf8_lossy(data)),
        }
        return;
    }
    let (dialect, name, password) = match dialect {
        "densify" => (Dialect::Densify, "userName", "pwd"),
        "redis" => (Dialect::Redis, "username", "password"),
        _ => return,
    };
    let mut headers = HeaderMap::new();
    if let Some((name, password)) = basic {
        let value = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
        headers.insert(AUTHORIZATION, HeaderValue::try_from(value).expect("base64 is visible"));
    }
    let found = login(dialect, &headers, body, max_ttl);
    let mut expected = basic.map(|(name, password)| (name.to_owned(), password.to_owned()));
    let mut ttl = Some(None);
    let mut is_fine = true;
    if !body.is_empty() {
        let Some(json) = &model else { return };
        ttl = body_ttl(json, max_ttl);
        let text = |member| json.get(member).and_then(Json::text).map(str::to_owned);
        match (text(name), text(password)) {
            (Some(name), Some(password)) => {
                let own = (name, password);
                is_fine = expected.as_ref().is_none_or(|other| *other == own);
                expected = Some(own);
            }
            _ => is_fine = !json.has(name) && !json.has(password),
        }
    }
    let expected = expected
        .filter(|(name, password)| is_fine && (1..=256).contains(&name.len()) && !password.is_empty())
        .zip(ttl)
        .map(|((name, password), ttl)| Login { name: name.into_bytes(), password: password.into_bytes(), ttl });
    assert_eq!(found.ok(), expected, "{:?}", String::from_utf8_lossy(data));
}

/// The `ttl` of a body that is an object with each member once; outer `None`: refused.
fn body_ttl(json: &Json, max_ttl: u64) -> Option<Option<u64>> {
    let members = json.object()?;
    let once = members.iter().all(|(name, _)| json.get(name).is_some());
    if !once {
        return None;
    }
    match json.get("ttl") {
        None => Some(None),
        Some(ttl) => ttl.whole().filter(|ttl| (1..=max_ttl.min(86_400)).contains(ttl)).map(Some),
    }
}
