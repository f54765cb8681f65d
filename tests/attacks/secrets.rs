//! A busy life at level `trace`, full of errors around known secrets: none of them stands in a log line, an answer, a
//! metric, or what a command prints.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::alone;
use super::figures::figure;
use super::leaks::Secrets;
use crate::support::*;

const PASSWORDS: [&str; 4] =
    ["Zq7-right-horse-battery", "Zq7-wrong-horse-battery", "Zq7-\"escaped\"\\horse-näme", "Zq7-expired-horse-battery"];

/// What others may read, and what must not be in it.
struct Watched {
    secrets: Secrets,
    seen: Vec<u8>,
    answers: usize,
}

impl Watched {
    fn new() -> Self {
        let mut secrets = Secrets::default();
        for password in PASSWORDS {
            secrets.add("a password", password);
            for user in ["admin", "reader", "nobody"] {
                secrets.add("credentials", format!("{user}:{password}"));
            }
        }
        Self { secrets, seen: Vec::new(), answers: 0 }
    }

    fn look_at(&mut self, text: impl AsRef<[u8]>) {
        self.seen.extend_from_slice(text.as_ref());
        self.seen.push(b'\n');
    }

    async fn send(&mut self, client: &Client, call: Call) -> Answer {
        let answer = client.send(call).await;
        self.look_at(format!("{:?}", answer.headers));
        // A token is given to whoever logs in, and to nobody else.
        if answer.status != 200 {
            self.look_at(&answer.body);
        }
        self.answers += 1;
        answer
    }

    fn add_key(&mut self, key: &Jwk) {
        for member in ["k", "d"] {
            if let Some(secret) = key.0[member].as_str() {
                self.secrets.add_encoded(member, secret);
            }
        }
    }

    fn add_hash(&mut self, hash: &str) {
        // What stands before the salt is the kind and the cost.
        let secret = hash.splitn(5, '$').last().expect("a hash has parts");
        self.secrets.add("a hash", secret);
        self.secrets.add("a hash's output", hash.rsplit('$').next().expect("an output"));
    }

    fn assert_clean(&self) {
        let found = self.secrets.found_in(&self.seen);
        assert!(found.is_empty(), "{found:#?}");
    }
}

fn users(hashes: &[String; 2]) -> Value {
    json!({"users": {
        "admin": {"groups": ["Administrator"], "passwords": [{"hash": hashes[0]}]},
        "reader": {"passwords": [{"hash": hashes[1], "expiresAt": "2020-01-01T00:00:00Z"}]},
    }})
}

#[tokio::test]
async fn a_whole_life_at_trace_level_tells_no_secret() {
    let _alone = alone().await;
    let mut watched = Watched::new();
    let hashes = [argon2(PASSWORDS[0]), bcrypt(PASSWORDS[3])];
    let keys = [Jwk::fresh("HS512", "h"), Jwk::fresh("ES256", "e"), Jwk::fresh("EdDSA", "d")];
    hashes.iter().for_each(|hash| watched.add_hash(hash));
    keys.iter().for_each(|key| watched.add_key(key));
    let setup = Setup::new().users(&users(&hashes)).keys(&keys).config(
        "{log: {level: trace}, throttle: {first: 1ms, max: 2ms}, access: {rules: [{path: /a, allow: anyone}]}}",
    );
    // No application: whoever is let through gets 502.
    let vestibule = setup.start().await;
    let pem = std::fs::read_to_string(vestibule.path("tls.key")).expect("a key");
    let certificate = std::fs::read_to_string(vestibule.path("tls.crt")).expect("a certificate");
    watched.secrets.add_pem("tls.key", &pem);

    for client in [vestibule.client(), vestibule.client().http2()] {
        logins(&mut watched, &client).await;
        tokens(&mut watched, &client, &keys).await;
    }
    documents(&mut watched, &vestibule, &hashes, &keys).await;
    let broken = watched.secrets.count();
    for (name, text) in [("tls.crt", &pem), ("tls.key", &certificate), ("tls.key", &pem[..pem.len() / 2].to_owned())] {
        vestibule.replace(name, text);
        vestibule.event("reload", |event| event["what"] == "certificate" && event["outcome"] == "error").await;
    }
    vestibule.replace("tls.crt", &certificate);
    vestibule.replace("tls.key", &pem);
    for (_, setting) in misplaced(&pem, &hashes[0]) {
        let config = std::fs::read_to_string(vestibule.path("vestibule.yaml")).expect("a file");
        let mut config: Value = serde_json::from_str(&config).expect("JSON");
        for (name, value) in setting.as_object().expect("settings") {
            config[name.as_str()] = value.clone();
        }
        vestibule.replaced("config", "vestibule.yaml", &config.to_string()).await;
    }
    commands(&mut watched, &vestibule);

    for path in ["/metrics", "/livez", "/readyz", "/nothing"] {
        watched.look_at(vestibule.admin(path).await.1);
    }
    for file in ["cmdline", "environ"] {
        watched.look_at(std::fs::read(format!("/proc/{}/{file}", vestibule.pid())).expect("the process runs"));
    }
    let lines = vestibule.lines();
    assert!(vestibule.events("panic").is_empty());
    for event in ["login", "refresh", "refusal", "reload", "store_failed", "upstream_failed"] {
        assert!(!vestibule.events(event).is_empty(), "nothing was logged of {event}");
    }
    watched.look_at(lines.join("\n"));
    figure("secrets looked for in logs, answers, metrics and commands", watched.secrets.count());
    figure("log lines and answers looked through", lines.len() + watched.answers);
    assert!(broken > 40);
    watched.assert_clean();
    // The search finds what is there.
    watched.look_at(format!("x{}", &PASSWORDS[1][..16]));
    assert_eq!(watched.secrets.found_in(&watched.seen).len(), 1);
}

