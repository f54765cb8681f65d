//! `token`: what an operator mints, and what `inspect` says of any token.

use serde_json::{Value, json};

use super::support::Home;
use crate::support::Commands;

fn home() -> Home {
    Home::new().with_user("ann").with_key()
}

fn inspected(home: &Home, token: &str) -> (i32, Value) {
    let ran = home.run_with("token inspect -o json", token.as_bytes());
    assert!(!ran.out.contains(token.trim()) && !ran.err.contains(token.trim()));
    (ran.code, serde_json::from_str(&ran.out).expect("JSON"))
}

#[test]
fn an_operators_token_is_good_and_says_what_it_is() {
    let home = home();
    let ran = home.run("token issue ann --ttl 90s");
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    let token = ran.out.strip_suffix('\n').expect("one line");
    for input in [token.to_owned(), format!("Bearer {token}\n"), format!("jwt {token}\n")] {
        let (code, verdict) = inspected(&home, &input);
        assert_eq!(code, 0);
        assert_eq!(verdict["verdict"], "good");
        assert_eq!(verdict["inApiGroup"], true);
        assert_eq!(verdict["header"]["alg"], "HS512");
        let claims = &verdict["claims"];
        assert_eq!((&claims["sub"], &claims["groups"]), (&json!("ann"), &json!(["Administrator"])));
        assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + 90));
        assert!(claims.get("cred").is_none() && claims.get("aud").is_none());
    }
    let text = home.run_with("token inspect", token.as_bytes());
    assert!(text.out.ends_with("verdict: good\n") && text.out.contains("  sub: \"ann\"\n"), "{text:?}");
}

#[test]
fn a_user_without_a_password_can_carry_a_token() {
    let home = Home::new().with_key();
    home.write("users/users.yaml", "users: {job: {groups: [Batch]}}\n");
    let token = home.done("token issue job");
    let text = home.run_with("token inspect", token.as_bytes());
    assert!(text.code == 0 && text.out.contains("verdict: good; the user is in none of access.apiGroups"), "{text:?}");
}

#[test]
fn issuer_and_audience_come_from_options_or_the_configuration() {
    let home = home();
    home.write(
        "config.yaml",
        "store: {directory: {users: .vestibule/users, keys: .vestibule/keys}}\ntokens: {issuer: there, maxTtl: 10m}\n",
    );
    let token = home.done("token issue ann --config .vestibule/config.yaml --audience app");
    let judged = |options: &str| {
        let ran = home.run_with(&format!("token inspect -o json {options}"), token.as_bytes());
        serde_json::from_str::<Value>(&ran.out).expect("JSON")["reason"].clone()
    };
    assert_eq!(judged("--issuer there --audience app"), Value::Null);
    assert_eq!(judged("--config .vestibule/config.yaml --audience app"), Value::Null);
    assert_eq!(judged("--audience app"), "wrong_issuer");
    assert_eq!(judged("--issuer there"), "wrong_audience");
    home.run("token issue ann --config .vestibule/config.yaml --ttl 11m").refused(64, "from 1s to 600s");
}

#[test]
fn each_reason_to_refuse_a_token_has_its_word_and_code_1() {
    let home = home();
    let token = home.done("token issue ann");
    let short = home.done("token issue ann --ttl 1s");
    let parts: Vec<&str> = token.trim().split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], short.split('.').nth(1).expect("claims"), parts[2]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let refused = |token: &str, reason: &str| {
        let (code, verdict) = inspected(&home, token);
        assert_eq!((code, &verdict["verdict"], &verdict["reason"]), (1, &json!("refused"), &json!(reason)));
    };
    refused("nonsense", "malformed");
    refused(&"x".repeat(20_000), "malformed");
    refused("\u{ff}.\u{fe}.", "malformed");
    refused(&short, "expired");
    refused(&forged, "bad_signature");
    home.done("users disable ann");
    refused(&token, "user_inactive");
    home.done("users enable ann");
    home.done("users logout ann");
    refused(&token, "logged_out");
    let kid = home.json("keys list -o json")[0]["kid"].as_str().expect("a kid").to_owned();
    home.done(&format!("keys revoke {kid}"));
    refused(&token, "unknown_key");
    let ran = home.run_with("token inspect", token.as_bytes());
    assert!(ran.out.ends_with("verdict: refused: unknown_key\n"), "{ran:?}");
    let mend = "log in for a new one, or mint one with `token issue`";
    assert_eq!(ran.err, format!("vestibule: the token is refused: unknown_key: {mend}\n"));
    let ran = home.run_with("token inspect", b"nonsense");
    assert!(ran.err.starts_with("vestibule: the token is refused: malformed: pipe in the whole of it"), "{ran:?}");
}

#[test]
fn claims_of_others_cannot_steer_the_terminal() {
    let home = home();
    // {"alg":"none","kid":"\u001b[2J"} . {"sub":"a\u009bb\n c"}
    let token = "eyJhbGciOiJub25lIiwia2lkIjoiXHUwMDFiWzJKIn0.eyJzdWIiOiJhXHUwMDliYlxuIGMifQ.";
    for arguments in ["token inspect", "token inspect -o json"] {
        let ran = home.run_with(arguments, token.as_bytes());
        assert!(ran.code == 1 && ran.out.contains("sub"), "{ran:?}");
        assert!(!ran.out.contains(|c: char| c.is_control() && c != '\n'), "{ran:?}");
    }
}

#[test]
fn no_token_for_whom_it_would_not_help() {
    let home = home();
    home.write("users/auth", "bob:$apr1$salt$abcdefghijklmnopqrstuv\n");
    home.write("users/more.yaml", "users: {cid: {tokensNotBefore: 2100-01-01T00:00:00Z}, dan: {disabled: true}}\n");
    for (arguments, code, words) in [
        ("token issue eve", 1, "there is no user \"eve\""),
        ("token issue bob", 1, "user \"bob\" is unusable"),
        ("token issue cid", 1, "issued before 2100-01-01T00:00:00Z"),
        ("token issue dan", 1, "user \"dan\" is disabled"),
        ("token issue", 64, "<USER> is missing"),
        ("token issue ann --ttl 0s", 64, "--ttl is a length of time from 1s to 86400s"),
        ("token issue ann --ttl 2d", 64, "--ttl is a length of time"),
        ("token issue ann --ttl 300", 64, "--ttl is a length of time"),
        ("token issue ann --config nowhere", 64, "nowhere: cannot be read"),
        ("token issue ann --dir nowhere", 1, "is not there"),
        ("token inspect", 64, "there is no token on standard input"),
    ] {
        home.run(arguments).refused(code, words);
    }
    let empty = Home::new().with_user("ann");
    empty.run("token issue ann").refused(1, "no key can sign");
}

#[test]
fn a_token_that_ends_with_its_key_says_so() {
    let home = home();
    home.done("keys rotate --max-ttl 5m --propagation 5s");
    let ran = home.run("token issue ann --ttl 1h");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("the token ends with its key") && ran.err.lines().count() == 1, "{ran:?}");
    let (_, verdict) = inspected(&home, &ran.out);
    assert_eq!(verdict["claims"]["exp"], home.json("keys list -o json")[0]["exp"]);
}
