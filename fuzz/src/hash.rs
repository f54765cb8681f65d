//! Stored hashes: usable are exactly those of the documented forms, and none costs more than is promised.
//!
//! Input: the hash.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use vestibule::auth::password::{PasswordHash, Work};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match (PasswordHash::parse(text), model(text)) {
        (Ok(hash), Some(work)) => {
            assert_eq!(hash.work(), work, "{text:?}");
            assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
        }
        (Err(error), None) => {
            let said = error.to_string();
            // Without a dollar it may be some of our own words.
            assert!(text.len() < 16 || !text.starts_with('$') || !said.contains(text), "{said}");
        }
        (found, expected) => panic!("{text:?}: {:?}, and should be {expected:?}", found.map(|hash| hash.work())),
    }
}

fn model(text: &str) -> Option<Work> {
    let fields: Vec<&str> = text.split('$').collect();
    match fields[..] {
        ["", "argon2id", "v=19", parameters, salt, output] => argon2id(parameters, salt, output),
        ["", "2a" | "2b" | "2y", cost, tail] => bcrypt(cost, tail),
        _ => None,
    }
}

fn argon2id(parameters: &str, salt: &str, output: &str) -> Option<Work> {
    let [memory, passes, lanes] = parameters.split(',').collect::<Vec<_>>()[..] else { return None };
    let number = |text: &str, name: &str| {
        let digits = text.strip_prefix(name)?;
        let value = digits.parse::<u32>().ok()?;
        (value.to_string() == digits).then_some(value)
    };
    let (memory_kib, passes, lanes) = (number(memory, "m=")?, number(passes, "t=")?, number(lanes, "p=")?);
    let bytes = |text| STANDARD_NO_PAD.decode(text).ok().map(|bytes| bytes.len());
    let bounded = memory_kib <= 65_536 && (1..=16).contains(&passes) && (1..=16).contains(&lanes);
    let fits = bounded && memory_kib >= 8 * lanes;
    let whole = (8..=64).contains(&bytes(salt)?) && (16..=64).contains(&bytes(output)?);
    (fits && whole).then_some(Work::Argon2id { memory_kib, passes, lanes })
}

fn bcrypt(cost: &str, tail: &str) -> Option<Work> {
    let letters = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '/');
    let known = ["04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14"].contains(&cost);
    (known && tail.len() == 53 && letters(tail)).then(|| Work::Bcrypt { cost: cost.parse().expect("two digits") })
}
