//! The parts that need no connection, each by itself.

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{HeaderName, Request};
use vestibule::auth::access::{AccessPolicy, Effect, Matcher, Mode, Rule};
use vestibule::auth::keys::Algorithm;
use vestibule::auth::path::ambiguity;
use vestibule::auth::throttle::{self, AttemptDigest, Decision, Source, Throttle};
use vestibule::auth::{rotation, token};
use vestibule::counting::Judge;
use vestibule::metrics::{Metrics, Outcome};
use vestibule::store::keys_document;
use vestibule::telemetry::{Access, Format, Level, Logger, Settings};

use super::marks::{counted, left_out};
use super::material::{self, KEYS, NOW};

pub(crate) fn verify_hs512(times: u64) {
    verify(Algorithm::Hs512, times);
}

pub(crate) fn verify_es256(times: u64) {
    verify(Algorithm::Es256, times);
}

pub(crate) fn verify_eddsa(times: u64) {
    verify(Algorithm::EdDsa, times);
}

pub(crate) fn mint_hs512(times: u64) {
    mint(Algorithm::Hs512, times);
}

pub(crate) fn mint_es256(times: u64) {
    mint(Algorithm::Es256, times);
}

pub(crate) fn mint_eddsa(times: u64) {
    mint(Algorithm::EdDsa, times);
}

fn verify(algorithm: Algorithm, times: u64) {
    let (ring, key, expected) = (material::ring(), material::key(algorithm), material::expected());
    let tokens: Vec<String> = (0..=times).map(|number| material::token(&key, number, NOW)).collect();
    again(times, |number| {
        token::verify(black_box(&tokens[number as usize]), &ring, NOW, &expected).expect("a good token");
    });
}

fn mint(algorithm: Algorithm, times: u64) {
    let key = material::key(algorithm);
    let claims = material::claims(0, NOW);
    again(times, |_| {
        black_box(token::mint(&key, black_box(&claims)).expect("the keys can sign"));
    });
}

pub(crate) fn judge(times: u64) {
    judge_by(Vec::new(), times);
}

pub(crate) fn judge_500_rules(times: u64) {
    judge_by(rules(), times);
}

fn judge_by(rules: Vec<Rule>, times: u64) {
    let (judge, request) = (judge_with(rules), request());
    again(times, |_| {
        black_box(judge.judge(black_box(&request), NOW).expect("it may pass"));
    });
}

pub(crate) fn path_500_rules(times: u64) {
    const PATHS: [&str; 8] = [
        "/",
        "/area-7/item-4/details",
        "/area-3/item-9?with=query",
        "/AREA-1/ITEM-2",
        "/assets/app.js",
        "/area-5/%69tem-5",
        "/area-5/../item-5",
        "/a/rather/long/path/that/no/rule/is/for/index.html",
    ];
    let policy = policy(rules());
    again(times, |_| {
        for path in PATHS {
            black_box(ambiguity(black_box(path)));
            black_box(policy.decide_route("GET", black_box(path)));
        }
    });
}

pub(crate) fn headers(times: u64) {
    let (judge, request) = (judge_with(Vec::new()), request());
    let leave = judge.judge(&request, NOW).expect("it may pass");
    let mut head = None;
    again(times, |_| {
        left_out(&mut || head = Some(request.clone().into_parts().0));
        judge.rewrite(head.as_mut().expect("it has just been set"), &leave);
    });
}

pub(crate) fn throttle_granted(times: u64) {
    throttle_by(throttle::Outcome::Granted, times);
}

pub(crate) fn throttle_denied(times: u64) {
    throttle_by(throttle::Outcome::Denied, times);
}

fn throttle_by(outcome: throttle::Outcome, times: u64) {
    let digest = AttemptDigest::generate().expect("randomness");
    let mut throttle = Throttle::new(throttle::Policy::default());
    again(times, |number| {
        let account = (number as u32).to_be_bytes();
        let now = Duration::from_millis(number);
        let key = digest.key(&account, Source::from(IpAddr::V4(Ipv4Addr::from_bits(number as u32))));
        let decision = throttle.begin(key, digest.fingerprint(&account, b"a password of some length"), now);
        let Decision::Check(ticket) = decision else { panic!("each is an account of its own") };
        assert!(throttle.finish(ticket, outcome, now).is_empty(), "nobody waits");
    });
}

pub(crate) fn users(times: u64) {
    let entries = material::users_entries();
    again(times, |_| {
        black_box(material::users(black_box(&entries)));
    });
}

