//! Whole configurations: what loads, and that the table and the loader agree.

mod lists;
mod refusals;

use std::path::Path;

use super::*;

const STORE: &str = "store: {directory: {}}\n";

struct Sources<'a> {
    file: &'a str,
    variables: &'a [(&'a str, &'a str)],
    flags: &'a [(&'a str, &'a str)],
}

/// Loads from a file called config.yaml, whose directory errors leave out.
fn load(sources: &Sources<'_>) -> Result<Loaded, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, sources.file).unwrap();
    let variables = sources.variables.iter();
    let variables = variables.map(|(name, raw)| ((*name).to_owned(), (*raw).to_owned()));
    let flags = sources.flags.iter();
    let flags = flags.map(|(key, raw)| (setting(key).unwrap(), (*raw).to_owned()));
    Config::load(Some(&path), variables, flags)
        .map_err(|e| e.to_string().replace(&format!("{}/", directory.path().display()), ""))
}

fn file(text: &str) -> Result<Config, String> {
    let sources = Sources { file: text, variables: &[], flags: &[] };
    load(&sources).map(|loaded| loaded.config)
}

/// With a store, which every configuration needs.
fn stored(text: &str) -> Result<Config, String> {
    file(&format!("{STORE}{text}"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn defaults() -> Config {
    Config {
        listen: "0.0.0.0:10443".parse().unwrap(),
        admin: "0.0.0.0:10444".parse().unwrap(),
        upstream: Upstream::Http(Origin {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            authority: "127.0.0.1:8080".to_owned(),
        }),
        upstream_ca: None,
        workers: None,
        tls: Tls {
            certificate: Certificate::Files {
                certificate: "/etc/vestibule/tls/tls.crt".into(),
                key: "/etc/vestibule/tls/tls.key".into(),
            },
            clients: None,
            min_version: MinVersion::Tls12,
        },
        store: Store::Directory(mounted()),
        tokens: Tokens {
            algorithm: Algorithm::Hs512,
            issuer: "vestibule".to_owned(),
            audience: None,
            ttl: seconds(300),
            max_ttl: seconds(86_400),
            max_session: seconds(86_400),
        },
        keys: Keys { rotate_every: seconds(30 * 86_400), propagation: seconds(120) },
        authorize: Authorize {
            paths: LoginPaths {
                densify: vec!["/authorize".to_owned()],
                redis: vec!["/v1/users/authorize".to_owned()],
                refresh: vec!["/v1/users/refresh_jwt".to_owned()],
            },
            hashing: Hashing { threads: 1, queue: 64 },
        },
        throttle: Throttle {
            first: seconds(1),
            factor: 2.0,
            max: seconds(900),
            forget_after: seconds(1800),
            entries: 100_000,
        },
        access: Access {
            api_groups: vec!["Administrator".to_owned(), "SaaS_User".to_owned()],
            identity_headers: IdentityHeaders {
                user: HeaderName::from_static("x-forwarded-user"),
                groups: HeaderName::from_static("x-forwarded-groups"),
            },
            forward_token: false,
            rules: vec![],
            tunnels: Tunnels::Session,
            mode: Mode::Enforce,
        },
        limits: Limits {
            connections: None,
            in_flight: None,
            queue_length: 128,
            queue_timeout: seconds(5),
            header_bytes: 32_768,
            header_timeout: seconds(10),
            idle_timeout: seconds(120),
            handshake_timeout: seconds(10),
            request_body: None,
            upstream_connect: seconds(5),
            upstream_headers: None,
        },
        trusted_proxies: vec![],
        shutdown: Shutdown { delay: seconds(5), grace: seconds(25) },
        log: Log { format: LogFormat::Json, level: LogLevel::Info, access: true },
    }
}

fn mounted() -> DirectoryStore {
    DirectoryStore { users: "/etc/vestibule/users".into(), keys: "/etc/vestibule/keys".into() }
}

#[test]
fn the_defaults_of_the_table_are_these() {
    assert_eq!(stored(""), Ok(defaults()));
}

/// The loader panics over a key that the table has not, and (in tests) over one that it has not read.
#[test]
fn each_setting_takes_its_default_and_its_example_from_every_source() {
    for setting in SETTINGS {
        let other_store = setting.key.starts_with("store.kubernetes");
        let store = if other_store { "store: {kubernetes: {}}" } else { STORE };
        for yaml in [setting.default, setting.example()] {
            // What does not stand alone.
            let beside: &[_] = match setting.key {
                "upstreamCa" => &[("upstream", "https://app")],
                "tls.managed.secret" => &[("tls.managed.hosts", "a")],
                "tls.managed.hosts" => &[("tls.managed.secret", "a")],
                _ => &[],
            };
            if setting.key.starts_with("tls.") && setting.nullable && yaml == "null"
                || setting.key == "tls.managed.hosts" && yaml == "[]"
            {
                continue;
            }
            let by_variable = Sources { file: store, variables: &[(&setting.variable(), yaml)], flags: beside };
            let mut flags = beside.to_vec();
            flags.push((setting.key, yaml));
            let by_flag = Sources { file: store, variables: &[], flags: &flags };
            let by_variable = load(&by_variable).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(load(&by_flag), Ok(by_variable.clone()), "{}", setting.key);
            let depth = setting.key.split('.').count() - 1;
            let nested = format!("{}: {yaml}{}", setting.key.replace('.', ": {"), "}".repeat(depth));
            let in_file = if setting.key.starts_with("store.") { nested } else { format!("{store}\n{nested}") };
            let in_file = Sources { file: &in_file, variables: &[], flags: beside };
            assert_eq!(load(&in_file), Ok(by_variable), "{}", setting.key);
        }
    }
}

#[test]
fn null_is_a_value_where_the_table_says_so() {
    for setting in SETTINGS {
        let flags = [(setting.key, "null")];
        let sources = Sources { file: STORE, variables: &[], flags: &flags };
        let refused = load(&sources).err().unwrap_or_default();
        let expected = format!("--{}: `{}` is ", setting.flag(), setting.key);
        let of_shape = refused.starts_with(&expected) && refused.contains("; found null: write e.g. `--");
        assert_eq!(of_shape, !setting.nullable, "{}: {refused}", setting.key);
    }
}

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let file = format!("{STORE}limits: {{queueLength: 1, inFlight: 1, connections: 1}}");
    let loaded = load(&Sources {
        file: &file,
        variables: &[("VESTIBULE_LIMITS_QUEUE_LENGTH", "2"), ("VESTIBULE_LIMITS_IN_FLIGHT", "2")],
        flags: &[("limits.queueLength", "3")],
    });
    let limits = loaded.unwrap().config.limits;
    assert_eq!(limits.queue_length, 3);
    assert_eq!(limits.in_flight, Some(2));
    assert_eq!(limits.connections, Some(1));
    assert_eq!(limits.header_bytes, 32_768);
}

#[test]
fn no_file_is_needed() {
    let flags = [(setting("store.directory.users").unwrap(), "u".to_owned())];
    let config = Config::load(None, [], flags).unwrap().config;
    let store = DirectoryStore { users: "u".into(), keys: "/etc/vestibule/keys".into() };
    assert_eq!(config.store, Store::Directory(store));
    let missing = Path::new("nowhere/config.yaml");
    let refused = Config::load(Some(missing), [], []).unwrap_err().to_string();
    assert!(refused.starts_with("nowhere/config.yaml: cannot be read"), "{refused}");
}

#[test]
fn certificates_come_from_files_or_are_managed() {
    let managed = stored("tls: {managed: {secret: t, hosts: [a.example, 192.0.2.1]}, certificate: null}");
    assert_eq!(
        managed.unwrap().tls.certificate,
        Certificate::Managed { secret: "t".to_owned(), hosts: vec!["a.example".to_owned(), "192.0.2.1".to_owned()] }
    );
    let tls = stored("tls: {clientCa: /ca, clientAuth: optional, minVersion: 1.3}").unwrap().tls;
    assert_eq!(tls.min_version, MinVersion::Tls13);
    let clients = ClientTls { ca: "/ca".into(), auth: ClientAuth::Optional };
    assert_eq!(tls.clients, Some(clients));
}

#[test]
fn defaults_give_way_to_what_is_given() {
    assert_eq!(stored("tokens: {maxTtl: 1m}").unwrap().tokens.ttl, seconds(60));
    for (throttle, expected) in [
        ("max: 500ms", (500, 500, 1_800_000)),
        ("max: 1h", (1_000, 3_600_000, 3_600_000)),
        ("first: 20m", (1_200_000, 1_200_000, 1_800_000)),
        ("first: 1h", (3_600_000, 3_600_000, 3_600_000)),
        ("forgetAfter: 10s", (1_000, 10_000, 10_000)),
        ("forgetAfter: 500ms", (500, 500, 500)),
    ] {
        let throttle = stored(&format!("throttle: {{{throttle}}}")).unwrap().throttle;
        let (first, max, forget_after) = expected;
        assert_eq!(throttle.first, Duration::from_millis(first));
        assert_eq!(throttle.max, Duration::from_millis(max));
        assert_eq!(throttle.forget_after, Duration::from_millis(forget_after));
    }
}

#[test]
fn a_reload_sees_access_and_throttle() {
    let config = stored("access: {mode: shadow}\nthrottle: {first: 3s}").unwrap();
    let reloadable = config.reloadable();
    assert_eq!(reloadable.access.mode, Mode::Shadow);
    assert_eq!(reloadable.throttle.first, seconds(3));
    assert_ne!(reloadable, defaults().reloadable());
}

#[test]
fn flags_are_named_for_their_settings() {
    let (_, found) = flags().find(|(flag, _)| flag == "tls-min-version").unwrap();
    assert_eq!(found.key, "tls.minVersion");
    assert_eq!(flags().count(), SETTINGS.len());
}
