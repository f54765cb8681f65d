//! Whether the application can be reached past the sidecar: does anything listen on its port beyond loopback?

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The state of a listening socket in the kernel's tables (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// The application's port, looked up in the kernel's socket tables when asked.
#[derive(Clone, Copy, Debug)]
pub struct Exposure {
    port: Option<u16>,
}

impl Exposure {
    /// `port` of an application on loopback; `None` for one elsewhere, of which nothing can be told.
    #[must_use]
    pub const fn of_loopback_port(port: Option<u16>) -> Self {
        Self { port }
    }

    /// Reads the tables of the pod's network. False where there are none (outside Linux) or nothing to look for.
    #[must_use]
    pub fn is_exposed(self) -> bool {
        let Some(port) = self.port else { return false };
        let listens = |table| -> io::Result<bool> { listens_beyond_loopback(BufReader::new(File::open(table)?), port) };
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().any(|table| listens(table).unwrap_or(false))
    }
}

/// Whether a table in the form of `/proc/net/tcp` or `/proc/net/tcp6` has a listener on `port` at an address that is not
/// loopback. The kernel lists listeners first, so reading stops at the first row that is none: a proxy with many
/// connections has a long table.
///
/// # Errors
/// Where the table cannot be read. Rows that do not parse are passed over.
pub fn listens_beyond_loopback(table: impl BufRead, port: u16) -> io::Result<bool> {
    // The first line is the heading.
    for line in table.lines().skip(1) {
        let line = line?;
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(state)) = (columns.next(), columns.nth(1)) else {
            continue;
        };
        let Some((ip, found)) = parse_address(local) else {
            continue;
        };
        if state != LISTEN {
            break;
        }
        if found == port && !ip.to_canonical().is_loopback() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `0100007F:1F90`: the address as 32-bit words in the machine's byte order, the port as a number.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    // Numbers of the standard library may have a sign.
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, bytes) in bytes.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some((ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn table(rows: &[(&str, &str)]) -> String {
        let rows = rows.iter().enumerate().map(|(n, (local, state))| {
            format!(
                "{n:4}: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 1 1 0 100 0 0 10 0\n"
            )
        });
        HEADING.chars().chain(rows.collect::<String>().chars()).collect()
    }

    /// An address as the kernel of this machine prints it.
    fn printed(ip: IpAddr, port: u16) -> String {
        let bytes = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
        let text: String = words.map(|word| format!("{word:08X}")).collect();
        format!("{text}:{port:04X}")
    }

    #[test]
    fn any_address_but_loopback_is_exposed() {
        let cases = [
            ("0.0.0.0", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("10.244.0.7", true),
            ("::", true),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.0.1", true),
            ("fd00::7", true),
        ];
        for (ip, exposed) in cases {
            let ip = ip.parse().unwrap();
            for (port, state, expected) in [(8080, "0A", exposed), (8081, "0A", false), (8080, "01", false)] {
                let table = table(&[(&printed(ip, port), state)]);
                assert_eq!(listens_beyond_loopback(table.as_bytes(), 8080).unwrap(), expected, "{ip} {port} {state}");
            }
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn reads_what_a_kernel_printed() {
        let v4 = format!(
            "{HEADING}   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 22 1\n   \
             1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23 1\n"
        );
        let v6 = format!(
            "{HEADING}   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1\n   \
             1: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1\n   \
             2: 00000000000000000000000000000000:1F92 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1\n"
        );
        let cases = [(&v4, 8080, false), (&v4, 8081, true), (&v6, 8080, false), (&v6, 8081, false), (&v6, 8082, true)];
        for (table, port, expected) in cases {
            assert_eq!(listens_beyond_loopback(table.as_bytes(), port).unwrap(), expected, "{port}");
        }
    }

    #[test]
    fn one_exposed_listener_among_others_is_found() {
        let rows = ["127.0.0.1", "::1", "0.0.0.0"].map(|ip| printed(ip.parse().unwrap(), 8080));
        let table = table(&rows.each_ref().map(|row| (row.as_str(), "0A")));
        assert!(listens_beyond_loopback(table.as_bytes(), 8080).unwrap());
    }

    #[test]
    fn rows_that_do_not_parse_are_passed_over() {
        let exposed = printed("0.0.0.0".parse().unwrap(), 8080);
        for bad in [
            "x",
            ":",
            "00000000",
            "0000000G:1F90",
            "+0000000:1F90",
            "00000000:+1F90",
            "00000000:1F9000",
            "000000000000:1F90",
            "äöüäöü:1F90",
        ] {
            let table = table(&[(bad, "0A"), (&exposed, "0A")]);
            assert!(listens_beyond_loopback(table.as_bytes(), 8080).unwrap(), "{bad}");
        }
        let signed = table(&[("+0A00007:1F90", "0A"), ("00000000:+1F90", "0A")]);
        for text in ["", "\n", HEADING, "heading\n0:\n1: x\n", &signed] {
            assert!(!listens_beyond_loopback(text.as_bytes(), 8080).unwrap(), "{text:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sees_this_machines_listeners() {
        for (ip, exposed) in [("127.0.0.1", false), ("0.0.0.0", true)] {
            let listener = TcpListener::bind((ip, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(Exposure::of_loopback_port(Some(port)).is_exposed(), exposed, "{ip}");
        }
        assert!(!Exposure::of_loopback_port(None).is_exposed());
    }
}
