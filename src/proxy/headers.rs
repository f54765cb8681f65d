//! What a proxy takes off a message and puts on it: hop-by-hop fields, identity headers, the forwarding chain.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE,
};
use http::{Request, Version, request};

use crate::gate::{IdentityHeaders, Permit};

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
pub(crate) fn wanted_upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let upgrade = request.headers().get(UPGRADE)?;
    let asked = request.version() == Version::HTTP_11 && list_holds(request.headers(), &CONNECTION, "upgrade");
    let text = upgrade.to_str().ok()?;
    let to_http = text.split(',').any(|protocol| {
        let name = protocol.trim().split('/').next().unwrap_or_default();
        name.eq_ignore_ascii_case("h2c") || name.eq_ignore_ascii_case("h2") || name.eq_ignore_ascii_case("http")
    });
    (asked && !to_http).then(|| upgrade.clone())
}

/// Makes a judged request's head into the one that the application gets (RFC 9110, section 7.6.1).
///
/// Order matters: everything that goes is gone before anything is set, so that no client can name a header that is
/// set here. `expects`: the application is asked whether it wants the body, as the client asked.
pub(crate) fn rewrite_request(
    parts: &mut request::Parts,
    permit: &Permit,
    identity: &IdentityHeaders,
    hop: &Hop,
    upgrade: Option<HeaderValue>,
    expects: bool,
) {
    let headers = &mut parts.headers;
    let wants_trailers = headers.contains_key(TE) && list_holds(headers, &TE, "trailers");
    let keep_claims = permit.leaves_request_alone();
    strip_named_by_connection(headers);
    strip(headers, |name| {
        is_hop_by_hop(name)
            || (name == EXPECT && !expects)
            || is_forwarding(name, hop.trusted)
            || (!keep_claims && is_claim(name.as_str(), identity))
    });
    if !keep_claims && !identity.forward_token {
        headers.remove(AUTHORIZATION);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
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

/// Says which way the request came. What an untrusted peer said of it is gone already.
fn forwarded_by(headers: &mut HeaderMap, hop: &Hop) {
    let chain = if hop.trusted { forwarding_chain(headers, hop) } else { hop.peer.clone() };
    headers.insert(X_FORWARDED_FOR, chain);
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("https"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// What a trusted peer knew, and its own address.
fn forwarding_chain(headers: &HeaderMap, hop: &Hop) -> HeaderValue {
    let known = headers.get_all(X_FORWARDED_FOR).iter().filter(|value| !value.is_empty());
    let mut chain: Vec<u8> = known.flat_map(|value| [value.as_bytes(), b", "].concat()).collect();
    chain.extend_from_slice(hop.peer.as_bytes());
    // Joining valid values gives a valid value; should it not, the chain is not believed.
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| hop.peer.clone())
}

/// Makes the application's head into the one that the client gets.
pub(crate) fn rewrite_answer(headers: &mut HeaderMap) {
    strip_named_by_connection(headers);
    strip(headers, is_hop_by_hop);
}

/// Trailers get the same treatment as headers: none may carry an identity, a token or framing.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap, identity: &IdentityHeaders, keep_claims: bool) {
    strip(trailers, |name| {
        is_hop_by_hop(name)
            || name == HOST
            || name == CONTENT_LENGTH
            || is_forwarding(name, false)
            || (!keep_claims && (name == AUTHORIZATION || is_claim(name.as_str(), identity)))
    });
}

/// Takes off whatever `Connection` names, besides what the message cannot do without.
fn strip_named_by_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // What most answers name goes anyway.
        .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| name != HOST && name != CONTENT_LENGTH && name != X_REQUEST_ID)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// One look at each name: far fewer hashes than asking for each that could be there. Mostly one goes, or none.
fn strip(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let mut going = headers.keys().filter(|name| goes(name)).cloned();
    let Some(first) = going.next() else { return };
    let others: Vec<HeaderName> = going.collect();
    headers.remove(first);
    for name in others {
        headers.remove(name);
    }
}

/// What belongs to one connection only.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What tells of the way that a request came: of a trusted peer only in its own spelling, else not at all.
fn is_forwarding(name: &HeaderName, trusted: bool) -> bool {
    let name = name.as_str();
    let exact = matches!(name, "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host");
    match name.len() {
        9 => !trusted && name == "forwarded",
        15 => same_but_for_separators(name, "x-forwarded-for") && !(trusted && exact),
        17 => same_but_for_separators(name, "x-forwarded-proto") && !(trusted && exact),
        16 => same_but_for_separators(name, "x-forwarded-host") && !(trusted && exact),
        _ => false,
    }
}

/// Every spelling of the identity headers, and of those that override the judged path or method.
fn is_claim(name: &str, identity: &IdentityHeaders) -> bool {
    same_but_for_separators(name, identity.user.as_str())
        || same_but_for_separators(name, identity.groups.as_str())
        || OVERRIDES.iter().any(|other| same_but_for_separators(name, other))
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
