//! Configurations that are refused, and the one line that says why.

use super::{STORE, Sources, load, mounted, stored};
use crate::config::{KubernetesStore, Store};

#[test]
fn values_of_the_wrong_shape_name_the_shape_and_the_mend() {
    for (text, message) in [
        (
            "limits: {connections: many}",
            "`limits.connections` is a whole number of at least 1, or null; found \"many\": write e.g. `limits.connections: 1000`",
        ),
        (
            "limits: {connections: 0}",
            "`limits.connections` is a whole number of at least 1, or null; found 0: write e.g. `limits.connections: 1000`",
        ),
        ("workers: 1.5", "`workers` is a whole number from 1 to 1024, or null; found 1.5: write e.g. `workers: 4`"),
        ("workers: 1025", "`workers` is a whole number from 1 to 1024, or null; found 1025: write e.g. `workers: 4`"),
        (
            "listen: ':10443'",
            "`listen` is an IP address with a port; found \":10443\": write e.g. `listen: 0.0.0.0:10443`",
        ),
        (
            "listen: {a: b}",
            "`listen` is an IP address with a port; found a mapping: write e.g. `listen: 0.0.0.0:10443`",
        ),
        (
            "upstream: localhost:80",
            "`upstream` is http://HOST:PORT, https://HOST[:PORT], h2c://HOST:PORT or unix:/PATH; found \"localhost:80\": write e.g. `upstream: http://127.0.0.1:8080`",
        ),
        (
            "upstream: tcp://me:hunter2@a:1",
            "`upstream` is http://HOST:PORT, https://HOST[:PORT], h2c://HOST:PORT or unix:/PATH; found something with an `@`: write e.g. `upstream: http://127.0.0.1:8080`",
        ),
        (
            "tokens: {ttl: 300}",
            "`tokens.ttl` is a length of time in whole seconds with its unit (s, m, h, d) from 1s to 1d; found 300: write e.g. `tokens.ttl: 300s`",
        ),
        (
            "tokens: {ttl: 0s}",
            "`tokens.ttl` is a length of time in whole seconds with its unit (s, m, h, d) from 1s to 1d; found \"0s\": write e.g. `tokens.ttl: 5m`",
        ),
        (
            "tokens: {maxTtl: 25h}",
            "`tokens.maxTtl` is a length of time in whole seconds with its unit (s, m, h, d) from 1s to 1d; found \"25h\": write e.g. `tokens.maxTtl: 24h`",
        ),
        (
            "tokens: {ttl: 1500ms}",
            "`tokens.ttl` is a length of time in whole seconds with its unit (s, m, h, d) from 1s to 1d; found \"1500ms\": write e.g. `tokens.ttl: 5m`",
        ),
        (
            "tokens: {issuer: 12}",
            "`tokens.issuer` is a text of 1 to 256 bytes without control characters; found 12: write e.g. `tokens.issuer: \"12\"`",
        ),
        (
            "tokens: {issuer: ''}",
            "`tokens.issuer` is a text of 1 to 256 bytes without control characters; found \"\": write e.g. `tokens.issuer: vestibule`",
        ),
        (
            "tokens: {algorithm: hs512}",
            "`tokens.algorithm` is one of HS512, ES256, EdDSA; found \"hs512\": write e.g. `tokens.algorithm: HS512`",
        ),
        (
            "tokens: {algorithm: none}",
            "`tokens.algorithm` is one of HS512, ES256, EdDSA; found \"none\": write e.g. `tokens.algorithm: EdDSA`",
        ),
        (
            "tls: {minVersion: 1.1}",
            "`tls.minVersion` is one of 1.2, 1.3; found 1.1: write e.g. `tls.minVersion: \"1.3\"`",
        ),
        (
            "tls: {certificate: 5}",
            "`tls.certificate` is the path of a file, or null; found 5: write e.g. `tls.certificate: /etc/vestibule/tls/tls.crt`",
        ),
        ("log: {access: yes}", "`log.access` is true or false; found \"yes\": write e.g. `log.access: true`"),
        (
            "throttle: {factor: 0.5}",
            "`throttle.factor` is a number from 1 to 1000; found 0.5: write e.g. `throttle.factor: 2`",
        ),
        (
            "throttle: {first: 1}",
            "`throttle.first` is a length of time with its unit (ms, s, m, h, d) from 1ms to 1d; found 1: write e.g. `throttle.first: 1s`",
        ),
        (
            "throttle: {entries: 0}",
            "`throttle.entries` is a whole number from 1 to 10000000; found 0: write e.g. `throttle.entries: 100000`",
        ),
        (
            "limits: {headerBytes: 8191}",
            "`limits.headerBytes` is a number of bytes from 8192 to 1048576, plain or with Ki, Mi or Gi; found 8191: write e.g. `limits.headerBytes: 32768`",
        ),
        (
            "limits: {headerBytes: 2Mi}",
            "`limits.headerBytes` is a number of bytes from 8192 to 1048576, plain or with Ki, Mi or Gi; found \"2Mi\": write e.g. `limits.headerBytes: 32768`",
        ),
        (
            "limits: {requestBody: 10 MB}",
            "`limits.requestBody` is a number of bytes of at least 1, plain or with Ki, Mi or Gi, or null; found \"10 MB\": write e.g. `limits.requestBody: 10Mi`",
        ),
        (
            "trustedProxies: 10.0.0.0/8",
            "`trustedProxies` is a list of networks such as 10.0.0.0/8, or single addresses; found \"10.0.0.0/8\": write e.g. `trustedProxies: [10.0.0.0/8]`",
        ),
        (
            "access: {rules: {path: /a}}",
            "`access.rules` is a list of rules such as {path: /healthz, allow: anyone}; found a mapping: write e.g. `access.rules: [{path: /healthz, allow: anyone}]`",
        ),
        (
            "access: {apiGroups: null}",
            "`access.apiGroups` is a list of group names (visible ASCII without `,` and `:`, at most 256 bytes); found null: write e.g. `access.apiGroups: [Administrator, SaaS_User]`",
        ),
        (
            "access: {identityHeaders: {user: X User}}",
            "`access.identityHeaders.user` is the name of a header; found \"X User\": write e.g. `access.identityHeaders.user: X-Forwarded-User`",
        ),
    ] {
        assert_eq!(stored(text), Err(format!("config.yaml: {message}")), "{text}");
    }
}

