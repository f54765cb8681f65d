//! Heads of requests: what the application gets is what a model makes that copies, filters and adds; no identity but ours.
//!
//! Input: a line of flags, then `Name: value` lines. Flags: `b` a good token, `o` a path that is open, `s` shadow mode, `t` a
//! trusted peer, `f` the token is forwarded, `2` HTTP/2, `_` other names for the identity headers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version};
use vestibule::auth::access::{AccessPolicy, Effect, Matcher, Mode, Rule};
use vestibule::auth::claims::Claims;
use vestibule::auth::token::{Expected, mint};
use vestibule::fuzzing::{Doorway, strip_answer};
use vestibule::store::users_document::{self, Source};

use crate::keys;

const NOW: u64 = 1_000_000;
const PEER: &str = "192.0.2.7";
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];
const OVERRIDES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];

thread_local! {
    static DOORWAYS: RefCell<BTreeMap<[bool; 3], Doorway>> = RefCell::default();
}

/// By name, the values in their order.
type Fields = BTreeMap<String, Vec<Vec<u8>>>;

pub(crate) fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let flags = lines.next().unwrap_or_default();
    let flag = |flag: u8| flags.contains(&flag);
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let names = if flag(b'_') { ["remote_user", "x.groups"] } else { ["x-forwarded-user", "x-forwarded-groups"] };
    DOORWAYS.with_borrow_mut(|doorways| {
        let kind = [flag(b'f'), flag(b's'), flag(b'_')];
        let doorway = doorways.entry(kind).or_insert_with(|| doorway(kind, names));
        trailers_and_answers(doorway, &headers, names);
        if flag(b'b') {
            headers.append("authorization", HeaderValue::try_from(format!("Bearer {}", token())).expect("visible"));
        }
        forwarded(doorway, headers, flags, names);
    });
}

fn forwarded(doorway: &Doorway, headers: HeaderMap, flags: &[u8], names: [&str; 2]) {
    let flag = |flag: u8| flags.contains(&flag);
    let version = if flag(b'2') { Version::HTTP_2 } else { Version::HTTP_11 };
    let path = if flag(b'o') { "/open" } else { "/x" };
    let target = if flag(b'2') { format!("https://app.test{path}") } else { path.to_owned() };
    let before = fields(&headers);
    let mut request = Request::builder().uri(target).version(version).body(()).expect("a request");
    *request.headers_mut() = headers;
    let after = doorway.forward(request, PEER.parse().expect("an address"), flag(b't'), NOW);
    let authorizations = before.get("authorization").map_or(0, Vec::len);
    let one_token = flag(b'b') && authorizations == 1;
    let passes = flag(b's') || (authorizations <= 1 && (flag(b'o') || one_token));
    assert_eq!(after.is_some(), passes);
    let Some(after) = after else { return };
    let after = fields(after.headers());

    let is_identified = one_token && !flag(b'o');
    let is_left_alone = flag(b's') && !is_identified;
    if !is_left_alone {
        for (name, own) in names.iter().zip(["alice", "A,B"]) {
            let found: Vec<_> = after.iter().filter(|(other, _)| folded(other) == folded(name)).collect();
            if is_identified {
                assert!(found.len() == 1 && found[0].0 == name && *found[0].1 == [own.as_bytes()], "{found:?}");
            } else {
                assert!(found.is_empty(), "{found:?}");
            }
        }
    }
    assert_eq!(after, model(&before, flags, names, is_identified, is_left_alone));
}

