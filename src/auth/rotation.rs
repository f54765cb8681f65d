//! When the ring gets a new key and which of its keys go: a pure function of ring, time and policy.
//!
//! A successor is published `propagation` before it signs, so that every reader holds it by then. Its predecessor
//! may be used to sign until that moment, for `max_ttl` at most, and stays a margin of `2 × propagation` longer. So
//! a token verifies everywhere until its own end. Nothing of this needs the replicas to agree on anything but the
//! ring: each plans from what it reads, and writes only onto exactly that.

use std::fmt;

use super::keys::{Algorithm, Key, KeyRing};

/// How keys follow each other. Spans are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Counts for the first key and for rotations that are due.
    pub algorithm: Algorithm,
    /// The age, counted from its `nbf`, at which a signer gets a successor.
    pub rotate_every: u64,
    /// How long before it signs a key is published.
    pub propagation: u64,
    /// The longest time that a token may be asked for.
    pub max_ttl: u64,
    /// A key whose `exp` is nearer than this does not sign.
    pub ttl: u64,
}

/// What is to be done with a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing; `next` is the time, in seconds since the epoch, to look again.
    Nothing { next: u64, why: Idle },
    /// One write of the ring that the change makes.
    Write(Change),
}

/// Why nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    NotDue,
    /// A key is published already and will sign at its `nbf`.
    SuccessorPending,
    /// The ring holds as many keys as it may, and none can be dropped yet.
    RingFull,
}

/// Why a key is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No key signs and none ever will: the new one does so at once.
    FirstKey,
    RotationDue,
    /// An operator wants it.
    Requested,
}

/// A new key and what it means for the others. Good for the very ring that it was planned on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub reason: Reason,
    pub algorithm: Algorithm,
    /// When the new key is made.
    pub iat: u64,
    /// When the new key signs.
    pub nbf: u64,
    /// The `exp` of its predecessor.
    retire_at: u64,
    /// Keys whose `exp` is not after this are dropped.
    drop_until: Option<u64>,
    predecessor: Option<String>,
}

/// The ring holds no key of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKid(pub String);

impl fmt::Display for UnknownKid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no key has the kid {:?}", self.0)
    }
}

impl std::error::Error for UnknownKid {}

/// What the policy says at `now`, for a replica or whoever else keeps the ring.
///
/// A rotation is due when the signer is `rotate_every` old, or when its own `exp` would leave a successor no time to
/// take over before tokens have to be cut short.
pub fn plan(ring: &KeyRing, now: u64, policy: &Policy) -> Plan {
    let due = ring.signer(now, policy.ttl).map(|signer| due_at(signer, policy));
    match due {
        Some(due) if due > now && successor(ring, now, policy.ttl).is_none() => {
            Plan::Nothing { next: due, why: Idle::NotDue }
        }
        _ => publish(ring, now, policy, Reason::RotationDue, policy.algorithm),
    }
}

/// When the policy wants a key published next: the successor of the one that is pending, or else of the signer. It is in
/// the past while a rotation is overdue; `None` while no key signs and none is pending.
pub fn next_due(ring: &KeyRing, now: u64, policy: &Policy) -> Option<u64> {
    let last = successor(ring, now, policy.ttl).or_else(|| ring.signer(now, policy.ttl));
    last.map(|key| due_at(key, policy))
}

/// What publishes a successor now, whether one is due or not. The signer's algorithm stays unless another is named;
/// without a signer the policy's counts.
pub fn rotate(ring: &KeyRing, now: u64, policy: &Policy, algorithm: Option<Algorithm>) -> Plan {
    let signers = ring.signer(now, policy.ttl).map(Key::algorithm);
    let algorithm = algorithm.or(signers).unwrap_or(policy.algorithm);
    publish(ring, now, policy, Reason::Requested, algorithm)
}

