//! What `dev` tells its user: what was made, and lines to paste into a shell.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::files::{ADMIN, Login};
use crate::config::LoginPaths;

/// The application behind.
pub(super) enum Application {
    /// The one that was started along, where it listens.
    Echo(SocketAddr),
    Given,
}

pub(super) struct Welcome {
    /// How this program is called.
    pub(super) program: String,
    /// Absolute.
    pub(super) dir: String,
    /// The authority's certificate, absolute.
    pub(super) ca: String,
    pub(super) login: Login,
    pub(super) echo: bool,
    pub(super) paths: LoginPaths,
    pub(super) ttl: Duration,
}

impl Welcome {
    /// What was made, with the password that is shown only once.
    pub(super) fn made(&self, notes: &[String]) -> String {
        let mut text = String::new();
        if !notes.is_empty() {
            let _ = writeln!(text, "In {}:", self.dir);
        }
        for note in notes {
            let _ = writeln!(text, "  {note}");
        }
        if let Login::New { password } = &self.login {
            let _ = writeln!(text, "\n  user:     {}", ADMIN);
            let _ = writeln!(text, "  password: {}", String::from_utf8_lossy(password.as_bytes()));
            let _ = writeln!(text, "\nThe password is shown this once; only its hash is kept.");
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    /// Where it listens, and lines for bash that try everything out.
    pub(super) fn usage(&self, listen: SocketAddr, admin: SocketAddr) -> String {
        let base = format!("https://{}", host_and_port(listen, true));
        let curl = |options: &str| format!("curl {options} --cacert {}", quoted(&self.ca));
        let bearer = r#"-H "Authorization: Bearer $TOKEN""#;
        let (behind, page) = match self.echo {
            true => ("an echo application", "/hello"),
            false => ("your application", "/"),
        };
        let mut text = format!("Vestibule listens on {base}, in front of {behind}.\n");
        for (name, address) in [("listen", listen), ("admin", admin)] {
            if !address.ip().is_loopback() {
                let _ = writeln!(text, "WARNING: --{name} {address} can be reached from other machines.");
            }
        }
        text.push_str("Ctrl-C ends it; while streams are open, a second one does at once.\n\n");
        text.push_str("Paste these lines into another terminal (bash), all at once or one by one:\n\n");
        let mut line = |comment: &str, line: String| {
            let _ = writeln!(text, "# {comment}\n{line}\n");
        };
        if let Some((comment, login)) = self.login_line(&base) {
            line(&comment, login);
        }
        let call = match self.echo {
            true => "Calls the application, which answers with what it received.",
            false => "Calls the application.",
        };
        line(call, format!("{} {bearer} {base}{page}", curl("-sS")));
        line("Without a token: 401.", format!("{} {base}{page}", curl("-sSi -w '\\n'")));
        if self.echo {
            let streamed = format!("{} {bearer} {base}/sse | head -n 6", curl("-sN"));
            line("Events as they come, one a second; two of them here.", streamed);
        }
        line("Metrics.", format!("curl -sS http://{}/metrics", host_and_port(admin, false)));
        text
    }

    /// The command that sets a new password; `None` without a user.
    pub(super) fn new_password(&self) -> Option<String> {
        let name = match &self.login {
            Login::New { .. } => ADMIN,
            Login::Stored { name } => name,
            Login::Nobody => return None,
        };
        let (program, dir) = (quoted(&self.program), quoted(&self.dir));
        Some(format!("set a new password: {program} users passwd {} --dir {dir} --generate", quoted(name)))
    }

    fn login_line(&self, base: &str) -> Option<(String, String)> {
        let (path, member) = match (self.paths.densify.first(), self.paths.redis.first()) {
            (Some(path), _) => (path, "apiToken"),
            (None, Some(path)) => (path, "access_token"),
            (None, None) => return None,
        };
        let url = quoted(&format!("{base}{path}"));
        let ttl = self.ttl.as_secs();
        let (comment, credentials) = match &self.login {
            Login::New { password } => {
                let (name, password) = (ADMIN, String::from_utf8_lossy(password.as_bytes()));
                let body = match member {
                    "apiToken" => format!(r#"{{"userName":"{name}","pwd":"{password}"}}"#),
                    _ => format!(r#"{{"username":"{name}","password":"{password}"}}"#),
                };
                (format!("Logs in: a token for {ttl} seconds."), format!("-d '{body}'"))
            }
            Login::Stored { name } => {
                let comment = format!(
                    "Logs in: a token for {ttl} seconds. First PASSWORD='...', as it was shown when {name} was made.\n\
                     # Where it is lost, {}",
                    self.new_password().unwrap_or_default()
                );
                // As HTTP Basic: a password of one's own choice may hold what JSON would need escaped.
                (comment, format!("-X POST -u {}:\"$PASSWORD\"", quoted(name)))
            }
            Login::Nobody => {
                let (program, dir) = (quoted(&self.program), quoted(&self.dir));
                let mend = format!(
                    "Nobody can log in: {program} users add {} --group Administrator --dir {dir} --generate, then PASSWORD='...'",
                    ADMIN
                );
                (mend, format!("-X POST -u {}:\"$PASSWORD\"", ADMIN))
            }
        };
        let ca = quoted(&self.ca);
        let extract = format!(r#"sed -E 's/.*"{member}":"([^"]+)".*/\1/'"#);
        Some((comment, format!("TOKEN=$(curl -sS --cacert {ca} {url} {credentials} | {extract})")))
    }
}

/// How a listener is reached from this machine, as a URL has it.
fn host_and_port(address: SocketAddr, by_name: bool) -> String {
    let (ip, port) = (address.ip(), address.port());
    let usual = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if by_name && (ip.is_unspecified() || usual.contains(&ip)) {
        return format!("localhost:{port}");
    }
    let ip = match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => usual[0],
        IpAddr::V6(ip) if ip.is_unspecified() => usual[1],
        ip => ip,
    };
    SocketAddr::new(ip, port).to_string()
}

/// One word of a shell's command line (POSIX, Shell Command Language, section 2.2.2).
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '@' | '+' | ',');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::Password;

    fn welcome(login: Login, echo: bool, densify: &[&str], redis: &[&str]) -> Welcome {
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Welcome {
            program: "target/debug/vestibule".to_owned(),
            dir: "/it's here/.vestibule".to_owned(),
            ca: "/it's here/.vestibule/tls/ca.crt".to_owned(),
            login,
            echo,
            paths: LoginPaths { densify: paths(densify), redis: paths(redis), refresh: Vec::new() },
            ttl: Duration::from_secs(300),
        }
    }

    fn addresses() -> (SocketAddr, SocketAddr) {
        ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap())
    }

    fn commands(welcome: &Welcome) -> Vec<String> {
        let (listen, admin) = addresses();
        let text = welcome.usage(listen, admin);
        text.lines().filter(|line| line.starts_with("curl ") || line.starts_with("TOKEN=")).map(str::to_owned).collect()
    }

    #[test]
    fn the_first_start_shows_the_password_and_a_line_that_uses_it() {
        let login = Login::New { password: Password::new("s3cret") };
        let welcome = welcome(login, true, &["/authorize"], &["/v1"]);
        assert!(welcome.made(&["made this".to_owned()]).contains("password: s3cret\n"));
        let commands = commands(&welcome);
        assert_eq!(commands.len(), 5);
        assert_eq!(
            commands[0],
            r#"TOKEN=$(curl -sS --cacert '/it'\''s here/.vestibule/tls/ca.crt' https://localhost:1/authorize -d '{"userName":"admin","pwd":"s3cret"}' | sed -E 's/.*"apiToken":"([^"]+)".*/\1/')"#
        );
        assert_eq!(
            commands[1],
            r#"curl -sS --cacert '/it'\''s here/.vestibule/tls/ca.crt' -H "Authorization: Bearer $TOKEN" https://localhost:1/hello"#
        );
        assert!(commands[3].contains("/sse") && commands[3].contains(" -sN "));
        assert_eq!(commands[4], "curl -sS http://127.0.0.1:2/metrics");
        assert!(commands.iter().all(|command| !command.contains(" -k ")));
    }

    #[test]
    fn a_later_start_says_how_to_get_a_new_password() {
        let welcome = welcome(Login::Stored { name: "o'hara".to_owned() }, true, &["/authorize"], &[]);
        assert_eq!(welcome.made(&[]), "");
        assert!(commands(&welcome)[0].contains(r#"-u 'o'\''hara':"$PASSWORD""#));
        let (listen, admin) = addresses();
        let text = welcome.usage(listen, admin);
        let mend = r"target/debug/vestibule users passwd 'o'\''hara' --dir '/it'\''s here/.vestibule' --generate";
        assert!(text.contains(mend), "{text}");
    }

    #[test]
    fn lines_suit_what_is_configured() {
        let new = || Login::New { password: Password::new("p") };
        let redis = commands(&welcome(new(), true, &[], &["/v1"]));
        assert!(
            redis[0].contains(r#"/v1 -d '{"username":"admin","password":"p"}'"#) && redis[0].contains("access_token")
        );
        assert_eq!(commands(&welcome(new(), true, &[], &[])).len(), 4);
        let own = commands(&welcome(new(), false, &["/authorize"], &[]));
        assert_eq!(own.len(), 4);
        assert!(own[1].ends_with("https://localhost:1/"));
        assert!(welcome(Login::Nobody, true, &["/a"], &[]).login_line("x").unwrap().0.contains("users add admin"));
    }

    #[test]
    fn urls_name_what_the_certificate_covers_and_the_listener_answers() {
        for (address, tls, plain) in [
            ("127.0.0.1:1", "localhost:1", "127.0.0.1:1"),
            ("[::1]:1", "localhost:1", "[::1]:1"),
            ("0.0.0.0:1", "localhost:1", "127.0.0.1:1"),
            ("[::]:1", "localhost:1", "[::1]:1"),
            ("127.0.0.2:1", "127.0.0.2:1", "127.0.0.2:1"),
            ("[fd00::7]:1", "[fd00::7]:1", "[fd00::7]:1"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(host_and_port(address, true), tls);
            assert_eq!(host_and_port(address, false), plain);
        }
    }

    #[test]
    fn a_listener_beyond_loopback_is_warned_of() {
        let (listen, admin) = addresses();
        let welcome = welcome(Login::Nobody, true, &["/a"], &[]);
        assert!(!welcome.usage(listen, admin).contains("WARNING"));
        let text = welcome.usage("0.0.0.0:1".parse().unwrap(), "10.0.0.1:2".parse().unwrap());
        assert!(text.contains("WARNING: --listen 0.0.0.0:1") && text.contains("WARNING: --admin 10.0.0.1:2"), "{text}");
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, shell) in [
            ("/a/b-c_1.crt", "/a/b-c_1.crt"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)!`y`", "'$(x)!`y`'"),
            ("~/x", "'~/x'"),
            ("é", "'é'"),
        ] {
            assert_eq!(quoted(word), shell);
        }
    }
}
