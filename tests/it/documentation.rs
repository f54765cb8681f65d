//! What the documentation says of the tests is true.

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
        }
    }
}
