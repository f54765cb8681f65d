//! `X-Forwarded-For`: the client is the rightmost address that is not trusted, by a model that copies everything first.
//!
//! Input: the peer's address, a line of trusted networks, then a line for each header.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use vestibule::auth::client_address::{client, is_trusted};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let Some(peer) = lines.next().and_then(|line| line.parse::<IpAddr>().ok()) else { return };
    let networks: Vec<IpNet> = lines.next().unwrap_or_default().split(' ').filter_map(|net| net.parse().ok()).collect();
    let trusted = |address: IpAddr| networks.iter().any(|net| net.contains(&address));
    let headers: Vec<&str> = lines.collect();

    let mut hops: Vec<&str> = headers.iter().flat_map(|value| value.split(',')).collect();
    hops.reverse();
    hops.truncate(64);
    let mut expected = plain(peer);
    for hop in hops {
        match address(hop) {
            Some(next) if trusted(expected) => expected = next,
            _ => break,
        }
    }

    let found = client(peer, headers.iter().copied(), &networks);
    assert_eq!(found, expected, "{text:?}");
    assert_eq!(is_trusted(peer, &networks), trusted(plain(peer)));
    assert!(found == plain(peer) || trusted(plain(peer)), "a peer that is not trusted speaks for another: {text:?}");
    assert!(!matches!(found, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()), "one client, two addresses: {found}");
}

fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches(|c| c == ' ' || c == '\t');
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(plain(address));
    }
    let bare = if let Some(rest) = hop.strip_prefix('[') {
        let (bare, after) = rest.split_once(']')?;
        let port = after.strip_prefix(':');
        // A zone is of no use beyond the machine that wrote it; the standard library takes a number beside a port.
        let zoned = bare.split_once('%').filter(|(_, zone)| port.is_some() && is_number::<u32>(zone));
        let bare = zoned.map_or(bare, |(bare, _)| bare);
        (after.is_empty() || port.is_some_and(is_number::<u16>)).then(|| bare.parse::<Ipv6Addr>().ok())?.map(IpAddr::V6)
    } else {
        let (bare, port) = hop.split_once(':')?;
        is_number::<u16>(port).then(|| bare.parse().ok())?.map(IpAddr::V4)
    };
    bare.map(plain)
}

fn is_number<N: std::str::FromStr>(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_digit()) && text.parse::<N>().is_ok()
}
