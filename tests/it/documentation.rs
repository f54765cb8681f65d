//! What the documentation says of the tests, and quotes of the product, is true.

use std::fs;
use std::path::{Path, PathBuf};

/// Every test that docs/security.md names is there.
#[test]
fn the_tests_that_security_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests", "fuzz"] {
        read_into(&root.join(folder), &mut code);
    }
    let text = fs::read_to_string(root.join("docs/security.md")).expect("docs/security.md");
    // The third cell of a row names them; elsewhere code is many other things.
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains('_'));
    let cells = rows.filter_map(|row| row.split(" | ").nth(2));
    let names: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 40, "{}", names.len());
    let missing = |name: &&&str| {
        if name.contains('/') { !root.join(name).exists() } else { !code.contains(&format!("fn {name}(")) }
    };
    let missing: Vec<_> = names.iter().filter(missing).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// What docs/troubleshooting.md and docs/runbooks.md quote of logs, answers and metrics is what the product says.
#[test]
fn what_is_quoted_to_find_trouble_by_is_what_the_product_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    read_into(&root.join("src"), &mut code);
    let code = without_tests(&code);
    let said = as_said(&code);
    let mut missing = Vec::new();
    let (mut names, mut sentences) = (0, 0);
    for document in ["docs/troubleshooting.md", "docs/runbooks.md"] {
        let text = fs::read_to_string(root.join(document)).expect(document);
        for name in names_in(&text) {
            names += 1;
            if !code.contains(&format!("\"{name}\"")) {
                missing.push(format!("{document}: {name}"));
            }
        }
        for quoted in sentences_in(&text) {
            sentences += 1;
            let fixed = fixed_parts(&quoted);
            if fixed.is_empty() || !fixed.iter().all(|part| said.contains(part.as_str())) {
                missing.push(format!("{document}: {quoted}"));
            }
        }
    }
    assert!(names > 80 && sentences > 15, "{names} names, {sentences} sentences");
    assert!(missing.is_empty(), "the product does not say:\n{}", missing.join("\n"));
}

