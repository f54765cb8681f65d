//! What a request's head must be before anyone looks at who sent it.

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Uri, Version};

use crate::gate::BadRequest;
use crate::server::Hidden;

/// The host that is asked for must be known and one (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
pub(super) fn fault<B>(request: &Request<B>, hidden: Hidden) -> Option<BadRequest> {
    if request.method() == Method::CONNECT {
        return Some(BadRequest::Method);
    }
    if !is_framed_once(request.headers(), hidden) {
        return Some(BadRequest::Framing);
    }
    (!host_is_plain(request.version(), request.uri(), request.headers())).then_some(BadRequest::Host)
}

/// One `chunked` and nothing else, or a length (RFC 9112, sections 6.1 and 6.3); the HTTP library takes away the length
/// beside a `Transfer-Encoding`, and other codings before `chunked` are nothing that goes on to the application.
fn is_framed_once(headers: &HeaderMap, hidden: Hidden) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return true };
    codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") && !hidden.length
}

fn host_is_plain(version: Version, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.as_bytes()),
        (Some(_), Some(_)) => return false,
    };
    if let Some(host) = host
        && !is_authority(host)
    {
        return false;
    }
    match (uri.authority(), host) {
        (Some(target), Some(host)) => {
            is_authority(target.as_str().as_bytes()) && target.as_str().as_bytes().eq_ignore_ascii_case(host)
        }
        (Some(target), None) => version == Version::HTTP_2 && is_authority(target.as_str().as_bytes()),
        (None, Some(_)) => true,
        (None, None) => version == Version::HTTP_10,
    }
}

/// `host` or `host:port`, without user information.
fn is_authority(text: &[u8]) -> bool {
    // Most hosts are letters, digits, dots, hyphens and a port.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
    if text.iter().all(plain) && !text.is_empty() && text.iter().filter(|byte| **byte == b':').count() <= 1 {
        return true;
    }
    !text.contains(&b'@') && Authority::try_from(text).is_ok()
}

/// Bytes of a head in HTTP/1.1's form, for a limit that is the same in both versions.
pub(super) fn size<B>(request: &Request<B>) -> usize {
    let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    fields + target + request.method().as_str().len() + 12
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: Version, target: &str, hosts: &[&str]) -> Option<BadRequest> {
        let mut builder = Request::builder().version(version).uri(target);
        for host in hosts {
            builder = builder.header(HOST, *host);
        }
        fault(&builder.body(()).expect("a request"), Hidden::default())
    }

    #[test]
    fn exactly_one_host_the_same_as_the_targets() {
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (version, target, hosts, good) in [
            (v11, "/", &["a.example"][..], true),
            (v11, "/", &["a.example:8443"], true),
            (v11, "/", &["[::1]:8443"], true),
            (v11, "/", &[], false),
            (v11, "/", &[""], false),
            (v11, "/", &["a", "a"], false),
            (v11, "/", &["user@a"], false),
            (v11, "/", &["a b"], false),
            (v11, "/", &["a/b"], false),
            (v11, "http://a/x", &["a"], true),
            (v11, "http://a/x", &["A"], true),
            (v11, "http://a/x", &["b"], false),
            (v11, "http://a/x", &[], false),
            (v10, "/", &[], true),
            (v2, "https://a/x", &[], true),
            (v2, "https://a/x", &["a"], true),
            (v2, "https://a/x", &["b"], false),
            (v2, "/x", &[], false),
        ] {
            assert_eq!(of(version, target, hosts).is_none(), good, "{version:?} {target} {hosts:?}");
        }
    }

    #[test]
    fn one_framing_and_no_other() {
        for (codings, length, good) in [
            (&[][..], false, true),
            (&[], true, true),
            (&["chunked"], false, true),
            (&["CHUNKED"], false, true),
            (&["chunked"], true, false),
            (&["gzip, chunked"], false, false),
            (&["gzip", "chunked"], false, false),
            (&["chunked", "chunked"], false, false),
            (&["chunked;q=1"], false, false),
        ] {
            let mut builder = Request::builder().uri("/").header(HOST, "a");
            for coding in codings {
                builder = builder.header(TRANSFER_ENCODING, *coding);
            }
            let request = builder.body(()).expect("a request");
            let found = fault(&request, Hidden { length, ..Hidden::default() });
            assert_eq!(found, (!good).then_some(BadRequest::Framing), "{codings:?} {length}");
        }
    }

    #[test]
    fn connect_is_refused() {
        let request = Request::builder().method(Method::CONNECT).uri("a:1").body(()).expect("a request");
        assert_eq!(fault(&request, Hidden::default()), Some(BadRequest::Method));
    }
}
