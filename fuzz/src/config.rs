//! The configuration: what is accepted, written as a file, as flags and as variables, is accepted again and is the same; its
//! rules are rules; what is refused is said in one line.
//!
//! Input: the file; or, after a NUL, two bytes for each setting that it has: which one, and which value of its shape.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};
use vestibule::auth::access::{AccessPolicy, Effect, Matcher, Mode, Rule};
use vestibule::config::{
    Certificate, Config, RuleEffect, RuleMatch, SETTINGS, Setting, Shape, Store, Upstream, setting,
};

/// What a file must have, whatever else it says.
const BASE: [(&str, &str); 5] = [
    ("upstream", "http://127.0.0.1:8080"),
    ("tls.certificate", "/tls.crt"),
    ("tls.key", "/tls.key"),
    ("store.directory.users", "/users"),
    ("store.directory.keys", "/keys"),
];

pub(crate) fn run(data: &[u8]) {
    match data.strip_prefix(b"\0") {
        Some(choices) => judge(chosen(choices).as_bytes()),
        None => judge(data),
    }
}

/// Text that is mutated seldom has two settings that are right by themselves and do not fit each other.
fn chosen(choices: &[u8]) -> String {
    let mut file = json!({});
    for (key, value) in BASE {
        put(&mut file, key, json!(value));
    }
    for choice in choices.chunks_exact(2) {
        let setting = &SETTINGS[usize::from(choice[0]) % SETTINGS.len()];
        put(&mut file, setting.key, value(setting, usize::from(choice[1])));
    }
    file.to_string()
}

fn value(setting: &Setting, choice: usize) -> Value {
    let number = 1_u64 << (choice % 32);
    match setting.shape {
        Shape::Span { .. } | Shape::Seconds { .. } => json!(format!("{number}s")),
        Shape::Count { .. } | Shape::Bytes { .. } => json!(number),
        Shape::Number { .. } => json!(choice as f64 / 16.0),
        Shape::Bool => json!(choice % 2 == 0),
        Shape::Choice(choices) => json!(choices[choice % choices.len()]),
        Shape::Address => json!(format!("127.0.0.1:{}", choice % 8)),
        Shape::Header => Value::from(["X-User", "x_user", "X-Groups", "Host"][choice % 4]),
        Shape::Paths => vec![["/a", "/b", "/c", "c"][choice % 4]].into(),
        _ => serde_json::from_str(setting.example()).unwrap_or_else(|_| json!(setting.example())),
    }
}

fn judge(data: &[u8]) {
    let loaded = match load_file(data) {
        Ok(loaded) => loaded,
        Err(said) => return assert!(!said.contains(char::is_control), "{said:?}"),
    };
    let config = loaded.config;
    is_consistent(&config);

    let settings = settings(&config);
    let mut file = json!({});
    for (key, value) in &settings {
        put(&mut file, key, value.clone());
    }
    let again = load_file(file.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}: {file}"));
    assert_eq!(again.config, config, "{file}");

    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), quoted);
    // Null takes a section back, empty counts as unset.
    let given = settings.iter().filter(|(_, value)| !value.is_null());
    let flags: Vec<_> = given.clone().map(|(key, value)| (setting(key).expect("a setting"), text(value))).collect();
    let nulls: Vec<_> = settings.iter().filter(|(_, value)| value.is_null()).collect();
    let nulled = nulls.iter().map(|(key, _)| (setting(key).expect("a setting"), "null".to_owned()));
    let again = Config::load(None, [], flags.iter().cloned().chain(nulled.clone()));
    let again = again.unwrap_or_else(|error| panic!("{error}: {flags:?}"));
    assert_eq!(again.config, config, "{flags:?}");

    let variables = flags.into_iter().chain(nulled).map(|(setting, text)| (setting.variable(), text));
    let again = Config::load(None, variables, []).unwrap_or_else(|error| panic!("{error}: as variables"));
    assert!(again.warnings.is_empty());
    assert_eq!(again.config, config);
}

fn load_file(text: &[u8]) -> Result<vestibule::config::Loaded, String> {
    thread_local! {
        static FILE: (PathBuf, std::cell::RefCell<std::fs::File>) = {
            let name = std::env::temp_dir().join(format!("vestibule-fuzz-{}-{:?}.yaml", std::process::id(), std::thread::current().id()));
            let file = std::fs::File::create_new(&name).expect("a temporary file");
            // libFuzzer ends without a drop: it has no name from now on.
            std::fs::remove_file(name).expect("it is ours");
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)).into();
            (path, file.into())
        };
    }
    FILE.with(|(path, file)| {
        let mut file = file.borrow_mut();
        file.set_len(0).expect("it can be cut");
        std::io::Seek::rewind(&mut *file).expect("it can be rewound");
        file.write_all(text).expect("it can be written");
        Config::load(Some(path), [], []).map_err(|error| error.to_string())
    })
}

