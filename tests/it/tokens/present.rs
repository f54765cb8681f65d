//! The user's present state counts, not the token's age: on the next request after the store has changed, on
//! connections that are open already.

use serde_json::{Value, json};

use super::{assert_invalid, changed, with_key};
use crate::support::*;

/// A Vestibule with two connections open, one of each version, on which this token has just been good.
struct Open {
    app: App,
    vestibule: Vestibule,
    connections: Vec<Connection>,
    token: String,
}

impl Open {
    async fn with_token_of(user: &str) -> Self {
        let app = App::start().await;
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token(user).await;
        let mut open = Self { app, vestibule, connections: Vec::new(), token };
        for client in [open.vestibule.client(), open.vestibule.client().http2()] {
            open.connections.push(client.connect().await);
        }
        open.is_good().await;
        open
    }

    /// Publishes the default users with one of them changed.
    async fn change(&self, user: &str, change: impl FnOnce(&mut Value)) {
        let mut users = default_users();
        change(&mut users["users"][user]);
        self.vestibule.users(&users).await;
    }

    async fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for connection in &mut self.connections {
            assert!(!connection.is_closed(), "no change closes a connection");
            answers.push(connection.send(get("/").bearer(&self.token)).await);
        }
        answers
    }

    async fn is_good(&mut self) {
        for answer in self.answers().await {
            assert_eq!((answer.status, answer.text()), (200, "hello"));
        }
    }

    async fn is_refused(&mut self, reason: &str) {
        let before = self.app.seen().len();
        for answer in self.answers().await {
            assert_invalid(&answer, reason, reason);
        }
        assert_eq!(self.app.seen().len(), before);
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_and_in_again_when_enabled() {
    let mut open = Open::with_token_of("admin").await;
    open.change("admin", |user| user["disabled"] = json!(true)).await;
    open.is_refused("user_inactive").await;
    open.change("admin", |_| {}).await;
    open.is_good().await;
}

#[tokio::test]
async fn a_removed_user_is_out_and_one_added_anew_is_another() {
    let mut open = Open::with_token_of("admin").await;
    let mut users = default_users();
    users["users"].as_object_mut().expect("users").remove("admin");
    open.vestibule.users(&users).await;
    open.is_refused("user_inactive").await;
    open.change("admin", |user| user["passwords"] = json!([{"hash": argon2("another")}])).await;
    open.is_refused("password_changed").await;
    open.change("admin", |_| {}).await;
    open.is_good().await;
}

#[tokio::test]
async fn an_empty_table_is_obeyed() {
    let mut open = Open::with_token_of("admin").await;
    open.vestibule.users(&json!({"users": {}})).await;
    open.is_refused("user_inactive").await;
}

#[tokio::test]
async fn a_password_change_ends_the_tokens_of_the_old_password_alone() {
    let mut open = Open::with_token_of("two").await;
    // `two` has logged in with the older of its two passwords.
    let new = open.vestibule.client().login("two", "two-new").await.json();
    let new = new["apiToken"].as_str().expect("a token").to_owned();
    open.change("two", |user| user["passwords"] = json!([{"hash": argon2("two-new")}])).await;
    open.is_refused("password_changed").await;
    let answer = open.connections[0].send(get("/").bearer(&new)).await;
    assert_eq!(answer.status, 200);
    // The same password hashed anew is another entry.
    open.change("two", |user| user["passwords"] = json!([{"hash": bcrypt("two-new")}])).await;
    assert_invalid(&open.connections[0].send(get("/").bearer(&new)).await, "password_changed", "hashed anew");
}

#[tokio::test]
async fn a_changed_group_counts_at_once_and_not_the_tokens() {
    let mut open = Open::with_token_of("admin").await;
    open.change("admin", |user| user["groups"] = json!(["Readers"])).await;
    for answer in open.answers().await {
        assert_eq!((answer.status, answer.json()), (403, json!({"message": "Forbidden", "status": 403})));
    }
    open.change("admin", |user| user["groups"] = json!(["Readers", "SaaS_User"])).await;
    open.is_good().await;
    assert_eq!(open.app.last().header("x-forwarded-groups"), Some("Readers,SaaS_User"));
}

#[tokio::test]
async fn tokens_not_before_logs_out_what_was_issued_earlier() {
    let (_app, vestibule, key) = with_key("HS512", "{}").await;
    let mut connection = vestibule.client().connect().await;
    let minted = |iat: u64| key.token(&changed(&json!({"iat": iat})));
    // 2023-11-14T22:13:20Z
    let limit = 1_700_000_000;
    assert_eq!(connection.send(get("/").bearer(&minted(limit - 1))).await.status, 200);
    let mut users = default_users();
    users["users"]["admin"]["tokensNotBefore"] = json!("2023-11-14T22:13:20Z");
    vestibule.users(&users).await;
    assert_invalid(&connection.send(get("/").bearer(&minted(limit - 1))).await, "logged_out", "issued before");
    assert_eq!(connection.send(get("/").bearer(&minted(limit))).await.status, 200, "issued then");
    assert_eq!(connection.send(get("/").bearer(&vestibule.token("admin").await)).await.status, 200);
}

#[tokio::test]
async fn a_token_from_the_second_of_a_logout_is_good() {
    let (_app, vestibule, _) = with_key("HS512", "{}").await;
    // As `logout` writes it: the next whole second. Later ones are no logout, and refuse what is issued until then.
    let next = eventually("a second with room", async || {
        let mut users = default_users();
        let next = now() + 1;
        let text = httpdate(next);
        users["users"]["admin"]["tokensNotBefore"] = json!(text);
        vestibule.users(&users).await;
        let token = vestibule.token("admin").await;
        (now() < next).then_some((next, token))
    });
    let (next, token) = next.await;
    assert_eq!(decode(&token).1["iat"], next, "it carries the second from which on tokens count");
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200);
}

