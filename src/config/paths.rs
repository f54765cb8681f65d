//! Which paths a configuration may name: those that every reader reads alike.

/// The path itself, or what is wrong with it and the mend.
///
/// Requests whose path two readers could read differently never match, so that a configured one would be dead, or
/// worse, protect nothing.
pub(super) fn plain(path: &str) -> Result<&str, String> {
    if !path.starts_with('/') {
        return Err("must begin with `/`: write e.g. `/admin`".to_owned());
    }
    if path.len() > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes: shorten it"));
    }
    for (part, why) in [
        ("//", "has an empty segment: write single slashes"),
        ("\\", "has a `\\`: write `/`"),
        ("?", "has a query: rules and routes see paths alone; end it before the `?`"),
        ("#", "has a fragment, which no request has: end it before the `#`"),
        (";", "has a `;`, which some readers cut off: end it before that"),
        ("*", "has a `*`, but there are no wildcards: a rule's `prefix` covers all below it"),
        ("{", "has a `{`, but there are no templates: a rule's `prefix` covers all below it"),
    ] {
        if path.contains(part) {
            return Err(why.to_owned());
        }
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("has characters that a request's path cannot have: percent-encode them".to_owned());
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("has a dot segment: write the path that it leads to".to_owned());
    }
    escapes(path)?;
    Ok(path)
}

const MAX_BYTES: usize = 2048;

fn escapes(path: &str) -> Result<(), String> {
    for after in path.split('%').skip(1) {
        let byte = after
            .get(..2)
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            None => return Err("has a `%` without two hexadecimal digits: write `%XX`".to_owned()),
            Some(b @ (b'/' | b'\\' | b'%' | b';' | 0)) => {
                return Err(format!(
                    "has `%{b:02x}`, which readers decode differently: no request with it is let through; leave it out"
                ));
            }
            // RFC 3986, section 2.3: escaped or not, these are the same.
            Some(b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => {
                return Err(format!("has `%{b:02x}`, an escape that is not needed: write `{}`", char::from(b)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths() {
        for path in [
            "/",
            "/authorize",
            "/v1/users/refresh_jwt",
            "/admin/",
            "/a.b/..c/.well-known",
            "/caf%C3%A9",
            "/a%20b",
            "/~me/a-b_c@d:e!$&'()+,=",
        ] {
            assert_eq!(plain(path), Ok(path));
        }
    }

    #[test]
    fn paths_that_two_readers_could_read_differently() {
        for (path, part) in [
            ("", "begin with `/`"),
            ("admin", "begin with `/`"),
            ("//admin", "empty segment"),
            ("/a//b", "empty segment"),
            ("/a\\b", "`\\`"),
            ("/a?b", "query"),
            ("/a#b", "fragment"),
            ("/a;b", "`;`"),
            ("/a/*", "wildcards"),
            ("/users/{id}", "templates"),
            ("/a b", "characters"),
            ("/caf\u{e9}", "characters"),
            ("/a\u{0}", "characters"),
            ("/./a", "dot segment"),
            ("/a/..", "dot segment"),
            ("/a%2fb", "`%2f`"),
            ("/a%5Cb", "`%5c`"),
            ("/a%25b", "`%25`"),
            ("/a%3Bb", "`%3b`"),
            ("/a%00", "`%00`"),
            ("/%61dmin", "write `a`"),
            ("/a/%2e%2E/b", "write `.`"),
            ("/a%7E", "write `~`"),
            ("/a%", "without two"),
            ("/a%g0", "without two"),
            ("/a%4", "without two"),
            ("/a%+1", "without two"),
        ] {
            let reason = plain(path).unwrap_err();
            assert!(reason.contains(part), "{path}: {reason}");
        }
        assert!(plain(&format!("/{}", "a".repeat(2047))).is_ok());
        assert!(plain(&format!("/{}", "a".repeat(2048))).is_err());
    }
}