#[test]
fn errors_show_how_it_is_written_where_the_value_came_from() {
    for (variables, flags, message) in [
        (
            &[("VESTIBULE_LIMITS_CONNECTIONS", "many")][..],
            &[][..],
            "VESTIBULE_LIMITS_CONNECTIONS: `limits.connections` is a whole number of at least 1, or null; found \"many\": write e.g. `VESTIBULE_LIMITS_CONNECTIONS=1000`",
        ),
        (
            &[],
            &[("tls.minVersion", "1.1")],
            "--tls-min-version: `tls.minVersion` is one of 1.2, 1.3; found \"1.1\": write e.g. `--tls-min-version=1.3`",
        ),
        (
            &[],
            &[("access.apiGroups", "[a")],
            "--access-api-groups: `access.apiGroups` is a list of group names (visible ASCII without `,` and `:`, at most 256 bytes); found \"[a\": write e.g. `--access-api-groups='[Administrator, SaaS_User]'`",
        ),
        (
            &[("VESTIBULE_SHUTDOWN_GRACE", "30\n")],
            &[],
            "VESTIBULE_SHUTDOWN_GRACE: `shutdown.grace` is a length of time with its unit (ms, s, m, h, d) from 0s to 1d; found \"30\": write e.g. `VESTIBULE_SHUTDOWN_GRACE=30s`",
        ),
        (
            &[("VESTIBULE_TOKENS_TTL", "2h")],
            &[("tokens.maxTtl", "1h")],
            "VESTIBULE_TOKENS_TTL: `tokens.ttl` (2h) is longer than `tokens.maxTtl` (1h): shorten it, or raise that",
        ),
    ] {
        let sources = Sources { file: STORE, variables, flags };
        assert_eq!(load(&sources), Err(message.to_owned()));
    }
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    for (text, message) in [
        (
            "admin: 0.0.0.0:10443",
            "`admin` clashes: `listen` is 0.0.0.0:10443, `admin` 0.0.0.0:10443; give one of them another port",
        ),
        (
            "listen: '[::]:10444'",
            "`listen` clashes: `listen` is [::]:10444, `admin` 0.0.0.0:10444; give one of them another port",
        ),
        (
            "admin: 127.0.0.1:10443",
            "`admin` clashes: `listen` is 0.0.0.0:10443, `admin` 127.0.0.1:10443; give one of them another port",
        ),
        (
            "upstreamCa: /ca",
            "`upstreamCa` verifies nothing unless `upstream` is https://: leave it out, or change `upstream`",
        ),
        (
            "tls: {key: null}",
            "`tls.key` is null: name both `tls.certificate` and `tls.key`, or `tls.managed` instead of them",
        ),
        (
            "tls: {certificate: null}",
            "`tls.certificate` is null: name both `tls.certificate` and `tls.key`, or `tls.managed` instead of them",
        ),
        (
            "tls: {key: /k, managed: {secret: a, hosts: [b]}}",
            "`tls.key` and `tls.managed` exclude each other: leave out one of them",
        ),
        (
            "tls: {managed: {}}",
            "`tls.managed` needs a `secret`: write e.g. `tls.managed: {secret: vestibule-tls, hosts: [app.example.org]}`",
        ),
        (
            "tls: {managed: {secret: a}}",
            "`tls.managed` needs `hosts`, which the certificate is for: write e.g. `tls.managed.hosts: [app.example.org]`",
        ),
        (
            "tokens: {ttl: 2h, maxTtl: 1h}",
            "`tokens.ttl` (2h) is longer than `tokens.maxTtl` (1h): shorten it, or raise that",
        ),
        (
            "keys: {rotateEvery: 4m}",
            "`keys.rotateEvery` does not fit: a key must sign for more than twice its propagation, and `keys.rotateEvery` is 4m, `keys.propagation` 2m: raise the one or lower the other",
        ),
        (
            "keys: {propagation: 1d, rotateEvery: 2d}",
            "`keys.rotateEvery` does not fit: a key must sign for more than twice its propagation, and `keys.rotateEvery` is 2d, `keys.propagation` 1d: raise the one or lower the other",
        ),
        (
            "authorize: {paths: {densify: [/a, /v1/users/authorize]}}",
            "`authorize.paths.densify` clashes: `authorize.paths.densify` and `authorize.paths.redis` both have /v1/users/authorize; give each its own",
        ),
        (
            "authorize: {paths: {redis: /a, refresh: /a}}",
            "`authorize.paths.refresh` clashes: `authorize.paths.redis` and `authorize.paths.refresh` both have /a; give each its own",
        ),
        (
            "authorize: {paths: {redis: /.well-known/jwks.json}}",
            "`authorize.paths.redis` takes /.well-known/jwks.json, where public keys are served: choose another path",
        ),
        ("authorize: {paths: {redis: [/a, /a]}}", "`authorize.paths.redis[1]` repeats /a: name it once"),
        ("authorize: {paths: {redis: []}}", "`authorize.paths.redis` is an empty list: name at least one"),
        (
            "authorize: {paths: {redis: /a?b}}",
            "`authorize.paths.redis` has a query: rules and routes see paths alone; end it before the `?`",
        ),
        (
            "throttle: {first: 2s, max: 1s}",
            "`throttle.first` (2s) is longer than the longest wait (1s): shorten it, or raise `throttle.max`",
        ),
        (
            "throttle: {first: 2s, forgetAfter: 1s}",
            "`throttle.first` (2s) is longer than the longest wait (1s): shorten it, or raise `throttle.max`",
        ),
        (
            "throttle: {max: 2s, forgetAfter: 1s}",
            "`throttle.forgetAfter` (1s) is shorter than the longest wait (2s), which would be forgotten before it is over: raise it, or lower `throttle.max`",
        ),
        (
            "access: {identityHeaders: {user: x_forwarded.groups}}",
            "`access.identityHeaders.user` is the same header as the other identity header: name two that differ in more than `-`, `_` and `.`",
        ),
        (
            "access: {identityHeaders: {groups: Host}}",
            "`access.identityHeaders.groups` is a header with a meaning of its own: name another, e.g. `X-Forwarded-User`",
        ),
        (
            "access: {rules: [{path: /a, allow: nobody}]}",
            "`access.rules[0].allow` is one of anyone, authenticated; found \"nobody\": write e.g. `allow: authenticated`",
        ),
        (
            "upstream: http://a:1/b",
            "`upstream` must not have a path or a query, since requests keep their own: end it after HOST:PORT",
        ),
    ] {
        assert_eq!(stored(text), Err(format!("config.yaml: {message}")), "{text}");
    }
}