pub(crate) fn users_htpasswd(times: u64) {
    let entries = material::htpasswd_entries();
    again(times, |_| {
        black_box(material::users(black_box(&entries)));
    });
}

pub(crate) fn keys(times: u64) {
    again(times, |_| {
        black_box(keys_document::parse(black_box(KEYS.as_bytes())).expect("a sound document"));
    });
}

pub(crate) fn rotation(times: u64) {
    let ring = material::ring();
    let policy = rotation::Policy {
        algorithm: Algorithm::Hs512,
        rotate_every: 30 * 86_400,
        propagation: 600,
        max_ttl: 86_400,
        ttl: 3_600,
    };
    again(times, |number| {
        black_box(rotation::plan(black_box(&ring), NOW + number, &policy));
    });
}

pub(crate) fn metrics(times: u64) {
    let metrics = Metrics::new();
    again(times, |number| {
        let _in_flight = metrics.in_flight();
        let took = Duration::from_micros(200 + number * 7);
        metrics.upstream_answered(took);
        metrics.request(Outcome::Forwarded, 200, took);
    });
}

pub(crate) fn log(times: u64) {
    let settings = Settings { format: Format::Json, level: Level::Info, access: true };
    let logger = Logger::to_writer(settings, io::sink()).expect("a thread");
    again(times, |number| {
        // Before the writer comes by itself, at whatever line: what is buffered is the same each time.
        if number % 20 == 0 {
            left_out(&mut || assert!(logger.flush(Duration::from_secs(10)), "it takes milliseconds"));
        }
        logger.access(&Access {
            method: "GET",
            path: black_box("/api/v1/items/4711?with=query"),
            protocol: "HTTP/1.1",
            status: 200,
            outcome: Outcome::Forwarded,
            bytes_in: 0,
            bytes_out: 1011,
            duration: Duration::from_micros(1234 + number),
            upstream: Some(Duration::from_micros(1000 + number)),
            user: Some(material::USER),
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            request_id: "9f0c5b52-7f1c-4d5e-9a53-0a6a3f3f8f10",
        });
    });
}

/// Once before it counts: what is made at the first use is no part of it.
fn again(times: u64, mut work: impl FnMut(u64)) {
    work(0);
    counted(&mut || (1..=times).for_each(&mut work));
}

fn judge_with(rules: Vec<Rule>) -> Judge {
    let users = material::users(&material::users_entries());
    let names = [HeaderName::from_static("x-forwarded-user"), HeaderName::from_static("x-forwarded-groups")];
    Judge::new(users, material::ring(), policy(rules), names.into(), material::expected())
}

fn policy(rules: Vec<Rule>) -> AccessPolicy {
    let api_groups = vec!["Administrator".to_owned(), "SaaS_User".to_owned()];
    AccessPolicy::new(api_groups, rules, Mode::Enforce).expect("sound rules")
}

/// Ten areas of fifty rules.
fn rules() -> Vec<Rule> {
    let rule = |number: usize| {
        let path = format!("/area-{}/item-{}", number % 10, number / 10);
        let (matcher, effect) = match number % 3 {
            0 => (Matcher::Path(path), Effect::Anyone),
            1 => (Matcher::Prefix(path), Effect::Authenticated),
            _ => (Matcher::Prefix(path), Effect::Groups(vec!["Readers".to_owned()])),
        };
        Rule { matcher, methods: None, effect }
    };
    (0..500).map(rule).collect()
}

/// As a browser sends it, behind a proxy, with something that must go; with the `Host` 14 headers.
fn request() -> Request<()> {
    let token = material::token(&material::key(Algorithm::Hs512), 0, NOW);
    Request::get("/area-7/item-44/details?with=query")
        .header("host", "service.example.org")
        .header("authorization", format!("Bearer {token}"))
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-encoding", "gzip, deflate, br")
        .header("accept-language", "en-GB,en;q=0.5")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
        .header("cookie", "session=0123456789abcdef; theme=dark")
        .header("referer", "https://service.example.org/area-7")
        .header("cache-control", "no-cache")
        .header("connection", "keep-alive")
        .header("x-request-id", "9f0c5b52-7f1c-4d5e-9a53-0a6a3f3f8f10")
        .header("x-forwarded-for", "192.0.2.7")
        .header("x-forwarded-proto", "http")
        .header("x-forwarded-user", "somebody-else")
        .body(())
        .expect("a sound request")
}
