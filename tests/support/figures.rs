//! What a test has measured, for those who read it: printed, and collected where `VESTIBULE_FIGURES` names a file.

use std::{env, fmt::Display, fs::OpenOptions, io::Write};

/// Whether the full counts are wanted (`tests/long`) and not those that fit into minutes.
pub(crate) fn long() -> bool {
    env::var_os("VESTIBULE_LONG").is_some()
}

/// Tells one figure: what was done, and what came out, with its unit.
pub(crate) fn figure(what: &str, value: impl Display) {
    let line = format!("figure: {what}: {value}\n");
    print!("{line}");
    let Some(file) = env::var_os("VESTIBULE_FIGURES") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("VESTIBULE_FIGURES can be written");
    // One write for a line: other tests write as well.
    file.write_all(line.as_bytes()).expect("VESTIBULE_FIGURES can be written");
}