async fn logins(watched: &mut Watched, client: &Client) {
    for (path, user, password) in [("/authorize", "userName", "pwd"), ("/v1/users/authorize", "username", "password")] {
        for (name, secret) in [("admin", 0), ("admin", 1), ("admin", 2), ("reader", 3), ("reader", 0), ("nobody", 1)] {
            let secret = PASSWORDS[secret];
            let credentials = json!({user: name, password: secret});
            watched.send(client, post(path).json(&credentials)).await;
            watched.send(client, post(path).basic(name, secret)).await;
            let with_ttl = json!({user: name, password: secret, "ttl": secret});
            let as_list = json!({user: name, password: [secret]});
            let as_name = json!({user: secret, password: ""});
            let as_member = json!({user: name, password: secret, secret: 1, "x": {"y": secret}});
            for body in [with_ttl, as_list, as_name, as_member] {
                watched.send(client, post(path).json(&body)).await;
            }
            let whole = credentials.to_string();
            let twice = format!("{},{}", &whole[..whole.len() - 1], &whole[1..]);
            for body in [&whole[..whole.len() - 1], &twice, secret, &format!("{whole}{}", "x".repeat(5000))] {
                watched.send(client, post(path).body(body.to_owned())).await;
            }
            let conflict = json!({user: name, password: "other"});
            watched.send(client, post(path).basic(name, secret).json(&conflict)).await;
            watched.send(client, post(path).header("authorization", format!("Basic {secret}!").as_bytes())).await;
            watched.send(client, get(path).basic(name, secret)).await;
            // The path is logged, the query is not.
            watched.send(client, get(&format!("/x?length={}", secret.len()))).await;
            watched.send(client, get("/x").header("cookie", format!("p={secret}").as_bytes())).await;
            watched.send(client, get("/x").basic(name, secret)).await;
        }
    }
    watched.send(client, get(&format!("/x?password={}", PASSWORDS[0]))).await;
    watched.send(client, get(&format!("/a?password={}", PASSWORDS[0]))).await;
}

async fn tokens(watched: &mut Watched, client: &Client, keys: &[Jwk; 3]) {
    let login = watched.send(client, post("/authorize").basic("admin", PASSWORDS[0])).await;
    let issued = login.json()["apiToken"].as_str().map(str::to_owned).expect("a token");
    let refreshed = watched.send(client, post("/v1/users/refresh_jwt").bearer(&issued)).await;
    let refreshed = refreshed.json()["access_token"].as_str().map(str::to_owned).expect("a token");
    let mut all = vec![issued, refreshed];
    for key in keys {
        let mut over = claims("admin");
        over["exp"] = json!(now() - 1);
        all.extend([key.token(&claims("admin")), key.token(&claims("nobody")), key.token(&over)]);
        all.push(Jwk::fresh(key.algorithm(), "unknown").token(&claims("admin")));
        all.push(Jwk::fresh(key.algorithm(), key.kid()).token(&claims("admin")));
    }
    for token in &all {
        watched.secrets.add_token("a token", token);
        watched.send(client, get("/x").bearer(token)).await;
        watched.send(client, get("/x").bearer(&token[..token.len() - 1])).await;
        watched.send(client, get("/x").bearer(token).bearer(token)).await;
        watched.send(client, get("/x").header("authorization", token)).await;
        watched.send(client, get("/x").header("cookie", format!("token={token}"))).await;
        watched.send(client, get(&format!("/x?access_token={token}"))).await;
        watched.send(client, get(&format!("/a?access_token={token}"))).await;
        watched.send(client, post("/v1/users/refresh_jwt").bearer(&format!("{token}x"))).await;
        watched.send(client, post("/authorize").json(&json!({"userName": token, "pwd": token}))).await;
    }
}

