//! The embedded default: what is missing is made in one directory, and then served as ever.

mod echo;
mod files;
mod welcome;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use self::files::Files;
use self::welcome::{Application, Welcome};
use crate::app::{self, StartError};
use crate::clock::epoch;
use crate::config::{self, Config, Loaded, Setting};
use crate::server::Listener;
use crate::store::tls_material;

/// How `dev` was called.
pub(crate) struct Options {
    /// The name that the program was started by, for commands that are shown.
    pub(crate) program: String,
    pub(crate) dir: PathBuf,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) flags: Vec<(&'static Setting, String)>,
}

/// Makes what is missing in the directory, says how to try it out, and serves until a signal ends it; returns the exit
/// code.
///
/// # Errors
///
/// Bad settings, an address in use, or a file of the directory that is there and broken: nothing has been written then.
pub(crate) fn run(options: Options) -> Result<u8, StartError> {
    let program = if options.program.is_empty() { "vestibule".to_owned() } else { options.program.clone() };
    let dir = Dir::new(&options.dir)?;
    let application = match options.names_an_upstream() {
        true => Application::Given,
        false => Application::Echo(echo::start().map_err(|e| StartError::Runtime(format!("echo application: {e}")))?),
    };
    let loaded = load(options, &dir, &application)?;
    check(&loaded.config)?;

    let hosts = hosts(loaded.config.listen);
    let files = Files::plan(&dir.path, &hosts, epoch()).map_err(StartError::Config)?;
    files.write().map_err(StartError::Runtime)?;
    let welcome = Welcome {
        program,
        dir: dir.text.clone(),
        ca: dir.file("tls/ca.crt"),
        login: files.login,
        echo: matches!(application, Application::Echo(_)),
        paths: loaded.config.authorize.paths.clone(),
        ttl: loaded.config.tokens.ttl,
    };
    // At once: a start that fails further on must not swallow the only copy of a password.
    print(&welcome.made(&files.notes)).map_err(|error| {
        StartError::Runtime(format!("standard output: {error}; {}", welcome.new_password().unwrap_or_default()))
    })?;
    app::serve(loaded, None, |addresses| {
        if let Err(error) = print(&welcome.usage(addresses.listen, addresses.admin)) {
            eprintln!("vestibule: standard output: {error}");
        }
    })
}

impl Options {
    fn names_an_upstream(&self) -> bool {
        self.gives(setting("upstream"))
    }

    fn gives(&self, setting: &Setting) -> bool {
        let name = setting.variable();
        self.flags.iter().any(|(given, _)| given.key == setting.key)
            || self.variables.iter().any(|(variable, value)| *variable == name && !value.trim().is_empty())
    }
}

/// The directory, absolute, so that what is shown works from anywhere.
struct Dir {
    path: PathBuf,
    text: String,
}

impl Dir {
    fn new(given: &Path) -> Result<Self, StartError> {
        let bad = |why: &str| StartError::Config(format!("--dir: {given:?} {why}"));
        let path = std::path::absolute(given)
            .map_err(|_| bad("is no path that can be made absolute: name a directory, such as .vestibule"))?;
        match path.to_str() {
            Some(text) if !text.contains(char::is_control) => {
                let text = text.to_owned();
                Ok(Self { path, text })
            }
            _ => Err(bad("is not text without control characters: choose another directory")),
        }
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.text.trim_end_matches('/'))
    }
}

/// The configuration: what was given, what the directory decides, and defaults that suit a try.
fn load(options: Options, dir: &Dir, application: &Application) -> Result<Loaded, StartError> {
    if let Some((setting, _)) = options.flags.iter().find(|(setting, _)| is_of_dir(setting)) {
        let flag = setting.flag();
        return Err(StartError::Config(format!(
            "--{flag}: `dev` keeps certificates, users and keys in --dir: leave --{flag} out, or use `vestibule serve`"
        )));
    }
    let mut defaults = vec![("listen", "127.0.0.1:10443".to_owned()), ("admin", "127.0.0.1:10444".to_owned())];
    // Nobody has to stop sending here first.
    defaults.push(("shutdown.delay", "0s".to_owned()));
    if let Application::Echo(address) = application {
        defaults.push(("upstream", format!("http://{address}")));
    }
    defaults.retain(|(key, _)| !options.gives(setting(key)));
    let of_dir = [
        ("tls.certificate", "tls/tls.crt"),
        ("tls.key", "tls/tls.key"),
        ("store.directory.users", "users"),
        ("store.directory.keys", "keys"),
    ];
    // As JSON, which is YAML: a name may begin with a quote.
    let of_dir = of_dir.map(|(key, name)| (key, serde_json::Value::from(dir.file(name)).to_string()));
    let flags = defaults.into_iter().chain(of_dir).map(|(key, value)| (setting(key), value)).chain(options.flags);

    let mut passed_over = Vec::new();
    let of_dir: Vec<String> = config::SETTINGS.iter().filter(|s| is_of_dir(s)).map(Setting::variable).collect();
    let variables: Vec<_> = options
        .variables
        .into_iter()
        .filter(|(name, value)| {
            let wanted = !of_dir.contains(name);
            if !wanted && !value.trim().is_empty() {
                passed_over.push(format!("{name}: passed over, as `dev` keeps certificates, users and keys in --dir"));
            }
            wanted
        })
        .collect();
    let mut loaded = Config::load(None, variables, flags).map_err(|error| StartError::Config(error.to_string()))?;
    loaded.warnings.extend(passed_over);
    Ok(loaded)
}