/// Every link to a file of this repository leads to one, and to a heading that it has.
#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "charts/vestibule/README.md",
        "charts/vestibule-injector/README.md",
    ];
    let mut documents: Vec<PathBuf> = known.iter().map(|name| root.join(name)).collect();
    let docs = fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let (mut links, mut broken) = (0, Vec::new());
    for document in &documents {
        let text = fs::read_to_string(document).expect("a document");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, heading) =
                target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
            let path = if file.is_empty() { document.clone() } else { document.parent().expect("a folder").join(file) };
            if !path.exists() || heading.is_some_and(|heading| !headings(&path).iter().any(|one| one == heading)) {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(links > 100, "{links}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// From `#[cfg(test)]` on, a file has tests alone; what is in files of tests is in such a module as well.
fn without_tests(code: &str) -> String {
    let files = code.split("\u{c}");
    files
        .filter_map(|file| file.split("\n#[cfg(test)]\nmod tests {").next())
        .filter(|file| !file.contains("#[test]"))
        .collect()
}

/// The program's text as it is printed: lines that go on put together, quotes as they are, values as `…`.
fn as_said(code: &str) -> String {
    let mut lines = code.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let joined = lines.fold(first, |text, line| text + line.trim_start());
    let mut said = String::new();
    for (number, part) in joined.replace("\\\"", "\"").split('{').enumerate() {
        let after = part.split_once('}').filter(|(value, _)| number > 0 && value.len() < 40);
        said.push_str(if number > 0 { "…" } else { "" });
        said.push_str(after.map_or(part, |(_, rest)| rest));
    }
    said
}

/// Names of events, reasons and metrics, and the values of labels.
fn names_in(text: &str) -> Vec<&str> {
    let is_name = |word: &&str| !word.is_empty() && word.chars().all(|sign| sign.is_ascii_lowercase() || sign == '_');
    let mut names = Vec::new();
    let mut of_reasons = false;
    for line in text.lines() {
        of_reasons = if line.starts_with("| `reason` |") { true } else { of_reasons && line.starts_with('|') };
        let cells = line.split('|').nth(1).filter(|_| of_reasons).unwrap_or_default();
        names.extend(cells.split('`').skip(1).step_by(2).filter(is_name).filter(|name| *name != "reason"));
    }
    for span in spans(text) {
        let name = span.split('{').next().unwrap_or(span);
        names.extend(Some(name).filter(is_name).filter(|name| name.contains('_')));
        names.extend(span.split("=\"").skip(1).filter_map(|rest| rest.split('"').next()).filter(is_name));
    }
    names
}

/// What is quoted of the product's sentences; not what users write, nor what other programs say.
fn sentences_in(text: &str) -> Vec<String> {
    const WRITTEN: [&str; 18] = [
        "vestibule ",
        "kubectl ",
        "curl ",
        "openssl ",
        "htpasswd ",
        "printf ",
        "sum by ",
        "alertname=",
        "-n ",
        "access.",
        "allow: ",
        "admin: ",
        "immutable: ",
        "Authorization: ",
        "Bearer ",
        "Basic ",
        "JWT ",
        "Token ",
    ];
    let shown = text.lines().filter_map(|line| line.strip_prefix("vestibule: "));
    let quoted = spans(text).filter(|span| span.contains(' '));
    let quoted = quoted.filter(|span| !OTHERS_SAY.contains(span) && !span.trim_end_matches(" …").ends_with(':'));
    quoted.filter(|span| !WRITTEN.iter().any(|start| span.starts_with(start))).chain(shown).map(str::to_owned).collect()
}

/// What the kernel, HTTP and TLS libraries, Prometheus and clients say.
const OTHERS_SAY: [&str; 12] = [
    "Address already in use (os error 98)",
    "Connection refused (os error 111)",
    "connection closed before message completed",
    "connection refused",
    "context deadline exceeded",
    "invalid peer certificate: …",
    "unable to get local issuer certificate",
    "unknown authority",
    "no alternative certificate subject name matches",
    "wrong version number",
    "certificate has expired",
    "certificate required",
];

/// The parts of a sentence that are the same whatever it is about: two words or more.
fn fixed_parts(sentence: &str) -> Vec<String> {
    const VALUES: [&str; 5] = ["N", "watched", "patched", "by", "behind"];
    let is_name = |word: &str| word.len() > 1 && word.chars().all(|sign| sign.is_ascii_uppercase());
    let is_value = |word: &&str| {
        VALUES.contains(word) || is_name(word) || word.contains(|sign: char| sign.is_ascii_digit() || sign == '/')
    };
    let ours = OTHERS_SAY.iter().fold(sentence.to_owned(), |text, others| text.replace(others, "…"));
    let unquoted = ours.split(['"', '`']).step_by(2);
    let parts = unquoted.flat_map(|text| text.split(['…', ':', ';', '(', ')']));
    parts
        .flat_map(|part| {
            let words: Vec<&str> = part.split(' ').collect();
            words.split(is_value).map(|fixed| fixed.join(" ").trim().to_owned()).collect::<Vec<_>>()
        })
        .filter(|fixed| fixed.contains(' '))
        .collect()
}

/// Inline code, outside of blocks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// As they are linked to: in small letters, blanks as hyphens, without other signs.
fn headings(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a document");
    let lines = text.lines().filter(|line| line.starts_with('#'));
    let link = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign))
            .map(|sign| if sign == ' ' { '-' } else { sign })
            .collect()
    };
    lines.map(link).collect()
}

fn read_into(folder: &Path, code: &mut String) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            read_into(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            code.push_str(&fs::read_to_string(&path).expect("a source file"));
            code.push('\u{c}');
        }
    }
}