/// What one setting cannot see of another.
fn is_consistent(config: &Config) {
    let rules = config.access.rules.iter().map(|rule| Rule {
        matcher: match &rule.matcher {
            RuleMatch::Path(path) => Matcher::Path(path.clone()),
            RuleMatch::Prefix(path) => Matcher::Prefix(path.clone()),
        },
        methods: rule.methods.clone(),
        effect: match &rule.effect {
            RuleEffect::Anyone => Effect::Anyone,
            RuleEffect::Authenticated => Effect::Authenticated,
            RuleEffect::Groups(groups) => Effect::Groups(groups.clone()),
        },
    });
    AccessPolicy::new(Vec::new(), rules.collect(), Mode::Enforce).expect("rules that are accepted can be enforced");
    let folded = |name: &str| name.to_lowercase().replace(['_', '.'], "-");
    let headers = &config.access.identity_headers;
    let names = [folded(headers.user.as_str()), folded(headers.groups.as_str())];
    assert_ne!(names[0], names[1]);
    for own in names {
        let taken = [
            "authorization",
            "host",
            "cookie",
            "content-length",
            "te",
            "x-forwarded-for",
            "x-request-id",
            "connection",
        ];
        assert!(!taken.contains(&&*own), "{own}");
    }
    let (tokens, keys, throttle) = (&config.tokens, &config.keys, &config.throttle);
    assert!(tokens.ttl <= tokens.max_ttl && tokens.max_ttl <= Duration::from_secs(86_400) && !tokens.ttl.is_zero());
    assert!(keys.rotate_every > keys.propagation * 2);
    assert!(throttle.first <= throttle.max && throttle.max <= throttle.forget_after && throttle.factor >= 1.0);
    assert!(config.listen != config.admin || config.listen.port() == 0);
    let paths = &config.authorize.paths;
    let mut all: Vec<&String> = [&paths.densify, &paths.redis, &paths.refresh].into_iter().flatten().collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert!(all.len() == count && all.iter().all(|path| path.starts_with('/')));
}