/// Documents of users and of keys that are wrong around their secrets.
async fn documents(watched: &mut Watched, vestibule: &Vestibule, hashes: &[String; 2], keys: &[Jwk; 3]) {
    let hash = &hashes[0];
    let password = PASSWORDS[0];
    for text in [
        format!("users: {{admin: {{passwords: [{{hash: {hash}"),
        format!("users:\n  admin:\n    passwords:\n      - hash: {hash}\n     x: 1\n"),
        format!("users: {{admin: {{password: {password}}}}}"),
        format!("users: {{admin: {{passwords: {hash}}}}}"),
        format!("users: {{admin: {{passwords: [{{hash: '{hash}', expiresAt: '{hash}'}}]}}}}"),
        format!("users: {{admin: {{groups: '{hash}'}}}}"),
        format!("users: {{admin: {{disabled: '{password}', passwords: []}}}}"),
        format!("users: {{admin: {{tokensNotBefore: '{password}', passwords: []}}}}"),
        format!("users: {{'{hash}': {{passwords: [{{hash: '{password}'}}]}}}}"),
        format!("'{hash}': 1"),
        format!("'{hash}'"),
        format!("users: {{admin: {{}}, admin: {{passwords: [{{hash: '{hash}'}}]}}}}"),
        format!("users: {{admin: {{'{password}': 1, passwords: [{{'{password}': 1, hash: '{hash}'}}]}}}}"),
        format!("users: {{admin: {{passwords: [{{hash: '{hash}xx$$'}}, {{hash: '{}'}}]}}}}", &hash[1..]),
        format!("users: {{admin: {{passwords: [{{hash: !!int '{hash}'}}, *{hash}]}}}}"),
    ] {
        vestibule.replaced("users", "users/users.yaml", &text).await;
    }
    vestibule.replace("users/users.yaml", &users(hashes).to_string());
    for text in [format!("admin {hash}"), format!("{hash}:admin"), format!("bob:{password}"), format!("bob:{hash}xx")] {
        vestibule.replaced("users", "users/more.htpasswd", &text).await;
    }
    std::fs::remove_file(vestibule.path("users/more.htpasswd")).expect("a file");
    vestibule.event("store_failed", |event| event["store"] == "users").await;

    for key in keys {
        let member = if key.algorithm() == "HS512" { "k" } else { "d" };
        let secret = key.0[member].as_str().expect("a secret").to_owned();
        let ring = |key: Jwk| Jwk::ring(&[key]);
        let changed = |change: Value| ring(key.clone().with(&change));
        for text in [
            changed(json!({member: format!("{secret}=")})),
            changed(json!({member: &secret[1..]})),
            changed(json!({member: [secret]})),
            changed(json!({"kid": {"x": secret}})),
            changed(json!({"alg": secret})),
            changed(json!({"kty": secret})),
            changed(json!({"use": secret})),
            changed(json!({"nbf": secret})),
            changed(json!({"crv": secret, "kty": "EC"})),
            changed(json!({"key_ops": [secret]})),
            changed(json!({"kid": null})),
            ring(key.clone()).replace("\"kid\"", &format!("\"{member}\":\"{secret}\",\"kid\"")),
            ring(key.clone()).replace('}', ""),
            ring(key.clone()).replace(&format!("\"{secret}\""), &secret),
            Jwk::ring(&[key.clone(), key.clone()]),
            format!("\"{secret}\""),
            json!({ "keys": secret }).to_string(),
        ] {
            vestibule.replaced("keys", "keys/keys.jwks", &text).await;
        }
    }
    vestibule.event("store_failed", |event| event["store"] == "keys").await;
    vestibule.replace("keys/keys.jwks", &Jwk::ring(keys));
    watched.look_at(vestibule.admin("/readyz").await.1);
}

