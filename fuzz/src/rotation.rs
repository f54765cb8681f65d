//! Rotation: no plan cuts a token off, leaves nobody to sign, or is made twice.
//!
//! Input: a line `NOW ROTATE_EVERY PROPAGATION MAX_TTL TTL`, then a line `NBF EXP|-` for each key.

use vestibule::auth::keys::{Algorithm, Key, KeyRing, Material};
use vestibule::auth::rotation::{Plan, Policy, Reason, plan, rotate};

/// Beyond this no clock goes.
const LATEST: u64 = 100_000_000_000;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let numbers = lines.next().unwrap_or_default().split(' ').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
    let Ok([now, rotate_every, propagation, max_ttl, ttl]) = numbers.as_deref() else { return };
    let (now, policy) = (
        *now,
        Policy {
            algorithm: Algorithm::Hs512,
            rotate_every: *rotate_every,
            propagation: *propagation,
            max_ttl: *max_ttl,
            ttl: *ttl,
        },
    );
    // What the configuration lets through.
    let spans = 1 <= policy.ttl && policy.ttl <= policy.max_ttl && policy.max_ttl <= 86_400 && policy.propagation >= 1;
    let fits =
        policy.propagation <= 86_400 && policy.rotate_every > 2 * policy.propagation && policy.rotate_every <= LATEST;
    if !spans || !fits || now > LATEST {
        return;
    }
    let keys = lines.take(12).enumerate().filter_map(|(place, line)| {
        let (nbf, exp) = line.split_once(' ')?;
        let nbf = nbf.parse::<u64>().ok().filter(|nbf| *nbf <= LATEST)?;
        let exp = if exp == "-" { None } else { Some(exp.parse::<u64>().ok().filter(|exp| *exp <= LATEST)?) };
        Some(key(&format!("k{place}"), nbf, nbf).with_exp(exp))
    });
    let ring = KeyRing::new(keys.collect()).expect("kids differ");
    for planned in [plan(&ring, now, &policy), rotate(&ring, now, &policy, None)] {
        match planned {
            Plan::Nothing { next, .. } => assert!(next > now, "{ring:?}"),
            Plan::Write(change) => {
                let after = change.apply(&ring, |_, iat, nbf| key("new", iat, nbf));
                keeps_the_promises(&ring, &after, now, &policy);
                let first = change.reason == Reason::FirstKey;
                assert_eq!(first, ring.signer(now, policy.ttl).is_none() && change.nbf == now, "{ring:?} {change:?}");
                let again = plan(&after, now, &policy);
                assert!(matches!(again, Plan::Nothing { .. }), "planned twice: {ring:?} {after:?} {again:?}");
            }
        }
    }
}

fn keeps_the_promises(before: &KeyRing, after: &KeyRing, now: u64, policy: &Policy) {
    let new = after.find("new").expect("a key is added");
    assert!(new.nbf() == now || new.nbf() == now + policy.propagation);
    assert_eq!(new.exp(), None);
    for old in before.keys() {
        // Whoever reads the ring a propagation late still finds what verified.
        let late = now.saturating_sub(policy.propagation);
        let Some(kept) = after.find(old.kid()) else {
            assert!(old.exp().is_some_and(|exp| exp <= late), "dropped too early: {before:?} {after:?}");
            continue;
        };
        assert_eq!((kept.nbf(), kept.iat()), (old.nbf(), old.iat()));
        assert!(kept.exp() == old.exp() || old.exp().is_none_or(|exp| kept.exp().is_some_and(|own| own < exp)));
        // A token that it may sign until the successor does is good to its own end, unless the key's came first.
        let signs_until = new.nbf();
        let last = signs_until + policy.max_ttl;
        if kept.exp() != old.exp() {
            assert!(
                kept.exp().is_some_and(|exp| exp >= last + 2 * policy.propagation),
                "cut short: {before:?} {after:?}"
            );
        }
    }
    if before.signer(now, policy.ttl).is_some() {
        assert!(after.signer(now, policy.ttl).is_some(), "nobody signs: {before:?} {after:?}");
    }
    assert!(after.signer(new.nbf(), policy.ttl).is_some(), "the successor does not sign: {after:?}");
}

fn key(kid: &str, iat: u64, nbf: u64) -> Key {
    Key::new(kid, Material::hs512(&[0x5a; 64]).expect("long enough"), iat, nbf)
}