fn model(before: &Fields, flags: &[u8], names: [&str; 2], is_identified: bool, is_left_alone: bool) -> Fields {
    let flag = |flag: u8| flags.contains(&flag);
    let mut after = before.clone();
    let lists = |name: &str, token: &str| list(before, name).iter().any(|item| item == token);
    let named: Vec<String> = list(before, "connection");
    let spared = ["host", "content-length", "x-request-id"];
    after.retain(|name, _| !named.contains(name) || spared.contains(&name.as_str()));
    after.retain(|name, _| {
        let like = folded(name);
        let tells_the_way = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].contains(&&*like);
        let claims = names.iter().any(|own| folded(own) == like) || OVERRIDES.contains(&&*like);
        let goes = HOP_BY_HOP.contains(&name.as_str())
            || (tells_the_way && !(flag(b't') && like == *name))
            || (name == "forwarded" && !flag(b't'))
            || (claims && !is_left_alone)
            || (name == "authorization" && !is_left_alone && !flag(b'f'));
        !goes
    });
    let mut set = |name: &str, value: &[u8]| {
        after.insert(name.to_owned(), vec![value.to_vec()]);
    };
    if lists("te", "trailers") {
        set("te", b"trailers");
    }
    if let Some(protocol) = before.get("upgrade").map(|values| &values[0])
        && !flag(b'2')
        && lists("connection", "upgrade")
        && protocol.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
    {
        let text = String::from_utf8_lossy(protocol).to_lowercase();
        let http =
            |protocol: &str| ["h2c", "h2", "http"].contains(&protocol.trim().split('/').next().unwrap_or_default());
        if !text.split(',').any(http) {
            set("connection", b"upgrade");
            set("upgrade", protocol);
        }
    }
    if is_identified {
        set(names[0], b"alice");
        set(names[1], b"A,B");
    }
    if flag(b'2') {
        set("host", b"app.test");
        if let Some(cookies) = after.get_mut("cookie") {
            *cookies = vec![cookies.join(&b"; "[..])];
        }
    }
    let chain = after.remove("x-forwarded-for").unwrap_or_default();
    let known = chain.into_iter().filter(|value| !value.is_empty()).chain([PEER.into()]).collect::<Vec<_>>();
    after.insert("x-forwarded-for".to_owned(), vec![known.join(&b", "[..])]);
    after.entry("x-forwarded-proto".to_owned()).or_insert(vec![b"https".to_vec()]);
    if let Some(host) = after.get("host").map(|hosts| hosts[0].clone()) {
        after.entry("x-forwarded-host".to_owned()).or_insert(vec![host]);
    }
    after
}

fn trailers_and_answers(doorway: &Doorway, headers: &HeaderMap, names: [&str; 2]) {
    let before = fields(headers);
    for keep_claims in [false, true] {
        let mut trailers = headers.clone();
        doorway.strip_trailers(&mut trailers, keep_claims);
        let mut expected = before.clone();
        expected.retain(|name, _| {
            let like = folded(name);
            let claims = names.iter().any(|own| folded(own) == like) || OVERRIDES.contains(&&*like);
            !(HOP_BY_HOP.contains(&name.as_str())
                || ["host", "content-length", "forwarded"].contains(&name.as_str())
                || ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].contains(&&*like)
                || ((claims || name == "authorization") && !keep_claims))
        });
        assert_eq!(fields(&trailers), expected);
    }
    let mut answer = headers.clone();
    strip_answer(&mut answer);
    let named = list(&before, "connection");
    let mut expected = before;
    let spared = ["host", "content-length", "x-request-id"];
    expected.retain(|name, _| {
        !HOP_BY_HOP.contains(&name.as_str()) && (!named.contains(name) || spared.contains(&name.as_str()))
    });
    assert_eq!(fields(&answer), expected);
}

fn fields(headers: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in headers {
        fields.entry(name.as_str().to_owned()).or_default().push(value.as_bytes().to_vec());
    }
    fields
}

/// The items of a comma-separated list, small.
fn list(fields: &Fields, name: &str) -> Vec<String> {
    let values = fields.get(name).map(Vec::as_slice).unwrap_or_default();
    let text = values.join(&b","[..]).to_ascii_lowercase();
    text.split(|byte| *byte == b',').map(|item| String::from_utf8_lossy(item.trim_ascii()).into_owned()).collect()
}

/// As servers fold names that hand headers on as variables.
fn folded(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

fn token() -> String {
    thread_local! {
        static TOKEN: String = {
            let claims = Claims {
                jti: "j".to_owned(), iat: NOW, sub: "alice".to_owned(), iss: "vestibule".to_owned(), exp: NOW + 1,
                auth_time: NOW, groups: Vec::new(), cred: None, aud: Vec::new(),
            };
            let ring = keys::ring();
            mint(ring.find("o").expect("a key"), &claims).expect("it can sign")
        };
    }
    TOKEN.with(Clone::clone)
}

fn doorway([forward_token, shadow, _]: [bool; 3], names: [&'static str; 2]) -> Doorway {
    let document = BTreeMap::from([("users.yaml".to_owned(), b"users: {alice: {groups: [A, B]}}".to_vec())]);
    let users = users_document::parse(&[Source { name: "", entries: &document }]).expect("one user").users;
    let rule = Rule { matcher: Matcher::Path("/open".to_owned()), methods: None, effect: Effect::Anyone };
    let mode = if shadow { Mode::Shadow } else { Mode::Enforce };
    let policy = AccessPolicy::new(Vec::new(), vec![rule], mode).expect("a plain path");
    let expected = Expected { issuer: "vestibule".to_owned(), audience: None };
    let names = (HeaderName::from_static(names[0]), HeaderName::from_static(names[1]));
    debug_assert_eq!(PEER.parse(), Ok(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))));
    Doorway::new(users, keys::ring(), policy, names, forward_token, expected)
}
