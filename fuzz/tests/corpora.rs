//! Every target over its corpus, and over what a fuzzer makes of it first: inputs cut short and put together.

use std::path::Path;

#[test]
fn corpora_hold() {
    for (name, target) in vestibule_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut inputs: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 8, "{name} has hardly any inputs");
        for path in &inputs {
            let input = std::fs::read(path).expect("a readable file");
            eprintln!("{}", path.display());
            target(&input);
            for end in (0..input.len()).rev().step_by(1 + input.len() / 16) {
                target(&input[..end]);
            }
        }
    }
}
