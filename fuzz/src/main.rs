//! The fuzzer: libFuzzer, which drives the target that `VESTIBULE_FUZZ` names.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vestibule_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("VESTIBULE_FUZZ").unwrap_or_default();
        let target = vestibule_fuzz::target(&name).unwrap_or_else(|| panic!("VESTIBULE_FUZZ names no target: {name:?}"));
        TARGET.set(target).unwrap_or_else(|_| panic!("set once"));
    },
    |data: &[u8]| TARGET.get().expect("set before the first input")(data)
);
