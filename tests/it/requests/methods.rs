//! Methods, versions and statuses with rules of their own.

use super::*;

/// An application that answers what the path says.
async fn app() -> App {
    App::raw(|mut wire, _| async move {
        while let Some((head, _)) = wire.request().await {
            let answer = match head.target() {
                "/open/204" => "HTTP/1.1 204 No Content\r\nX-App: yes\r\n\r\n",
                "/open/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
                "/open/103" => {
                    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                     HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                "/open/until-close" => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end",
                "/open/1.0" => "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
                "/open/reason" => "HTTP/1.1 299 My Own\r\nContent-Length: 2\r\n\r\nok",
                _ if head.method() == "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            wire.send(answer).await;
            if head.target() == "/open/until-close" || head.target() == "/open/1.0" {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut wire = vestibule.client().wire().await;
    for (method, path, status, length) in [
        ("HEAD", "/open", 200, Some("12345")),
        ("GET", "/open/204", 204, None),
        ("GET", "/open/304", 304, None),
        ("OPTIONS", "/open", 200, Some("2")),
        ("GET", "/open/103", 200, Some("2")),
        ("GET", "/open/reason", 299, Some("2")),
        ("DELETE", "/open", 200, Some("2")),
    ] {
        wire.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let (head, _) = wire.answer(method).await;
        assert_eq!((head.status(), head.one("content-length")), (status, length), "{method} {path}");
    }
    let mut connection = vestibule.client().http2().connect().await;
    for (method, path, status) in [("HEAD", "/open", 200), ("GET", "/open/204", 204), ("GET", "/open/304", 304)] {
        let answer = connection.send(Call::new(method, path)).await;
        assert_eq!((answer.status, answer.text()), (status, ""), "{method} {path}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for _ in 0..3 {
        for client in [vestibule.client(), vestibule.client().http2()] {
            let mut connection = client.connect().await;
            assert_eq!(connection.send(get("/open/until-close")).await.text(), "to the end");
            assert_eq!(connection.send(get("/open")).await.text(), "ok");
        }
    }
}

/// The version is the hop's own (RFC 9110, section 2.5): an old application does not make the client's connection old.
#[tokio::test]
async fn an_application_of_http_1_0_costs_no_connection() {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let mut connection = client.connect().await;
        assert_eq!(connection.send(get("/open/1.0")).await.text(), "ok");
        assert_eq!(connection.send(get("/open")).await.text(), "ok");
    }
    let answers = exchange(&vestibule, "GET /open/1.0 HTTP/1.1\r\nHost: a\r\n\r\n", 1).await;
    assert_eq!(answers[0].0.start, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn http_1_0_closes_unless_it_asks_not_to() {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut wire = vestibule.client().wire().await;
    wire.send("GET /open HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    let (head, _) = wire.answer("GET").await;
    assert_eq!(head.status(), 200);
    assert!(head.one("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")), "{head:?}");
    wire.send("GET /open HTTP/1.0\r\n\r\n").await;
    assert_eq!(wire.answer("GET").await.0.status(), 200);
    assert_eq!(wire.rest().await, b"");
    // A client that knows no chunks gets none.
    let mut wire = vestibule.client().wire().await;
    wire.send("GET /open/until-close HTTP/1.0\r\n\r\n").await;
    let text = String::from_utf8(wire.rest().await).expect("text");
    assert!(!text.to_lowercase().contains("chunked"), "{text}");
    assert!(text.ends_with("\r\n\r\nto the end"), "{text}");
}

#[tokio::test]
async fn connect_is_refused_and_trace_needs_a_token() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let connect = format!("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n{bearer}\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    let answers = exchange(&vestibule, connect, 1).await;
    assert_refused(&answers[0], 400, "CONNECT");
    let answers = exchange(&vestibule, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 1).await;
    assert_refused(&answers[0], 401, "TRACE");
    assert_eq!(witness.seen(), Vec::<String>::new());
    let answers = exchange(&vestibule, format!("OPTIONS * HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"), 1).await;
    assert_eq!(answers[0].0.status(), 200);
    assert_eq!(witness.seen(), ["OPTIONS *"]);
}

#[tokio::test]
async fn connection_close_is_obeyed() {
    let app = app().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let answers = exchange(
        &vestibule,
        "GET /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /open HTTP/1.1\r\nHost: a\r\n\r\n",
        3,
    )
    .await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0.one("connection"), Some("close"));
}

/// Either the connection goes on, or the answer says that it does not (RFC 9112, section 9.3).
#[tokio::test]
async fn a_refusal_ends_the_connection_only_where_it_says_so() {
    let (witness, app) = Witness::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let framings = ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"];
    for framing in framings.into_iter().chain(["Content-Length: 0\r\n\r\n", "\r\n"]) {
        // What has come already is passed over.
        let post = format!("POST /closed HTTP/1.1\r\nHost: a\r\n{framing}");
        let answers = exchange(&vestibule, format!("{post}{post}{next}"), 3).await;
        assert_eq!(answers.len(), 3, "{framing}: {answers:?}");
        for (head, _) in &answers {
            assert_eq!((head.status(), head.one("connection")), (401, None), "{framing}");
        }
    }
    for rest in ["Content-Length: 5\r\n\r\n", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"] {
        let mut wire = vestibule.client().wire().await;
        wire.send(format!("POST /closed HTTP/1.1\r\nHost: a\r\n{rest}")).await;
        let (head, _) = wire.answer("POST").await;
        assert_eq!((head.status(), head.one("connection")), (401, Some("close")), "{rest}");
        wire.send(format!("hello{next}")).await;
        assert_eq!(wire.rest().await, b"", "{rest}");
    }
    assert_eq!(witness.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn trailers_of_a_request_over_http1_reach_the_application() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let request = "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
        3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 42\r\n\r\n";
    let answers = exchange(&vestibule, request, 1).await;
    assert_eq!(answers[0].0.status(), 200);
    let seen = app.last();
    assert_eq!(seen.body.as_ref(), b"abcde");
    assert_eq!(seen.trailers.expect("trailers")["x-sum"], "42");
}