/// Every setting with the value that it has.
fn settings(config: &Config) -> Vec<(&'static str, Value)> {
    let Config { tls, store, tokens, keys, authorize, throttle, access, limits, shutdown, log, .. } = config;
    let span = |span: Duration| json!(format!("{}ms", span.as_millis()));
    let spans = |option: Option<Duration>| option.map_or(Value::Null, span);
    let paths = |paths: &[String]| if paths.is_empty() { Value::Null } else { json!(paths) };
    let mut all = vec![
        ("listen", json!(config.listen.to_string())),
        ("admin", json!(config.admin.to_string())),
        ("upstream", upstream(&config.upstream)),
        ("upstreamCa", json!(config.upstream_ca)),
        ("workers", json!(config.workers)),
        ("tls.clientCa", json!(tls.clients.as_ref().map(|clients| &clients.ca))),
        ("tls.clientAuth", json!(tls.clients.as_ref().map_or("required", |clients| clients.auth.as_str()))),
        ("tls.minVersion", json!(tls.min_version.as_str())),
        ("tokens.algorithm", json!(tokens.algorithm.as_str())),
        ("tokens.issuer", json!(tokens.issuer)),
        ("tokens.audience", json!(tokens.audience)),
        ("tokens.ttl", span(tokens.ttl)),
        ("tokens.maxTtl", span(tokens.max_ttl)),
        ("tokens.maxSession", span(tokens.max_session)),
        ("keys.rotateEvery", span(keys.rotate_every)),
        ("keys.propagation", span(keys.propagation)),
        ("authorize.paths.densify", paths(&authorize.paths.densify)),
        ("authorize.paths.redis", paths(&authorize.paths.redis)),
        ("authorize.paths.refresh", paths(&authorize.paths.refresh)),
        ("authorize.hashing.threads", json!(authorize.hashing.threads)),
        ("authorize.hashing.queue", json!(authorize.hashing.queue)),
        ("throttle.first", span(throttle.first)),
        ("throttle.factor", json!(throttle.factor)),
        ("throttle.max", span(throttle.max)),
        ("throttle.forgetAfter", span(throttle.forget_after)),
        ("throttle.entries", json!(throttle.entries)),
        ("access.apiGroups", json!(access.api_groups)),
        ("access.identityHeaders.user", json!(access.identity_headers.user.as_str())),
        ("access.identityHeaders.groups", json!(access.identity_headers.groups.as_str())),
        ("access.forwardToken", json!(access.forward_token)),
        ("access.rules", access.rules.iter().map(rule).collect()),
        ("access.tunnels", json!(access.tunnels.as_str())),
        ("access.mode", json!(access.mode.as_str())),
        ("limits.connections", json!(limits.connections)),
        ("limits.inFlight", json!(limits.in_flight)),
        ("limits.queueLength", json!(limits.queue_length)),
        ("limits.queueTimeout", span(limits.queue_timeout)),
        ("limits.headerBytes", json!(limits.header_bytes)),
        ("limits.headerTimeout", span(limits.header_timeout)),
        ("limits.idleTimeout", span(limits.idle_timeout)),
        ("limits.handshakeTimeout", span(limits.handshake_timeout)),
        ("limits.requestBody", json!(limits.request_body.map(|bytes| bytes.to_string()))),
        ("limits.upstreamConnect", span(limits.upstream_connect)),
        ("limits.upstreamHeaders", spans(limits.upstream_headers)),
        ("trustedProxies", json!(config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>())),
        ("shutdown.delay", span(shutdown.delay)),
        ("shutdown.grace", span(shutdown.grace)),
        ("log.format", json!(log.format.as_str())),
        ("log.level", json!(log.level.as_str())),
        ("log.access", json!(log.access)),
    ];
    match &tls.certificate {
        Certificate::Files { certificate, key } => {
            all.extend([("tls.certificate", json!(certificate)), ("tls.key", json!(key))]);
        }
        Certificate::Managed { secret, hosts } => {
            all.extend([("tls.managed.secret", json!(secret)), ("tls.managed.hosts", json!(hosts))]);
        }
    }
    match store {
        Store::Directory(directory) => {
            all.extend([
                ("store.directory.users", json!(directory.users)),
                ("store.directory.keys", json!(directory.keys)),
            ]);
        }
        Store::Kubernetes(kubernetes) => {
            all.push(("store.kubernetes.namespace", json!(kubernetes.namespace)));
            all.push(("store.kubernetes.users", json!(kubernetes.users)));
            all.push(("store.kubernetes.keys", json!(kubernetes.keys)));
            if let Some(fallback) = &kubernetes.fallback {
                all.push(("store.kubernetes.fallback.users", json!(fallback.users)));
                all.push(("store.kubernetes.fallback.keys", json!(fallback.keys)));
            }
        }
    }
    let known = |key| SETTINGS.iter().any(|setting| setting.key == key);
    debug_assert!(all.iter().all(|(key, _)| known(*key)));
    all
}

fn upstream(upstream: &Upstream) -> Value {
    match upstream {
        Upstream::Http(origin) => json!(format!("http://{}", origin.authority)),
        Upstream::Https(origin) => json!(format!("https://{}", origin.authority)),
        Upstream::H2c(origin) => json!(format!("h2c://{}", origin.authority)),
        Upstream::Unix(path) => json!(format!("unix:{}", path.display())),
    }
}

fn rule(rule: &vestibule::config::Rule) -> Value {
    let (matcher, path) = match &rule.matcher {
        RuleMatch::Path(path) => ("path", path),
        RuleMatch::Prefix(path) => ("prefix", path),
    };
    let (effect, whom) = match &rule.effect {
        RuleEffect::Anyone => ("allow", json!("anyone")),
        RuleEffect::Authenticated => ("allow", json!("authenticated")),
        RuleEffect::Groups(groups) => ("groups", json!(groups)),
    };
    let mut written = json!({matcher: path, effect: whom});
    if let Some(methods) = &rule.methods {
        written["methods"] = json!(methods);
    }
    written
}

fn put(file: &mut Value, key: &str, value: Value) {
    let mut place = file;
    let mut names = key.split('.').peekable();
    while let Some(name) = names.next() {
        let map = place.as_object_mut().expect("sections are mappings");
        place = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if names.peek().is_none() {
            *place = value;
            return;
        }
    }
}

/// As a flag takes text whatever it is.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
