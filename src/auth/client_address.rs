//! Which address a request comes from, behind proxies that are trusted to say so.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// How many proxies are believed at most: more than any honest chain has.
const HOPS: usize = 64;

/// The client's address: the rightmost one of `X-Forwarded-For` that is outside the `trusted` networks, where the peer is inside.
///
/// `forwarded_for` are the header's values in the order of their lines, each a comma-separated list of addresses, with or without
/// ports. A value that is no text may be given as an empty string. What is not an address ends the walk: then,
/// as when all are trusted, the last address found counts. IPv4-mapped IPv6 addresses are returned as the IPv4 addresses in them.
pub fn client<'a, V>(peer: IpAddr, forwarded_for: V, trusted: &[IpNet]) -> IpAddr
where
    V: IntoIterator<Item = &'a str, IntoIter: DoubleEndedIterator>,
{
    let mut client = peer.to_canonical();
    let hops = forwarded_for.into_iter().rev().flat_map(|value| value.rsplit(','));
    for hop in hops.take(HOPS) {
        if !is_trusted(client, trusted) {
            return client;
        }
        let Some(address) = address(hop) else {
            return client;
        };
        client = address;
    }
    client
}

/// Whether an address, IPv4-mapped ones as the IPv4 addresses in them, is inside one of the networks.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches([' ', '\t']);
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    let address = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => hop.parse().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> Vec<IpNet> {
        ["10.0.0.0/8", "2001:db8:1::/48"].map(|network| network.parse().unwrap()).into()
    }

    #[test]
    fn the_rightmost_address_outside_the_trusted_ones_is_the_client() {
        let cases: &[(&str, &[&str], &str)] = &[
            // a peer that is not trusted says nothing about others
            ("192.0.2.9", &[], "192.0.2.9"),
            ("192.0.2.9", &["198.51.100.1"], "192.0.2.9"),
            ("192.0.2.9", &["198.51.100.1, 10.0.0.1"], "192.0.2.9"),
            // a trusted one does
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.7, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.7,198.51.100.1,10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.7", "198.51.100.1", "10.9.9.9,10.8.8.8"], "198.51.100.1"),
            ("2001:db8:1::5", &["2001:db8:2::1, 2001:db8:1::6"], "2001:db8:2::1"),
            // all trusted: the farthest
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // mapped addresses
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.7, ::ffff:10.0.0.2"], "203.0.113.7"),
            ("::ffff:192.0.2.9", &["198.51.100.1"], "192.0.2.9"),
            // ports and brackets
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8:2::1]:4711"], "2001:db8:2::1"),
            ("10.0.0.1", &["[2001:db8:2::1]"], "2001:db8:2::1"),
            ("10.0.0.1", &["[::ffff:198.51.100.1]:1,\t10.0.0.7:80 "], "198.51.100.1"),
            // garbage ends the walk
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1", "", "10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1,,10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2,"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1:99999"], "10.0.0.1"),
            ("10.0.0.1", &["[198.51.100.1]"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.01"], "10.0.0.1"),
            ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1"),
            ("10.0.0.1", &["\"198.51.100.1\""], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.1.evil.example"], "10.0.0.1"),
            ("10.0.0.1", &["garbage, 198.51.100.1"], "198.51.100.1"),
        ];
        for (peer, values, expected) in cases {
            let found = client(peer.parse().unwrap(), values.iter().copied(), &trusted());
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {values:?}");
        }
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        let peer = "127.0.0.1".parse().unwrap();
        assert_eq!(client(peer, ["198.51.100.1"], &[]), peer);
        assert!(!is_trusted(peer, &[]));
    }

    #[test]
    fn the_walk_is_bounded() {
        let chain = format!("198.51.100.1{}", ",10.0.0.2".repeat(HOPS));
        let found = client("10.0.0.1".parse().unwrap(), [chain.as_str()], &trusted());
        assert_eq!(found, "10.0.0.2".parse::<IpAddr>().unwrap());
    }
}
