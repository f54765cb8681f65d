//! The throttle against a model that is too simple to be wrong, over random histories.

use std::collections::HashMap;

use super::*;

/// One account from one source: a flat list of attempts in the order in which they came, milliseconds for times.
#[derive(Default)]
struct Model {
    wait: u64,
    until: u64,
    checked: u64,
    active: u64,
    /// Number, password, and whether its client is still there. Those that carry the first one's password are being checked.
    line: Vec<(usize, u8, bool)>,
}

const FIRST: u64 = 1000;
const MAX: u64 = 20_000;
const FORGET: u64 = 30_000;

#[derive(Debug, PartialEq)]
enum Said {
    Check,
    Join(usize),
    Queue,
    Refuse(u64),
}

impl Model {
    fn lengthen(&mut self) {
        self.wait = if self.wait == 0 { FIRST } else { (self.wait * 2).min(MAX) };
    }

    fn begin(&mut self, attempt: usize, password: u8, now: u64) -> Said {
        if let Some((leader, checking, _)) = self.line.first().copied() {
            self.line.push((attempt, password, true));
            return if password == checking { Said::Join(leader) } else { Said::Queue };
        }
        if now < self.until {
            self.lengthen();
            self.active = now;
            self.until = self.until.max((now + self.wait).min(self.checked + MAX));
            return Said::Refuse(self.until - now);
        }
        if now >= self.active + FORGET {
            self.wait = 0;
        }
        self.line.push((attempt, password, true));
        Said::Check
    }

    fn fail(&mut self, now: u64) -> Vec<(usize, Said)> {
        self.lengthen();
        (self.checked, self.active, self.until) = (now, now, now + self.wait);
        let mut seen = Vec::new();
        // Those that carry the same password stand together, where the first of them stands.
        let line = std::mem::take(&mut self.line);
        for (_, password, _) in &line {
            if !seen.contains(password) {
                seen.push(*password);
            }
        }
        let mut refused = Vec::new();
        for password in seen.iter().skip(1) {
            let there = line.iter().filter(|(_, other, here)| other == password && *here);
            refused.extend(there.map(|(attempt, _, _)| (*attempt, Said::Refuse(self.wait))));
        }
        refused
    }

    fn next(&mut self, now: u64) -> Vec<(usize, Said)> {
        let checked = self.line[0].1;
        self.line.retain(|(_, password, _)| *password != checked);
        let Some((_, password, _)) = self.line.first().copied() else {
            return Vec::new();
        };
        let party: Vec<usize> = self
            .line
            .iter()
            .filter(|(_, other, here)| *other == password && *here)
            .map(|(attempt, _, _)| *attempt)
            .collect();
        let Some(leader) = party.first().copied() else {
            return self.fail(now);
        };
        // The leader comes first in the list, so that later ones join it by name.
        let place = self.line.iter().position(|(attempt, _, _)| *attempt == leader).unwrap();
        let first = self.line.remove(place);
        self.line.insert(0, first);
        let said = |attempt| {
            if attempt == leader { Said::Check } else { Said::Join(leader) }
        };
        party.iter().map(|attempt| (*attempt, said(*attempt))).collect()
    }

    fn finish(&mut self, outcome: Outcome, now: u64) -> Vec<(usize, Said)> {
        match outcome {
            Outcome::Denied => return self.fail(now),
            Outcome::Granted => (self.wait, self.until, self.checked, self.active) = (0, 0, 0, 0),
            Outcome::Unchecked => {}
        }
        self.next(now)
    }

    fn leave(&mut self, attempt: usize, now: u64) -> Vec<(usize, Said)> {
        let Some((_, checking, _)) = self.line.first().copied() else {
            return Vec::new();
        };
        for (other, password, here) in &mut self.line {
            if *other == attempt && std::mem::take(here) && *password == checking {
                let left = self.line.iter().any(|(_, password, here)| *password == checking && *here);
                return if left { Vec::new() } else { self.fail(now) };
            }
        }
        Vec::new()
    }
}

