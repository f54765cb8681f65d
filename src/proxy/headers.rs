//! What a proxy takes off a message and puts on it: hop-by-hop fields, identity headers, the forwarding chain.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Version, request};

use crate::gate::{IdentityHeaders, Permit};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers by which a client could make the application see another path or method than the one that was judged.
const OVERRIDES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];

/// The hop that a request came over.
#[derive(Debug)]
pub(crate) struct Hop {
    /// The peer's address as a header value, made once a connection.
    pub(crate) peer: HeaderValue,
    /// The peer is one of `trustedProxies`: what it says of the client is kept.
    pub(crate) trusted: bool,
}

impl Hop {
    pub(crate) fn new(peer: IpAddr, trusted: bool) -> Self {
        let peer = HeaderValue::try_from(peer.to_string()).expect("an IP address is visible ASCII");
        Self { peer, trusted }
    }
}

/// The protocol that a client asks to switch to (RFC 9110, section 7.8), where it may: never to HTTP/2, which would
/// carry requests that nobody judged.
pub(crate) fn wanted_upgrade(parts: &request::Parts) -> Option<HeaderValue> {
    let upgrade = parts.headers.get(UPGRADE)?;
    let asked = parts.version == Version::HTTP_11 && list_holds(&parts.headers, &CONNECTION, "upgrade");
    let text = upgrade.to_str().ok()?;
    let to_http = text.split(',').any(|protocol| {
        let name = protocol.trim().split('/').next().unwrap_or_default();
        name.eq_ignore_ascii_case("h2c") || name.eq_ignore_ascii_case("h2") || name.eq_ignore_ascii_case("http")
    });
    (asked && !to_http).then(|| upgrade.clone())
}

/// Makes a judged request's head into the one that the application gets (RFC 9110, section 7.6.1).
///
/// Order matters: what `Connection` names goes first, so that no client can name a header that is set afterwards.
pub(crate) fn rewrite_request(
    parts: &mut request::Parts,
    permit: &Permit,
    identity: &IdentityHeaders,
    hop: &Hop,
    upgrade: Option<HeaderValue>,
) {
    let headers = &mut parts.headers;
    let wants_trailers = list_holds(headers, &TE, "trailers");
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    if !permit.leaves_request_alone() {
        strip_claimed_identity(headers, identity);
        if !identity.forward_token {
            headers.remove(AUTHORIZATION);
        }
    }
    if let Some(who) = permit.identity() {
        headers.insert(identity.user.clone(), who.user_header.clone());
        headers.insert(identity.groups.clone(), who.groups_header.clone());
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(headers);
        if let Some(host) = parts.uri.authority().and_then(|authority| HeaderValue::try_from(authority.as_str()).ok()) {
            headers.insert(HOST, host);
        }
    }
    forwarded_by(headers, hop);
}

fn forwarded_by(headers: &mut HeaderMap, hop: &Hop) {
    strip_spellings(headers, &["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"], true);
    let host = headers.get(HOST).cloned();
    if hop.trusted {
        let chain = headers.get_all(X_FORWARDED_FOR).iter().filter(|value| !value.is_empty());
        let mut chain: Vec<u8> = chain.flat_map(|value| [value.as_bytes(), b", "].concat()).collect();
        chain.extend_from_slice(hop.peer.as_bytes());
        // Joining valid values gives a valid value; should it not, the chain is not believed.
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_bytes(&chain).unwrap_or_else(|_| hop.peer.clone()));
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("https"));
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
    } else {
        headers.remove(FORWARDED);
        headers.insert(X_FORWARDED_FOR, hop.peer.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        match host {
            Some(host) => drop(headers.insert(X_FORWARDED_HOST, host)),
            None => drop(headers.remove(X_FORWARDED_HOST)),
        }
    }
}

/// Takes off what belongs to one connection only, and whatever `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in
        [&KEEP_ALIVE, &PROXY_CONNECTION, &PROXY_AUTHENTICATE, &PROXY_AUTHORIZATION, &TE, &TRANSFER_ENCODING, &UPGRADE]
    {
        headers.remove(name);
    }
}

/// Trailers get the same treatment as headers: none may carry an identity, a token or framing.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap, identity: &IdentityHeaders, keep_claims: bool) {
    strip_hop_by_hop(trailers);
    strip_spellings(trailers, &["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"], false);
    for name in [HOST, CONTENT_LENGTH, FORWARDED] {
        trailers.remove(name);
    }
    if !keep_claims {
        strip_claimed_identity(trailers, identity);
        trailers.remove(AUTHORIZATION);
    }
}

/// Removes every spelling of the identity headers and of those that override the judged path or method.
fn strip_claimed_identity(headers: &mut HeaderMap, identity: &IdentityHeaders) {
    let claimed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            same_but_for_separators(name, identity.user.as_str())
                || same_but_for_separators(name, identity.groups.as_str())
                || OVERRIDES.iter().any(|other| same_but_for_separators(name, other))
        })
        .cloned()
        .collect();
    for name in claimed {
        headers.remove(name);
    }
}

fn strip_spellings(headers: &mut HeaderMap, names: &[&str], keep_exact: bool) {
    let found: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            names.iter().any(|other| same_but_for_separators(name, other) && !(keep_exact && name == *other))
        })
        .cloned()
        .collect();
    for name in found {
        headers.remove(name);
    }
}

/// Servers that turn `-` into `_` (CGI, WSGI, PHP) cannot tell `x_forwarded_user` from `x-forwarded-user`.
/// Both names are lower-case already, as header names are.
fn same_but_for_separators(name: &str, other: &str) -> bool {
    let separator = |byte: u8| matches!(byte, b'-' | b'_' | b'.');
    name.len() == other.len()
        && name.bytes().zip(other.bytes()).all(|(one, two)| one == two || (separator(one) && separator(two)))
}

/// HTTP/2 may split the cookies into several fields, HTTP/1.1 may not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    let (Some(_), Some(_)) = (cookies.next(), cookies.next()) else { return };
    let joined = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// Does this comma-separated list hold the token, whatever its case?
fn list_holds(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}
