//! The bytes of path and query: the application gets those that were judged.

use super::*;

const TARGETS: [&str; 26] = [
    "/",
    "/?",
    "/??",
    "/?a=b?c=d&&=",
    "/a%2Fb%2fc",
    "/a%5Cb",
    "/%C3%A9%ff",
    "//x//y//",
    "/a/../b",
    "/a/./b/.",
    "/..%2f..",
    "/a;b=c;d",
    "/a%00b",
    "/a%25b%2525",
    "/a|b",
    "/{a}",
    "/a\"b",
    "/~a!$&'()*+,;=:@",
    "/a?x=[1]",
    "/[a]",
    "/a^b`c",
    "/%",
    "/%zz?%",
    "/a?q=/../",
    "/A/B/%61",
    "/a?<>",
];

#[tokio::test]
async fn every_byte_of_the_target_stays() {
    for app in [App::start().await, App::answering(Listening::H2c, |_| Response::new(full("hello"))).await] {
        let vestibule = Setup::new().upstream(&app).start().await;
        let token = vestibule.token("admin").await;
        for target in TARGETS {
            let before = app.seen().len();
            let (head, _) = vestibule
                .client()
                .raw(format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"))
                .await;
            // What the HTTP library takes for no target at all is refused, never mended.
            if head.status() == 200 {
                assert_eq!(app.last().target, target);
            } else {
                assert_eq!((head.status(), app.seen().len()), (400, before), "{target}");
                assert!(target.contains(['<', '"', '`', '^', '{', '|', '[']), "{target} is an ordinary target");
            }
        }
        let mut connection = vestibule.client().http2().connect().await;
        for target in TARGETS.iter().filter(|target| format!("https://a{target}").parse::<http::Uri>().is_ok()) {
            let answer = connection.send(get(target).bearer(&token)).await;
            assert_eq!((answer.status, app.last().target.as_str()), (200, *target), "{app}");
        }
    }
}

/// Bytes above ASCII are no URI (RFC 3986); they pass as they are or not at all.
#[tokio::test]
async fn bytes_above_ascii_are_not_changed() {
    let app = App::raw(|mut wire, _| async move {
        while let Some((head, _)) = wire.request().await {
            let text = head.target().to_owned();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
        }
    })
    .await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    for target in ["/\u{e9}", "/a?\u{e9}"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
        let (head, body) = vestibule.client().raw(request).await;
        match head.status() {
            200 => assert_eq!(body, target.as_bytes()),
            status => assert_eq!(status, 400, "{target}"),
        }
    }
}