/// Whether the directory is what decides a setting.
fn is_of_dir(setting: &Setting) -> bool {
    matches!(setting.key, "tls.certificate" | "tls.key")
        || setting.key.starts_with("tls.managed.")
        || setting.key.starts_with("store.")
}

/// What serving would fail at, before anything is written.
fn check(config: &Config) -> Result<(), StartError> {
    let client_ca = config.tls.clients.as_ref().map(|clients| &clients.ca);
    for (setting, path) in [("upstreamCa", config.upstream_ca.as_ref()), ("tls.clientCa", client_ca)] {
        if let Some(path) = path {
            tls_material::read_ca_bundle(path).map_err(|error| StartError::Config(format!("{setting}: {error}")))?;
        }
    }
    // Both at once, as when serving; closed again, since only serving binds for good.
    let bind = |setting: &str, address: SocketAddr| {
        Listener::bind(address).map_err(|error| {
            StartError::Config(format!(
                "{setting}: cannot listen on {address}: {error}; free it or choose another address with --{setting}"
            ))
        })
    };
    let (_listen, _admin) = (bind("listen", config.listen)?, bind("admin", config.admin)?);
    Ok(())
}

/// What clients call the server.
fn hosts(listen: SocketAddr) -> Vec<String> {
    let mut hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let own = listen.ip().to_string();
    if !listen.ip().is_unspecified() && !hosts.contains(&own) {
        hosts.push(own);
    }
    hosts
}

fn setting(key: &str) -> &'static Setting {
    config::setting(key).expect("the keys named here are settings of the table")
}

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Options {
        Options {
            program: String::new(),
            dir: PathBuf::from("/d"),
            variables: variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            flags: flags.iter().map(|(key, value)| (setting(key), (*value).to_owned())).collect(),
        }
    }

    fn loaded(dir: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
        let options = options(variables, flags);
        let application = match options.names_an_upstream() {
            true => Application::Given,
            false => Application::Echo("127.0.0.1:7".parse().unwrap()),
        };
        load(options, &Dir::new(Path::new(dir)).unwrap(), &application).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_give_way_to_variables_and_those_to_flags() {
        let listen = |variables: &[(&str, &str)], flags: &[(&str, &str)]| {
            loaded("/d", variables, flags).unwrap().config.listen.port()
        };
        let variable = [("VESTIBULE_LISTEN", "127.0.0.1:1")];
        assert_eq!(listen(&[], &[]), 10443);
        assert_eq!(listen(&[("VESTIBULE_LISTEN", " ")], &[]), 10443);
        assert_eq!(listen(&variable, &[]), 1);
        assert_eq!(listen(&variable, &[("listen", "127.0.0.1:2")]), 2);

        let upstream = |variables: &[(&str, &str)]| loaded("/d", variables, &[]).unwrap().config.upstream;
        assert!(format!("{:?}", upstream(&[])).contains("127.0.0.1:7"));
        assert!(format!("{:?}", upstream(&[("VESTIBULE_UPSTREAM", "http://127.0.0.1:8")])).contains("127.0.0.1:8"));

        let delay = |flags: &[(&str, &str)]| loaded("/d", &[], flags).unwrap().config.shutdown.delay.as_secs();
        assert_eq!((delay(&[]), delay(&[("shutdown.delay", "2s")])), (0, 2));
    }

    #[test]
    fn the_directory_decides_where_files_are() {
        for dir in ["/d", "/", "/with space", "/'quoted", "/\"x\"", "/a: b # c", "/é"] {
            let config = loaded(dir, &[], &[]).unwrap().config;
            let config::Store::Directory(store) = config.store else { panic!("{dir}") };
            let config::Certificate::Files { certificate, key } = config.tls.certificate else { panic!("{dir}") };
            let at = |name: &str| Path::new(dir).join(name);
            assert_eq!([store.users, store.keys], [at("users"), at("keys")]);
            assert_eq!([certificate, key], [at("tls/tls.crt"), at("tls/tls.key")]);
        }
        let variables = [
            ("VESTIBULE_STORE_KUBERNETES_NAMESPACE", "prod"),
            ("VESTIBULE_TLS_KEY", "/elsewhere"),
            ("VESTIBULE_TLS_MANAGED_SECRET", ""),
        ];
        let loaded_ = loaded("/d", &variables, &[]).unwrap();
        assert_eq!(loaded_.warnings.len(), 2, "{:?}", loaded_.warnings);
        for key in ["tls.key", "tls.managed.hosts", "store.directory.keys", "store.kubernetes.users"] {
            let error = loaded("/d", &[], &[(key, "x")]).unwrap_err();
            assert!(error.contains("--dir") && error.contains(&setting(key).flag()), "{error}");
        }
    }

    #[test]
    fn an_address_that_clashes_with_a_default_is_told() {
        let error = loaded("/d", &[], &[("listen", "127.0.0.1:10444")]).unwrap_err();
        assert!(error.starts_with("--admin: `admin` clashes"), "{error}");
    }

    #[test]
    fn the_certificate_is_for_the_address_that_is_listened_on() {
        for (listen, own) in [
            ("127.0.0.1:1", None),
            ("[::1]:1", None),
            ("0.0.0.0:1", None),
            ("[::]:1", None),
            ("127.0.0.2:1", Some("127.0.0.2")),
            ("10.1.2.3:1", Some("10.1.2.3")),
            ("[fd00::7]:1", Some("fd00::7")),
        ] {
            let hosts = hosts(listen.parse().unwrap());
            assert_eq!(hosts[..3], ["localhost", "127.0.0.1", "::1"]);
            assert_eq!(hosts.get(3).map(String::as_str), own, "{listen}");
        }
    }
}
