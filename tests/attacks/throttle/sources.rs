//! Who is told apart and who is not: names that exist and names that do not, addresses and networks.

use super::*;

/// Everything of an answer but the values that differ between any two requests.
async fn transcript(client: &Client, requests: &[String]) -> Vec<String> {
    let mut wire = client.wire().await;
    let mut answers = Vec::new();
    for request in requests {
        wire.send(request).await;
        let (head, body) = wire.answer("POST").await;
        let mut text = head.start;
        for (name, value) in head.fields {
            let varies = ["date", "x-request-id"].contains(&name.to_lowercase().as_str());
            text += &format!("\n{name}: {}", if varies { "?".repeat(value.len()) } else { value });
        }
        answers.push(format!("{text}\n\n{}", String::from_utf8_lossy(&body)));
    }
    answers
}

/// A raw login in one dialect or the other.
fn request(path: &str, user: &str, password: &str) -> String {
    let (name, pwd) = if path == "/authorize" { ("userName", "pwd") } else { ("username", "password") };
    let body = json!({name: user, pwd: password}).to_string();
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn nothing_in_a_whole_history_of_answers_tells_one_name_from_another() {
    let _alone = alone().await;
    let mut users = default_users();
    users["users"]["unusable"] = json!({"passwords": [{"hash": "$apr1$lZL6V/ci$eIMz/iKDkbtys"}]});
    users["users"]["bare"] = json!({"groups": ["Administrator"]});
    let vestibule = Setup::new().users(&users).config(LONG).start().await;
    let long_name = "n".repeat(256);
    let names =
        ["admin", "nobody", "off", "unusable", "bare", "expired", "Admin", "no,body", "no body\u{e9}\0", &long_name];
    let mut histories = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let client = vestibule.client().from(&format!("127.0.1.{number}"));
        // Disabled and unusable users are denied with any password, and while waiting nobody's is looked at.
        let right = if *name == "off" { "off-password" } else { "wrong" };
        let requests: Vec<_> = [("/authorize", right), ("/authorize", "admin-password"), ("/v1/users/authorize", "x")]
            .iter()
            .cycle()
            .take(12)
            .map(|(path, password)| request(path, name, password))
            .collect();
        histories.push(transcript(&client, &requests).await);
    }
    for (name, history) in names.iter().zip(&histories) {
        assert_eq!(history, &histories[0], "{name:?}");
    }
    let statuses: Vec<_> = histories[0].iter().map(|answer| answer[9..12].to_owned()).collect();
    assert_eq!(statuses, [vec!["401"], vec!["429"; 11]].concat());
    let waits: Vec<u64> = histories[0][1..].iter().map(|answer| wait_in(answer)).collect();
    assert_eq!(waits, (1..12).map(|doubled| (100 << doubled).min(86_400)).collect::<Vec<_>>());
    let bytes: usize = histories[0].iter().map(String::len).sum();
    figure("answers compared byte by byte", format!("{} names, {bytes} bytes each", names.len()));
}

fn wait_in(answer: &str) -> u64 {
    let line = answer.lines().find_map(|line| line.to_lowercase().strip_prefix("retry-after: ").map(str::to_owned));
    line.expect("Retry-After").parse().expect("whole seconds")
}

#[tokio::test]
async fn a_forged_header_makes_nobody_another_client() {
    let _alone = alone().await;
    let vestibule = Setup::new().config(LONG).config("trustedProxies: [192.0.2.0/24]").start().await;
    let connection = vestibule.client().http2().connect().await;
    let mut checked = 0;
    for number in 0..200 {
        let header = ["x-forwarded-for", "forwarded", "x-real-ip", "true-client-ip"][number % 4];
        let value = if number % 4 == 1 {
            format!("for=198.51.100.{number}")
        } else {
            format!("198.51.100.{number}, 192.0.2.1")
        };
        let call = login("admin", &format!("guess {number}")).header(header, value);
        checked += usize::from(connection.another().send(call).await.status == 401);
    }
    figure("passwords checked of 200 guesses under forged addresses", checked);
    assert_eq!(checked, 1);
}

#[tokio::test]
async fn a_proxy_names_its_clients_and_an_ipv6_network_is_one_of_them() {
    let _alone = alone().await;
    let vestibule = Setup::new().config(LONG).config(PROXIED).start().await;
    let connection = vestibule.client().http2().connect().await;
    let guess = async |source: &str| connection.another().send(login_from(source, "admin", "wrong")).await;

    // 100 addresses of one /64, in every spelling, are one source.
    let mut checked = 0;
    for number in 0..100 {
        let address = format!("2001:db8:1:2:{number:x}:{:x}::{number:x}", number * 7);
        let spelled = match number % 4 {
            0 => address,
            1 => format!("[{address}]"),
            2 => format!("[{address}]:4711"),
            _ => address.to_uppercase(),
        };
        checked += usize::from(guess(&spelled).await.status == 401);
    }
    figure("passwords checked of 100 guesses from one IPv6 /64", checked);
    assert_eq!(checked, 1);

    let right =
        async |source: &str| connection.another().send(login_from(source, "admin", "admin-password")).await.status;
    for (source, status) in [
        ("2001:db8:1:2::ffff", 429),
        ("2001:db8:1:3::1", 200),
        ("2001:db8:1:1:ffff:ffff:ffff:ffff", 200),
        ("2001:db8::1:2:0:0:1", 200),
        ("192.0.2.7", 200),
    ] {
        assert_eq!(right(source).await, status, "{source}");
    }

    // An IPv4 address is one source however it is written, and its neighbours are others.
    assert_eq!(guess("192.0.2.1").await.status, 401);
    for spelled in [
        "::ffff:192.0.2.1",
        "[::ffff:192.0.2.1]:80",
        "192.0.2.1:4711",
        "198.51.100.1, 192.0.2.1",
        "192.0.2.1, 127.0.0.9",
    ] {
        assert_eq!(right(spelled).await, 429, "{spelled}");
    }
    assert_eq!(right("192.0.2.2").await, 200);
    // What the client itself puts to the left counts for nothing, on a line of its own either.
    let two_lines = login_from("203.0.113.9", "admin", "admin-password").header("x-forwarded-for", "192.0.2.1");
    assert_eq!(connection.another().send(two_lines).await.status, 429);
}
