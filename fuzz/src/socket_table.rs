//! The kernel's tables of sockets: exposed is what a reader finds who reads the whole table and knows what it should look like.
//!
//! Input: a port, then the table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vestibule::exposure::listens_beyond_loopback;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((port, table)) = text.split_once('\n') else { return };
    let Ok(port) = port.parse::<u16>() else { return };
    let found = listens_beyond_loopback(table.as_bytes(), port).expect("reading text does not fail");
    let listeners = table.split('\n').skip(1).filter_map(row).take_while(|(_, listens)| *listens);
    let expected = listeners.into_iter().any(|((ip, own), _)| own == port && is_reachable(ip));
    assert_eq!(found, expected, "{text}");
}

fn row(line: &str) -> Option<((IpAddr, u16), bool)> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, state) = (columns.get(1)?, columns.get(3)?);
    Some((address(local)?, *state == "0A"))
}

fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let hex = |text: &str| text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !hex(ip) || !hex(port) || port.is_empty() {
        return None;
    }
    let port = u64::from_str_radix(port.trim_start_matches('0'), 16).or(if port.trim_start_matches('0').is_empty() {
        Ok(0)
    } else {
        Err(())
    });
    let port = u16::try_from(port.ok()?).ok()?;
    let bytes: Vec<u8> =
        (0..ip.len() / 2).filter_map(|at| u8::from_str_radix(&ip[2 * at..2 * at + 2], 16).ok()).collect();
    // Four bytes are one number, in the machine's order.
    let native = |word: &[u8]| {
        if cfg!(target_endian = "little") {
            [word[3], word[2], word[1], word[0]]
        } else {
            [word[0], word[1], word[2], word[3]]
        }
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(native(&bytes))),
        32 => {
            let bytes: Vec<u8> = bytes.chunks(4).flat_map(native).collect();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => return None,
    };
    Some((ip, port))
}

fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[0] != 127,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.octets()[0] != 127,
            None => v6 != Ipv6Addr::LOCALHOST,
        },
    }
}