/// Both machines side by side, with the names that each gives to attempts.
struct Pair {
    throttle: Throttle,
    digest: AttemptDigest,
    models: HashMap<u64, Model>,
    names: HashMap<AttemptId, usize>,
    /// Those that were let in and not yet told an answer, and the checks under way by account.
    pending: Vec<(usize, AttemptId, u64)>,
    tickets: Vec<(u64, Ticket)>,
}

impl Pair {
    fn said(&mut self, account: u64, attempt: usize, decision: Decision) -> Said {
        match decision {
            Decision::Check(ticket) => {
                self.names.insert(ticket.attempt(), attempt);
                self.pending.push((attempt, ticket.attempt(), account));
                self.tickets.push((account, ticket));
                Said::Check
            }
            Decision::Join { attempt: id, leader } => {
                self.names.insert(id, attempt);
                self.pending.push((attempt, id, account));
                Said::Join(self.names[&leader])
            }
            Decision::Queue(id) => {
                self.names.insert(id, attempt);
                self.pending.push((attempt, id, account));
                Said::Queue
            }
            Decision::Refuse { retry_after } => Said::Refuse(retry_after.as_millis() as u64),
        }
    }

    fn woken(&mut self, account: u64, woken: Vec<Woken>) -> Vec<(usize, Said)> {
        let mut said = Vec::new();
        for Woken { attempt, decision } in woken {
            let attempt = self.names[&attempt];
            said.push((attempt, self.said(account, attempt, decision)));
        }
        said
    }
}

#[test]
fn random_histories_agree_with_the_model() {
    for seed in 1..=200_u64 {
        let policy = Policy {
            max: Duration::from_millis(MAX),
            forget_after: Duration::from_millis(FORGET),
            ..Policy::default()
        };
        let mut pair = Pair {
            throttle: Throttle::new(policy),
            digest: AttemptDigest::generate().unwrap(),
            models: HashMap::new(),
            names: HashMap::new(),
            pending: Vec::new(),
            tickets: Vec::new(),
        };
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = |below: u64| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) % below
        };
        let mut now = 1_000_000;
        for attempt in 0..1500 {
            now += [0, 0, 1, 137, 999, 1000, 4000, 31_000][random(if attempt % 50 == 0 { 8 } else { 7 }) as usize];
            let at = Duration::from_millis(now);
            match random(10) {
                0..6 => {
                    let (account, password) = (random(3), random(4) as u8);
                    let key = pair.digest.key(&[account as u8], Source::Local);
                    let credentials = pair.digest.fingerprint(&[account as u8], &[password]);
                    let decision = pair.throttle.begin(key, credentials, at);
                    let said = pair.said(account, attempt, decision);
                    let expected = pair.models.entry(account).or_default().begin(attempt, password, now);
                    assert_eq!(said, expected, "seed {seed}, step {attempt}");
                }
                6..9 if !pair.tickets.is_empty() => {
                    let place = random(pair.tickets.len() as u64) as usize;
                    let (account, ticket) = pair.tickets.swap_remove(place);
                    let outcome = [Outcome::Granted, Outcome::Denied, Outcome::Unchecked][random(3) as usize];
                    let model = pair.models.get_mut(&account).unwrap();
                    // The ticket of an abandoned check says nothing any more.
                    let leader = pair.names[&ticket.attempt()];
                    let stale = model.line.first().is_none_or(|(first, _, _)| *first != leader);
                    let expected = if stale { Vec::new() } else { model.finish(outcome, now) };
                    let woken = pair.throttle.finish(ticket, outcome, at);
                    assert_eq!(pair.woken(account, woken), expected, "seed {seed}, step {attempt}");
                }
                9 if !pair.pending.is_empty() => {
                    let place = random(pair.pending.len() as u64) as usize;
                    let (name, id, account) = pair.pending.swap_remove(place);
                    let expected = pair.models.get_mut(&account).unwrap().leave(name, now);
                    let departure = pair.throttle.leave(id, at);
                    assert_eq!(pair.woken(account, departure.woken), expected, "seed {seed}, step {attempt}");
                }
                _ => {}
            }
        }
    }
}