/// A key or a hash where something else belongs.
fn misplaced(pem: &str, hash: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("the key's text for its file", json!({"tls": {"certificate": pem, "key": pem}})),
        ("a key for a group", json!({"access": {"apiGroups": [pem]}})),
        ("a hash for a rule", json!({"access": {"rules": [{"path": hash, "allow": hash}]}})),
        ("a key for a header", json!({"access": {"identityHeaders": {"user": pem}}})),
        ("a hash for a mode", json!({"access": {"mode": hash}})),
        ("a key for a time", json!({"throttle": {"first": pem}})),
        ("a hash for a setting", json!({"throttle": {hash: 1}})),
        ("a key for an address", json!({"listen": pem})),
        ("a key for the application", json!({"upstream": pem})),
        ("credentials in the application's", json!({"upstream": format!("http://admin:{}@127.0.0.1:9", PASSWORDS[0])})),
    ]
}

fn commands(watched: &mut Watched, vestibule: &Vestibule) {
    let dir = vestibule.path("");
    let hash = argon2(PASSWORDS[2]);
    watched.add_hash(&hash);
    let signed = vestibule.ring()[0].token(&claims("admin"));
    watched.secrets.add_token("a token", &signed);
    let signature = signed.rsplit('.').next().expect("a signature").to_owned();
    let import = format!("carol:{}\nerin {hash}\n{hash}\n", bcrypt(PASSWORDS[1]));
    for (arguments, input, prints) in [
        ("users add alice --password-stdin", format!("{}\n", PASSWORDS[1]), false),
        ("users add alice --password-stdin", format!("{}\n", PASSWORDS[1]), false),
        ("users add dave --password-stdin", format!("{0}\n{0}\n", PASSWORDS[1]), false),
        ("users passwd alice --keep-old --password-stdin", format!("{}\n", PASSWORDS[2]), false),
        ("users add bob --generate", String::new(), true),
        ("users import -", import, false),
        ("users import -", format!("frank:{hash}\n"), false),
        ("users list", String::new(), false),
        ("users list -o json", String::new(), false),
        ("keys list", String::new(), false),
        ("keys list -o json", String::new(), false),
        ("keys rotate", String::new(), false),
        ("token issue admin", String::new(), true),
        ("token inspect", signed.clone(), false),
        ("token inspect -o json", format!("{signed}x"), false),
        ("token inspect -o json", signature, false),
        ("token inspect", format!("Basic {}", PASSWORDS[0]), false),
    ] {
        run(watched, vestibule, &format!("{arguments} --dir {}", dir.display()), &input, prints);
    }
    for key in vestibule.ring() {
        watched.add_key(&key);
    }
    let config = vestibule.path("vestibule.yaml");
    let good = std::fs::read_to_string(&config).expect("a file");
    let pem = std::fs::read_to_string(vestibule.path("tls.key")).expect("a key");
    for (name, setting) in misplaced(&pem, &hash) {
        let mut changed: Value = serde_json::from_str(&good).expect("JSON");
        for (member, value) in setting.as_object().expect("settings") {
            changed[member.as_str()] = value.clone();
        }
        std::fs::write(&config, changed.to_string()).expect("a file");
        for command in ["serve", "check", "check -o json"] {
            // What is read otherwise than expected is told; `serve` must not come up.
            let ran = run(watched, vestibule, &format!("{command} --config {}", config.display()), "", false);
            assert!(ran != Some(0), "{name}: {command}");
        }
    }
}

/// Runs a command to its end; what it prints on purpose is left out.
fn run(watched: &mut Watched, vestibule: &Vestibule, arguments: &str, input: &str, prints: bool) -> Option<i32> {
    let mut command = Command::new("timeout");
    command.arg("5").arg(env!("CARGO_BIN_EXE_vestibule")).args(arguments.split(' ')).env_clear();
    command.current_dir(vestibule.path("")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("timeout is there");
    // A command that ends before it has read everything is what some are about.
    drop(child.stdin.take().expect("a pipe").write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    watched.look_at(&output.stderr);
    if !prints {
        watched.look_at(&output.stdout);
    }
    watched.answers += 1;
    output.status.code()
}