#[test]
fn what_only_looks_like_a_clash_is_not_one() {
    for text in [
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0",
        "listen: 127.0.0.1:10443\nadmin: 127.0.0.2:10443",
        "listen: 0.0.0.0:10443\nadmin: '[::1]:10443'",
        "authorize: {paths: {densify: null, redis: /authorize, refresh: null}}",
        "upstream: https://app\nupstreamCa: /ca",
    ] {
        assert!(stored(text).is_ok(), "{text}");
    }
}

#[test]
fn the_store_is_one_of_two() {
    let store = |text: &str, variables: &[(&str, &str)]| {
        let sources = Sources { file: text, variables, flags: &[] };
        load(&sources).map(|loaded| loaded.config.store)
    };
    let kubernetes = |users: &[&str], fallback| {
        Ok(Store::Kubernetes(KubernetesStore {
            namespace: None,
            users: users.iter().map(|s| (*s).to_owned()).collect(),
            keys: "vestibule-keys".to_owned(),
            fallback,
        }))
    };
    for (text, variables, expected) in [
        ("store: {kubernetes: {}, directory: null}", &[][..], kubernetes(&["vestibule-users"], None)),
        ("store: {kubernetes: {users: [a, b]}}", &[], kubernetes(&["a", "b"], None)),
        ("store: {kubernetes: {fallback: null}}", &[], kubernetes(&["vestibule-users"], None)),
        ("store: {kubernetes: {fallback: {}}}", &[], kubernetes(&["vestibule-users"], Some(mounted()))),
        ("", &[("VESTIBULE_STORE_KUBERNETES_USERS", "a,b")], kubernetes(&["a", "b"], None)),
        (
            "",
            &[("VESTIBULE_STORE_KUBERNETES_FALLBACK_KEYS", "/etc/vestibule/keys")],
            kubernetes(&["vestibule-users"], Some(mounted())),
        ),
        (STORE, &[("VESTIBULE_STORE_KUBERNETES_NAMESPACE", "null")], Ok(Store::Directory(mounted()))),
        (
            STORE,
            &[("VESTIBULE_STORE_KUBERNETES_USERS", "a")],
            Err(
                "VESTIBULE_STORE_KUBERNETES_USERS: `store` has both `kubernetes` and `directory`: leave one of them out, or write null for it",
            ),
        ),
        (
            "store: {kubernetes: {}, directory: {}}",
            &[],
            Err(
                "config.yaml: `store` has both `kubernetes` and `directory`: leave one of them out, or write null for it",
            ),
        ),
        (
            "store: {kubernetes:, directory:}",
            &[],
            Err("config.yaml: `store` names no place for users and keys: write `store: {kubernetes: {}}`, or \
                 `store: {directory: {users: /etc/vestibule/users, keys: /etc/vestibule/keys}}`"),
        ),
        (
            "store: {kubernetes: {users: [a, vestibule-keys]}}",
            &[],
            Err(
                "config.yaml: `store.kubernetes.users` names a Secret that holds users and keys both: keep the keys in one of their own",
            ),
        ),
        (
            "store: {kubernetes: {users: [a, b]}}\ntls: {managed: {secret: b, hosts: [c]}}",
            &[],
            Err(
                "config.yaml: `tls.managed.secret` names a Secret that holds users or keys: give the certificate one of its own",
            ),
        ),
        (
            "store: {kubernetes: {}}\ntls: {managed: {secret: vestibule-keys, hosts: [c]}}",
            &[],
            Err(
                "config.yaml: `tls.managed.secret` names a Secret that holds users or keys: give the certificate one of its own",
            ),
        ),
    ] {
        assert_eq!(store(text, variables), expected.map_err(str::to_owned), "{text}");
    }
}
