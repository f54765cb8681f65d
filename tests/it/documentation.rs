//! What the documentation says of the tests is true.

use std::fs;
use std::path::Path;

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
