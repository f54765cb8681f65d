//! What a token must say, with strict types and no leeway.

use serde_json::{Value, json};

use super::{assert_invalid, changed, with_key};
use crate::support::*;

/// A token whose claims are written as text, so that numbers stand as they are meant to.
fn with_text(key: &Jwk, member: &str, text: Option<&str>) -> String {
    let mut claims = claims("admin");
    claims.as_object_mut().expect("an object").remove(member);
    let rest = claims.to_string();
    let payload = match text {
        None => rest,
        Some(text) => format!("{},\"{member}\":{text}}}", &rest[..rest.len() - 1]),
    };
    key.sign(&key.header().to_string(), &payload)
}

#[tokio::test]
async fn required_claims_are_there_and_of_their_type() {
    let (app, vestibule, key) = with_key("HS512", "{}").await;
    let mut connection = vestibule.client().connect().await;
    let soon = now() + 300;
    let (float, fraction) = (format!("{soon}.0"), format!("{soon}.5"));
    let (string, list) = (format!("\"{soon}\""), format!("[{soon}]"));
    let not_times =
        [&float, &fraction, &string, &list, "1.8e9", "-1", "null", "true", "{}", "\"\"", "18446744073709551616"];
    for claim in ["exp", "iat", "auth_time"] {
        for text in not_times {
            let answer = connection.send(get("/").bearer(&with_text(&key, claim, Some(text)))).await;
            assert_invalid(&answer, "bad_claims", &format!("{claim}: {text}"));
        }
    }
    for claim in ["sub", "jti", "iss"] {
        for text in ["\"\"", "null", "1", "true", "[\"admin\"]", "{}"] {
            let answer = connection.send(get("/").bearer(&with_text(&key, claim, Some(text)))).await;
            assert_invalid(&answer, "bad_claims", &format!("{claim}: {text}"));
        }
    }
    for claim in ["exp", "iat", "auth_time", "sub", "jti", "iss"] {
        let answer = connection.send(get("/").bearer(&with_text(&key, claim, None))).await;
        assert_invalid(&answer, "bad_claims", &format!("no {claim}"));
    }
    for (claim, text) in
        [("cred", "null"), ("cred", "1"), ("groups", "\"Administrator\""), ("aud", "1"), ("nbf", "\"1\"")]
    {
        let answer = connection.send(get("/").bearer(&with_text(&key, claim, Some(text)))).await;
        assert_invalid(&answer, "bad_claims", &format!("{claim}: {text}"));
    }
    let twice = claims("admin").to_string().replace("\"sub\":", "\"sub\":\"off\",\"sub\":");
    let token = key.sign(&key.header().to_string(), &twice);
    assert_invalid(&connection.send(get("/").bearer(&token)).await, "bad_claims", "a claim that stands twice");
    for payload in ["", "null", "[]", "no JSON", "{\"exp\":1"] {
        let answer = connection.send(get("/").bearer(&key.sign(&key.header().to_string(), payload))).await;
        assert_invalid(&answer, "bad_claims", payload);
    }
    assert_eq!(app.seen().len(), 0);
    assert_eq!(connection.send(get("/").bearer(&with_text(&key, "exp", Some(&soon.to_string())))).await.status, 200);
}

#[tokio::test]
async fn at_exp_a_token_is_over() {
    let (app, vestibule, key) = with_key("HS512", "{}").await;
    let client = vestibule.client();
    for exp in [0, 1, now() - 3600, now() - 1, now()] {
        let answer = client.send(get("/").bearer(&key.token(&changed(&json!({"exp": exp}))))).await;
        assert_invalid(&answer, "expired", &format!("exp {exp}"));
    }
    assert_eq!(app.seen().len(), 0);
}

#[tokio::test]
async fn a_token_that_was_good_is_over_in_time_on_an_open_connection() {
    let (_app, vestibule, key) = with_key("HS512", "{}").await;
    let exp = now() + 3;
    let token = key.token(&changed(&json!({"exp": exp})));
    let mut connection = vestibule.client().connect().await;
    let mut good = 0;
    let refused = eventually("the end of the token", async || {
        let asked = now();
        let answer = connection.send(get("/").bearer(&token)).await;
        if answer.status == 200 {
            assert!(asked < exp, "no leeway");
            good += 1;
            return None;
        }
        Some(answer)
    })
    .await;
    assert!(good > 0 && now() >= exp, "it is not refused before");
    assert_invalid(&refused, "expired", "a token that ran out");
}

#[tokio::test]
async fn issuer_and_audience_must_be_ours() {
    let (_app, vestibule, key) = with_key("HS512", "{}").await;
    let client = vestibule.client();
    for iss in ["other", "Vestibule", "vestibule ", "https://vestibule"] {
        let answer = client.send(get("/").bearer(&key.token(&changed(&json!({"iss": iss}))))).await;
        assert_invalid(&answer, "wrong_issuer", iss);
    }
    let for_another = key.token(&changed(&json!({"aud": "other"})));
    assert_invalid(
        &client.send(get("/").bearer(&for_another)).await,
        "wrong_audience",
        "an audience where none is set",
    );

    let (_app, vestibule, key) = with_key("HS512", "{tokens: {issuer: us, audience: app}}").await;
    let client = vestibule.client();
    for (aud, reason) in [
        (json!("app"), None),
        (json!(["other", "app"]), None),
        (json!("other"), Some("wrong_audience")),
        (json!("App"), Some("wrong_audience")),
        (json!(["app2"]), Some("wrong_audience")),
        (json!([]), Some("wrong_audience")),
        (json!(["app", 1]), Some("bad_claims")),
        (Value::Null, Some("bad_claims")),
    ] {
        let token = key.token(&changed(&json!({"iss": "us", "aud": aud})));
        let answer = client.send(get("/").bearer(&token)).await;
        match reason {
            None => assert_eq!(answer.status, 200, "{aud}"),
            Some(reason) => assert_invalid(&answer, reason, &aud.to_string()),
        }
    }
    let without = client.send(get("/").bearer(&key.token(&changed(&json!({"iss": "us"}))))).await;
    assert_invalid(&without, "wrong_audience", "no audience");
    let theirs = client.send(get("/").bearer(&key.token(&changed(&json!({"aud": "app"}))))).await;
    assert_invalid(&theirs, "wrong_issuer", "the default issuer");
}

#[tokio::test]
async fn a_token_that_is_not_yet_good_is_refused() {
    let (_app, vestibule, key) = with_key("HS512", "{}").await;
    let later = key.token(&changed(&json!({"nbf": now() + 600})));
    assert_invalid(&vestibule.client().send(get("/").bearer(&later)).await, "bad_claims", "nbf");
    let since = key.token(&changed(&json!({"nbf": now()})));
    assert_eq!(vestibule.client().send(get("/").bearer(&since)).await.status, 200);
}