/// The ring without the key `kid`. Were it the only signer, the pending successor signs at once, or a new key of the
/// same algorithm does.
pub fn revoke(
    ring: &KeyRing,
    kid: &str,
    now: u64,
    policy: &Policy,
    generate: impl FnOnce(Algorithm, u64, u64) -> Key,
) -> Result<KeyRing, UnknownKid> {
    let revoked = ring.find(kid).ok_or_else(|| UnknownKid(kid.to_owned()))?;
    let was_signer = revoked.signs(now, policy.ttl);
    let rest = ring.keys().iter().filter(|key| key.kid() != revoked.kid());
    let mut rest: Vec<Key> = rest.cloned().collect();
    if was_signer && !rest.iter().any(|key| key.signs(now, policy.ttl)) {
        let ready = |key: &Key| key.clone().with_nbf(now).signs(now, policy.ttl);
        match rest.iter().position(|key| key.nbf() > now && ready(key)) {
            Some(next) => rest[next] = rest[next].clone().with_nbf(now),
            None => rest.push(generate(revoked.algorithm(), now, now)),
        }
    }
    Ok(remade(ring, rest))
}

impl Change {
    /// The ring to write. `generate` makes a key of an algorithm, `iat` and `nbf`: [`Key::fresh`].
    pub fn apply(&self, ring: &KeyRing, generate: impl FnOnce(Algorithm, u64, u64) -> Key) -> KeyRing {
        let kept = ring.keys().iter().filter(|key| !self.drops(key));
        let mut keys: Vec<Key> = kept.map(|key| self.retired(key)).collect();
        keys.push(generate(self.algorithm, self.iat, self.nbf));
        remade(ring, keys)
    }

    fn drops(&self, key: &Key) -> bool {
        let over = key.exp().zip(self.drop_until);
        over.is_some_and(|(exp, until)| exp <= until)
    }

    /// The predecessor ends with its last tokens, earlier where it was to end earlier. So does any other key that
    /// could still sign and has no end. An end that was promised to a retired key stands: tokens rely on it. A key
    /// that only verifies is an operator's, and stays as it is.
    fn retired(&self, key: &Key) -> Key {
        let predecessor = self.predecessor.as_deref() == Some(key.kid());
        match key.exp() {
            None if key.can_sign() => key.clone().with_exp(Some(self.retire_at)),
            Some(exp) if predecessor => key.clone().with_exp(Some(exp.min(self.retire_at))),
            _ => key.clone(),
        }
    }
}

fn publish(ring: &KeyRing, now: u64, policy: &Policy, wanted: Reason, algorithm: Algorithm) -> Plan {
    if let Some(successor) = successor(ring, now, policy.ttl) {
        return Plan::Nothing { next: successor.nbf(), why: Idle::SuccessorPending };
    }
    let signer = ring.signer(now, policy.ttl);
    let (reason, nbf) = match signer {
        Some(_) => (wanted, now.saturating_add(policy.propagation)),
        None => (Reason::FirstKey, now),
    };
    let margin = policy.propagation.saturating_mul(2);
    let change = Change {
        reason,
        algorithm,
        iat: now,
        nbf,
        retire_at: nbf.saturating_add(policy.max_ttl).saturating_add(margin),
        drop_until: now.checked_sub(policy.propagation),
        predecessor: signer.map(|signer| signer.kid().to_string()),
    };
    let kept = ring.keys().iter().filter(|key| !change.drops(key)).count();
    if kept < KeyRing::MAX_KEYS {
        return Plan::Write(change);
    }
    let first_over = ring.keys().iter().filter_map(Key::exp).min();
    Plan::Nothing {
        next: first_over.map_or(u64::MAX, |exp| exp.saturating_add(policy.propagation)),
        why: Idle::RingFull,
    }
}

/// The pending key that signs first.
fn successor(ring: &KeyRing, now: u64, ttl: u64) -> Option<&Key> {
    ring.keys().iter().find(|key| key.is_pending(now, ttl))
}

fn due_at(signer: &Key, policy: &Policy) -> u64 {
    let by_age = signer.nbf().saturating_add(policy.rotate_every);
    // With this much left a successor published now takes over just before full-length tokens would be cut.
    let lead = policy.propagation.saturating_mul(3).saturating_add(policy.max_ttl);
    signer.exp().map_or(by_age, |exp| by_age.min(exp.saturating_sub(lead)))
}

fn remade(ring: &KeyRing, keys: Vec<Key>) -> KeyRing {
    KeyRing::new(keys)
        .expect("there was room for one key, and its name is drawn from 64 random bits")
        .with_members(ring.members().clone())
}

#[cfg(test)]
mod tests;