/// Seconds since the epoch as an RFC 3339 time.
fn httpdate(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).expect("a time of this age");
    jiff::Timestamp::from_second(seconds).expect("a time of this age").to_string()
}

#[tokio::test]
async fn an_operators_token_lasts_while_the_user_does() {
    let (_app, vestibule, key) = with_key("HS512", "{}").await;
    let token = key.token(&claims("admin"));
    let mut connection = vestibule.client().connect().await;
    let mut users = default_users();
    users["users"]["admin"]["passwords"] = json!([{"hash": argon2("another")}]);
    vestibule.users(&users).await;
    assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200, "no password earned it");
    let unknown = key.token(&claims("nobody"));
    assert_invalid(&connection.send(get("/").bearer(&unknown)).await, "user_inactive", "nobody of that name");
    let odd = connection.send(get("/").bearer(&key.token(&claims("ADMIN")))).await;
    assert_invalid(&odd, "user_inactive", "names are case-sensitive");
    for cred in ["", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAA", "!!!!!!!!!!!!!!!!"] {
        let token = key.token(&changed(&json!({"cred": cred})));
        assert_invalid(&connection.send(get("/").bearer(&token)).await, "password_changed", cred);
    }
}

#[tokio::test]
async fn a_bad_new_version_leaves_the_last_good_one_in_force() {
    let mut open = Open::with_token_of("admin").await;
    open.vestibule.replace("users/users.yaml", "users: [");
    let failed = "vestibule_reloads_total{what=\"users\",result=\"error\"}";
    let failures = async || (open.vestibule.metrics().await.value(failed) >= 1.0).then_some(());
    eventually("a reload that failed", failures).await;
    open.is_good().await;
    assert_eq!(open.vestibule.client().login("two", "two-new").await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_found_good_ends_with_its_key() {
    let (_app, vestibule, key) = with_key("HS512", "{}").await;
    let token = key.token(&crate::support::claims("admin"));
    let mut connection = vestibule.client().connect().await;
    let end = now() + 3;
    let other = Jwk::fresh("HS512", "k2");
    vestibule.keys(&[key.with(&json!({"exp": end})), other]).await;
    assert_eq!(connection.send(get("/x").bearer(&token)).await.status, 200);
    while now() < end {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(connection.send(get("/x").bearer(&token)).await.status, 401);
}
