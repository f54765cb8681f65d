//! The reference of all settings, as Markdown, from their table.

use std::fmt::Write as _;

use crate::config::{
    setting::Setting,
    table::{OPTIONAL_SECTIONS, SETTINGS},
};

/// All of `docs/configuration.md`.
pub fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let optional: Vec<_> = OPTIONAL_SECTIONS.iter().map(|s| format!("`{s}`")).collect();
    let _ = writeln!(
        text,
        "Sections that may be left out as a whole ({}) count as there when they, or anything in them, are given.",
        optional.join(", ")
    );
    let mut section = None;
    for setting in SETTINGS {
        let own = setting.key.split_once('.').map_or("", |(section, _)| section);
        if section != Some(own) {
            section = Some(own);
            let title = if own.is_empty() { "At the top" } else { own };
            let title = if own.is_empty() { title.to_owned() } else { format!("`{title}`") };
            let _ = write!(text, "\n## {title}\n\n{HEAD}");
        }
        row(&mut text, setting);
    }
    text.push_str(RULES);
    text
}

fn row(text: &mut String, setting: &Setting) {
    let _ = writeln!(
        text,
        "| `{}` | `--{}` | `{}` | {} | `{}` | {} | {} |",
        setting.key,
        setting.flag(),
        setting.variable(),
        setting.words(),
        setting.default,
        if setting.reload { "yes" } else { "" },
        setting.doc
    );
}

const HEAD: &str = "| key | flag | variable | value | default | reloads | what it does |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n";

const INTRODUCTION: &str = "\
<!-- Made from the table in src/config/table.rs: change that, then run `UPDATE_DOCS=1 cargo test --lib reference`. -->

# Configuration

`vestibule serve --config FILE` reads a YAML file of at most 1 MiB. Every setting has a key in the file, a flag and an
environment variable. A flag beats a variable, a variable beats the file, and the file beats the default. The least
that works, with a certificate in its default place:

```yaml
upstream: http://127.0.0.1:8080
store: {directory: {users: /etc/vestibule/users, keys: /etc/vestibule/keys}}
```

- **Keys** nest: `tls.minVersion` below is `tls: {minVersion: \"1.3\"}` in the file. A key that is not known, or stands
  twice, is an error. A section that is null counts as left out.
- **Flags and variables** are the key's path with its words parted: `--tls-min-version`, `VESTIBULE_TLS_MIN_VERSION`. A
  list is parted by commas (`Administrator,SaaS_User`) or YAML (`[Administrator, SaaS_User]`); `null` is null; other text
  is taken as it stands, quotes around it aside. An empty variable counts as unset. Variables that begin with
  `VESTIBULE_` and are no setting, such as those that Kubernetes sets for a Service, are passed over with a warning.
- **Lengths of time** have units: `250ms`, `5s`, `2m`, `1h30m`, `30d`. **Sizes** are bytes, or have `Ki`, `Mi` or `Gi`.
- **A default gives way** to what is given: with `tokens.maxTtl: 1m` alone, `tokens.ttl` is 1m too, and `throttle.first`,
  `max` and `forgetAfter` keep their order likewise. Two values that are given and do not go together are an error.
- **Errors** end the program with exit code 64 before anything is bound: one line that names the source, the setting,
  what it should be, and the mend.
- **Reloads** says what takes effect when the file changes, without a restart. Certificates, users and keys do as well,
  when their own files change. A file that is wrong by then leaves everything as it was.

Exactly one of `store.kubernetes` and `store.directory` is given, and either `tls.managed` or a certificate with its key.
";

const RULES: &str = "
## Access rules

`access.rules` is a list. The first rule that matches a request decides it; when none does, the request needs a valid
token of a user in one of `access.apiGroups`.

```yaml
access:
  rules:
    - {path: /healthz, methods: [GET], allow: anyone}
    - {prefix: /admin, groups: [Administrator]}
    - {prefix: /status, allow: authenticated}
```

| key | value | what it does |
| --- | --- | --- |
| `path` | a path | matches this path alone |
| `prefix` | a path | matches this path and all below it; `/admin` and `/admin/` mean the same, and neither matches `/administrator` |
| `methods` | a list of methods in capitals | matches these methods alone; left out: all |
| `allow` | `anyone` or `authenticated` | lets everyone through without a token, or exempts from later rules: as where no rule matches, a token of a user in an API group is needed |
| `groups` | a list of group names | lets users through who are in one of these groups, and in one of `access.apiGroups` |

A rule has `path` or `prefix`, and `allow` or `groups`. Rules that open match byte for byte, rules that restrict without
regard to case. There are no wildcards. A rule's path holds nothing that two readers could read differently: no `//`, no
dot segments, none of `\\`, `?`, `#`, `;`, none of `%2f`, `%5c`, `%25`, `%3b`, `%00`, and no escapes of characters that
need none. Requests with such a path are answered with 400 once there are rules.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == markdown(),
            "docs/configuration.md is not what the table says: run UPDATE_DOCS=1 cargo test --lib reference"
        );
    }

    #[test]
    fn every_setting_has_a_row_of_seven_cells() {
        let text = markdown();
        for setting in SETTINGS {
            let start = format!("| `{}` | `--{}` |", setting.key, setting.flag());
            let row = text.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("{} has no row", setting.key));
            assert_eq!(row.matches('|').count(), 8, "{row}");
            assert!(!setting.doc.is_empty());
        }
    }
}
