//! Tokens that were found good, so that a signature is verified once and not at every request.

use std::collections::HashMap;
use std::rc::Rc;

use foldhash::quality::RandomState;

use super::identity::Identity;

/// Tokens in each half; a token and its claims take about 1 KiB.
const HALF: usize = 1024;

/// Keyed by the whole token; each entry knows the generation of users, keys and rules that it was judged on, and is
/// nothing in any other. Failures are never kept. Two halves: when the younger is full it becomes the older one and
/// what was in that is forgotten, unless it was asked for since.
#[derive(Default)]
pub(super) struct TokenCache {
    young: HashMap<Box<str>, Entry, RandomState>,
    old: HashMap<Box<str>, Entry, RandomState>,
}

#[derive(Clone)]
struct Entry {
    generation: u64,
    identity: Rc<Identity>,
}

impl TokenCache {
    pub(super) fn find(&mut self, token: &str, generation: u64) -> Option<Rc<Identity>> {
        if let Some(entry) = self.young.get(token) {
            return (entry.generation == generation).then(|| Rc::clone(&entry.identity));
        }
        let (token, entry) = self.old.remove_entry(token)?;
        let found = (entry.generation == generation).then(|| Rc::clone(&entry.identity));
        if found.is_some() {
            self.insert(token, entry);
        }
        found
    }

    pub(super) fn keep(&mut self, token: &str, generation: u64, identity: Rc<Identity>) {
        self.insert(token.into(), Entry { generation, identity });
    }

    fn insert(&mut self, token: Box<str>, entry: Entry) {
        if self.young.len() >= HALF && !self.young.contains_key(&token) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, entry);
    }
}
