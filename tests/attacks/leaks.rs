//! Whether sixteen bytes in a row of anything secret stand in what was written for others to read.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter secrets count as a whole.
const WINDOW: usize = 16;
/// What is shorter than this is no secret, but a word that may stand anywhere.
const LEAST: usize = 8;

/// Secrets, cut into windows, each with the name of the secret that it comes from.
#[derive(Default)]
pub(crate) struct Secrets {
    windows: HashMap<Vec<u8>, String>,
    short: Vec<(Vec<u8>, String)>,
    count: usize,
}

impl Secrets {
    /// Adds a secret as it is, and as it looks in base64, in hexadecimal and behind JSON's escapes.
    pub(crate) fn add(&mut self, name: &str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        self.count += 1;
        self.add_form(name, secret);
        if let Ok(text) = std::str::from_utf8(secret) {
            self.add_form(name, serde_json::to_string(text).expect("text").trim_matches('"').as_bytes());
        }
        // Base64 takes three bytes at a time: within a longer text it may begin at any of them.
        for skipped in 0..3.min(secret.len()) {
            let rest = &secret[skipped..];
            let whole = &rest[..rest.len() - rest.len() % 3];
            self.add_form(name, STANDARD_NO_PAD.encode(whole).as_bytes());
            self.add_form(name, URL_SAFE_NO_PAD.encode(whole).as_bytes());
        }
        let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add_form(name, hexadecimal.as_bytes());
        self.add_form(name, hexadecimal.to_uppercase().as_bytes());
        self.add_form(name, format!("{secret:?}").trim_matches(['[', ']']).as_bytes());
    }

    /// Adds a secret in this form alone.
    pub(crate) fn add_raw(&mut self, name: &str, secret: &[u8]) {
        self.count += 1;
        self.add_form(name, secret);
    }

    /// Adds a secret that is written in base64 of either alphabet, its bytes too.
    pub(crate) fn add_encoded(&mut self, name: &str, secret: &str) {
        self.add(name, secret);
        let decoded = URL_SAFE_NO_PAD.decode(secret).or_else(|_| STANDARD.decode(secret));
        if let Ok(bytes) = decoded {
            self.add(&format!("{name}, decoded"), bytes);
        }
    }

    /// Adds a token: its payload as it is encoded, as some of what it says may be told (`sub`, `jti`), and its
    /// signature. Of a header nothing is secret.
    pub(crate) fn add_token(&mut self, name: &str, token: &str) {
        let mut segments = token.split('.').skip(1);
        let mut next = || segments.next().unwrap_or_default();
        self.add_raw(name, next().as_bytes());
        self.add_encoded(name, next());
    }

    /// Adds the lines between the first and the last of a PEM file, and their bytes.
    pub(crate) fn add_pem(&mut self, name: &str, pem: &str) {
        for line in pem.lines().filter(|line| !line.starts_with("-----")) {
            self.add_encoded(name, line);
        }
    }

    /// How many secrets there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The names of the secrets of which something stands in `text`, each with what stands there.
    pub(crate) fn found_in(&self, text: &[u8]) -> Vec<String> {
        let mut found: Vec<_> = text
            .windows(WINDOW)
            .filter_map(|window| Some((self.windows.get(window)?, window)))
            .map(|(name, window)| format!("{name}: {:?}", String::from_utf8_lossy(window)))
            .collect();
        for (secret, name) in &self.short {
            if text.windows(secret.len()).any(|window| window == secret) {
                found.push(format!("{name}: {:?}", String::from_utf8_lossy(secret)));
            }
        }
        found.dedup();
        found.truncate(20);
        found
    }

    fn add_form(&mut self, name: &str, form: &[u8]) {
        if form.len() >= WINDOW {
            self.windows.extend(form.windows(WINDOW).map(|window| (window.to_vec(), name.to_owned())));
        } else if form.len() >= LEAST {
            self.short.push((form.to_vec(), name.to_owned()));
        }
    }
}
