//! Plans over fixed times, and a simulation of replicas that read late.

use super::*;

const NOW: u64 = 1_000_000;
const POLICY: Policy =
    Policy { algorithm: Algorithm::Hs512, rotate_every: 10_000, propagation: 100, max_ttl: 2000, ttl: 300 };

fn key(kid: &str, nbf: u64, exp: Option<u64>) -> Key {
    Key::generate(Algorithm::Hs512, kid, nbf, nbf).with_exp(exp)
}

fn ring(keys: &[Key]) -> KeyRing {
    KeyRing::new(keys.to_vec()).unwrap()
}

fn public_only(kid: &str) -> Key {
    use super::super::keys::Material;
    let jwk = Key::fresh(Algorithm::EdDsa, 0, 0).private_jwk();
    let x = jwk["x"].as_str().unwrap();
    let x = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, x).unwrap();
    Key::new(kid, Material::eddsa(&x, None).unwrap(), 0, 0)
}

fn new_key(algorithm: Algorithm, iat: u64, nbf: u64) -> Key {
    Key::generate(algorithm, "new", iat, nbf)
}

/// The keys of a ring as (kid, nbf, exp).
fn shape(ring: &KeyRing) -> Vec<(&str, u64, Option<u64>)> {
    ring.keys().iter().map(|key| (&**key.kid(), key.nbf(), key.exp())).collect()
}

fn change(plan: Plan) -> Change {
    match plan {
        Plan::Write(change) => change,
        Plan::Nothing { next, why } => panic!("nothing to do until {next}: {why:?}"),
    }
}

#[test]
fn the_plan_is_a_matter_of_ring_time_and_policy() {
    use Idle::*;
    type Case = (&'static str, Vec<Key>, u64, Option<(u64, Idle)>);
    let nothing = |next, why| Some((next, why));
    let fresh = || key("a", NOW, None);
    let cases: [Case; 13] = [
        ("empty", vec![], NOW, None),
        ("fresh", vec![fresh()], NOW, nothing(NOW + 10_000, NotDue)),
        ("one second early", vec![fresh()], NOW + 9999, nothing(NOW + 10_000, NotDue)),
        ("due", vec![fresh()], NOW + 10_000, None),
        ("long overdue", vec![fresh()], NOW + 99_000, None),
        (
            "due, but published by another replica",
            vec![key("a", NOW, Some(NOW + 12_300)), key("b", NOW + 10_100, None)],
            NOW + 10_000,
            nothing(NOW + 10_100, SuccessorPending),
        ),
        (
            "the successor signs",
            vec![key("a", NOW, Some(NOW + 12_300)), key("b", NOW + 10_100, None)],
            NOW + 10_100,
            nothing(NOW + 20_100, NotDue),
        ),
        (
            "made by a replica whose clock is ahead",
            vec![key("a", NOW + 10, None)],
            NOW,
            nothing(NOW + 10, SuccessorPending),
        ),
        ("all over", vec![key("a", 0, Some(NOW))], NOW, None),
        ("over within a ttl", vec![key("a", 0, Some(NOW + 299))], NOW, None),
        ("nothing that can sign", vec![public_only("p")], NOW, None),
        ("pending, but over before it could sign", vec![key("a", NOW + 50, Some(NOW + 200))], NOW, None),
        (
            "a signer with an end gets a successor in time",
            vec![key("a", NOW, Some(NOW + 5000))],
            NOW,
            nothing(NOW + 5000 - 2300, NotDue),
        ),
    ];
    for (name, keys, now, expected) in cases {
        let found = match plan(&ring(&keys), now, &POLICY) {
            Plan::Nothing { next, why } => Some((next, why)),
            Plan::Write(_) => None,
        };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn what_is_due_next_moves_on_with_each_write() {
    let cases = [
        ("nothing that signs", vec![public_only("p")], None),
        ("fresh", vec![key("a", NOW, None)], Some(NOW + 10_000)),
        ("long overdue", vec![key("a", NOW - 99_000, None)], Some(NOW - 89_000)),
        ("its end is nearer", vec![key("a", NOW, Some(NOW + 5000))], Some(NOW + 5000 - 2300)),
        ("published", vec![key("a", NOW - 10_000, Some(NOW + 2300)), key("b", NOW + 100, None)], Some(NOW + 10_100)),
        ("the first one, by a clock that is ahead", vec![key("a", NOW + 10, None)], Some(NOW + 10_010)),
    ];
    for (name, keys, expected) in cases {
        let ring = ring(&keys);
        assert_eq!(next_due(&ring, NOW, &POLICY), expected, "{name}");
        if let Plan::Write(change) = plan(&ring, NOW, &POLICY) {
            let after = next_due(&change.apply(&ring, new_key), NOW, &POLICY);
            assert_eq!(after, Some(change.nbf + 10_000), "{name}");
        }
    }
}

#[test]
fn the_first_key_signs_at_once() {
    for keys in [vec![], vec![key("old", 0, Some(NOW - 1))], vec![public_only("p")]] {
        let ring = ring(&keys);
        let change = change(plan(&ring, NOW, &POLICY));
        assert_eq!(change.reason, Reason::FirstKey);
        let after = change.apply(&ring, new_key);
        assert_eq!(after.signer(NOW, 300).map(|key| &**key.kid()), Some("new"));
        assert_eq!(after.keys().len(), keys.len() + 1);
    }
}

#[test]
fn a_rotation_is_one_write() {
    let before = ring(&[
        key("dropped", NOW - 40_000, Some(NOW - 100)),
        key("over, still read by some", NOW - 30_000, Some(NOW - 99)),
        public_only("an operator's"),
        key("retired", NOW - 20_000, Some(NOW + 9000)),
        key("forgotten", NOW - 15_000, None),
        key("signer", NOW - 10_000, None),
    ]);
    let change = change(plan(&before, NOW, &POLICY));
    assert_eq!(change.reason, Reason::RotationDue);
    let retires = Some(NOW + 100 + 2000 + 200);
    let after = change.apply(&before, new_key);
    assert_eq!(
        shape(&after),
        [
            ("an operator's", 0, None),
            ("over, still read by some", NOW - 30_000, Some(NOW - 99)),
            ("retired", NOW - 20_000, Some(NOW + 9000)),
            ("forgotten", NOW - 15_000, retires),
            ("signer", NOW - 10_000, retires),
            ("new", NOW + 100, None),
        ]
    );
    assert_eq!(after.find("new").unwrap().iat(), NOW);
    assert_eq!(after.signer(NOW, 300).map(|key| &**key.kid()), Some("signer"));
    assert_eq!(after.signer(NOW + 100, 300).map(|key| &**key.kid()), Some("new"));
    assert!(matches!(plan(&after, NOW, &POLICY), Plan::Nothing { .. }), "the loser finds nothing to do");
}

#[test]
fn an_end_that_a_signer_has_already_is_never_put_off() {
    for (own, expected) in [(NOW + 1000, NOW + 1000), (NOW + 90_000, NOW + 2300)] {
        let before = ring(&[key("signer", NOW - 10_000, Some(own))]);
        let after = change(plan(&before, NOW, &POLICY)).apply(&before, new_key);
        assert_eq!(after.find("signer").unwrap().exp(), Some(expected));
    }
}

#[test]
fn another_policy_changes_nothing_before_a_rotation_is_due() {
    let before = ring(&[key("retiring", NOW - 20_000, Some(NOW + 1000)), key("signer", NOW, None)]);
    let other = Policy { algorithm: Algorithm::Es256, rotate_every: 5000, propagation: 7, max_ttl: 50_000, ttl: 10 };
    let found = plan(&before, NOW + 4999, &other);
    let why = Idle::NotDue;
    assert_eq!(found, Plan::Nothing { next: NOW + 5000, why });
    let change = change(plan(&before, NOW + 5000, &other));
    assert_eq!(change.algorithm, Algorithm::Es256, "then its algorithm counts");
}

#[test]
fn a_requested_rotation_keeps_the_signers_algorithm_unless_told() {
    use Algorithm::*;
    let signer = Key::generate(EdDsa, "signer", NOW, NOW);
    let before = ring(&[signer]);
    for (wanted, found) in [(None, EdDsa), (Some(Es256), Es256), (Some(Hs512), Hs512)] {
        let change = change(rotate(&before, NOW + 1, &POLICY, wanted));
        assert_eq!((change.reason, change.algorithm), (Reason::Requested, found));
        assert_eq!(change.nbf, NOW + 101);
        let after = change.apply(&before, new_key);
        assert_eq!(after.find("new").unwrap().algorithm(), found);
        let again = rotate(&after, NOW + 2, &POLICY, wanted);
        let why = Idle::SuccessorPending;
        assert_eq!(again, Plan::Nothing { next: NOW + 101, why });
    }
    let first = change(rotate(&KeyRing::default(), NOW, &POLICY, None));
    assert_eq!((first.reason, first.algorithm, first.nbf), (Reason::FirstKey, Hs512, NOW));
}

#[test]
fn a_revoked_key_is_gone_and_somebody_signs() {
    let unused = |_, _, _| panic!("no new key is needed");
    let take = |keys: &[Key], kid| revoke(&ring(keys), kid, NOW, &POLICY, unused);
    let (old, signer) = (key("old", 5, Some(NOW + 2000)), key("signer", 10, None));
    let (next, later) = (key("next", NOW + 50, None), key("later", NOW + 90, None));

    let after = take(&[signer.clone(), later, next.clone()], "signer").unwrap();
    assert_eq!(shape(&after), [("next", NOW, None), ("later", NOW + 90, None)]);
    let after = take(&[old.clone(), signer.clone(), next.clone()], "signer").unwrap();
    assert_eq!(shape(&after), [("old", 5, Some(NOW + 2000)), ("next", NOW + 50, None)]);
    let after = take(&[signer.clone(), next.clone()], "next").unwrap();
    assert_eq!(shape(&after), [("signer", 10, None)]);
    let after = take(&[old.clone(), signer.clone()], "old").unwrap();
    assert_eq!(shape(&after), [("signer", 10, None)]);
    let over = key("over", 5, Some(NOW - 1));
    let after = take(&[over, next], "over").unwrap();
    assert_eq!(shape(&after), [("next", NOW + 50, None)], "it signed no more");
    let error = take(&[old, signer], "Signer").unwrap_err();
    assert_eq!(error, UnknownKid("Signer".to_owned()));

    let only = ring(&[
        Key::generate(Algorithm::Es256, "only", 0, 0),
        public_only("public"),
        key("too short", NOW + 50, Some(NOW + 200)),
    ]);
    let after = revoke(&only, "only", NOW, &POLICY, new_key).unwrap();
    let new = after.signer(NOW, 300).unwrap();
    assert_eq!((&**new.kid(), new.algorithm(), new.nbf()), ("new", Algorithm::Es256, NOW));
    assert!(after.find("only").is_none() && after.keys().len() == 3);
}

#[test]
fn after_the_successor_is_revoked_its_predecessor_gets_another_in_time() {
    let before = ring(&[key("a", NOW, None)]);
    let rotated = change(rotate(&before, NOW + 500, &POLICY, None)).apply(&before, new_key);
    let rest = revoke(&rotated, "new", NOW + 550, &POLICY, new_key).unwrap();
    assert_eq!(shape(&rest), [("a", NOW, Some(NOW + 500 + 100 + 2000 + 200))]);
    assert_eq!(change(plan(&rest, NOW + 550, &POLICY)).nbf, NOW + 650);
}

#[test]
fn a_full_ring_waits_for_a_key_to_be_dropped() {
    let mut keys: Vec<Key> = (1..KeyRing::MAX_KEYS as u64).map(|n| key(&n.to_string(), n, Some(NOW + n))).collect();
    keys.push(key("signer", NOW - 10_000, None));
    let full = ring(&keys);
    let next = NOW + 1 + 100;
    let why = Idle::RingFull;
    for now in [NOW, next - 1] {
        assert_eq!(plan(&full, now, &POLICY), Plan::Nothing { next, why });
    }
    let after = change(plan(&full, next, &POLICY)).apply(&full, new_key);
    assert_eq!(after.keys().len(), KeyRing::MAX_KEYS);
}

#[test]
fn members_of_the_document_survive_every_write() {
    let mut members = serde_json::Map::new();
    members.insert("owner".to_owned(), "team".into());
    let before = ring(&[key("a", NOW, None)]).with_members(members.clone());
    let rotated = change(rotate(&before, NOW, &POLICY, None)).apply(&before, new_key);
    let revoked = revoke(&rotated, "a", NOW, &POLICY, new_key).unwrap();
    assert_eq!((rotated.members(), revoked.members()), (&members, &members));
}

/// Replicas see the ring up to `propagation` late. Whatever any of them signs verifies at every other until the
/// token's own end, over many rotations; there always is a signer, and the ring does not grow.
#[test]
fn a_token_of_any_replica_verifies_at_any_other_until_its_end() {
    for (rotate_every, propagation, max_ttl) in [(20, 4, 30), (50, 5, 12), (7, 3, 40), (9, 9, 9), (15, 0, 30)] {
        let policy = Policy { algorithm: Algorithm::Hs512, rotate_every, propagation, max_ttl, ttl: 5 };
        let mut history: Vec<KeyRing> = Vec::new();
        let mut ring = KeyRing::default();
        for now in 0..600 {
            if let Plan::Write(change) = plan(&ring, now, &policy) {
                ring = change.apply(&ring, Key::fresh);
            }
            history.push(ring.clone());
        }
        let seen = |now: u64, late: u64| &history[(now - late) as usize];
        let lags = [0, propagation / 2, propagation];
        let mut signers = std::collections::HashSet::new();
        for now in propagation..600 - max_ttl {
            for late in lags {
                let signer = seen(now, late).signer(now, policy.ttl).expect("there always is a signer");
                signers.insert(signer.kid().clone());
                for later in now..signer.cut(now + max_ttl) {
                    for late in lags {
                        let key = seen(later, late).verifying(signer.kid(), later);
                        assert!(key.is_some(), "{policy:?}: signed at {now}, unknown at {later}");
                    }
                }
                let cut = signer.cut(now + max_ttl) < now + max_ttl;
                assert!(!cut, "{policy:?}: at {now} a whole token is to be had");
            }
        }
        let rotations = 600 / (rotate_every + propagation) as usize;
        assert!(signers.len() + 2 >= rotations - max_ttl as usize / rotate_every as usize);
        let bound = 4 + (max_ttl + 4 * propagation) / rotate_every;
        let most = history.iter().map(|ring| ring.keys().len()).max();
        assert!(most <= Some(bound as usize), "{policy:?}: {most:?} keys");
    }
}

/// How many tokens a replica refuses that another has just signed, or did so earlier, before their ends: of three with
/// clocks that are exact, fast and slow by `error` seconds, of which any may be the writer, with copies up to `late`.
fn refusals(policy: Policy, error: u64, late: u64) -> usize {
    const BEGIN: u64 = 1000;
    const SPAN: u64 = 3000;
    let clocks = [0, 1, 2].map(|place| move |now: u64| now + error * place - error);
    let mut refused = 0;
    for writer in clocks {
        let mut ring = KeyRing::default();
        let history: Vec<KeyRing> = (BEGIN..BEGIN + SPAN)
            .map(|now| {
                if let Plan::Write(change) = plan(&ring, writer(now), &policy) {
                    ring = change.apply(&ring, Key::fresh);
                }
                ring.clone()
            })
            .collect();
        let seen = |now: u64, late: u64| &history[(now - BEGIN - late) as usize];
        for now in (BEGIN + policy.propagation..BEGIN + SPAN - policy.max_ttl - error).step_by(3) {
            for (signs, lag) in clocks.iter().zip([0, late, late / 2]) {
                let Some(signer) = seen(now, lag).signer(signs(now), policy.ttl) else { continue };
                let exp = signer.cut(signs(now) + policy.max_ttl);
                for (reads, lag) in clocks.iter().zip([late, late / 2, 0]) {
                    let times = [now, now + 1, now + policy.max_ttl / 2, exp + error - 1];
                    let good = times.into_iter().filter(|then| reads(*then) < exp && *then < BEGIN + SPAN);
                    refused +=
                        good.filter(|then| seen(*then, lag).verifying(signer.kid(), reads(*then)).is_none()).count();
                }
            }
        }
    }
    refused
}

/// What `propagation` has to cover: how late copies are, and how far apart the fastest and the slowest clock are.
#[test]
fn late_copies_and_clocks_that_differ_are_covered_as_far_as_propagation_reaches() {
    let policy =
        |propagation| Policy { algorithm: Algorithm::Hs512, rotate_every: 400, propagation, max_ttl: 300, ttl: 60 };
    for (propagation, error, late) in [(120, 15, 90), (120, 30, 60), (150, 30, 90), (120, 0, 120), (120, 60, 0)] {
        assert_eq!(refusals(policy(propagation), error, late), 0, "{propagation} {error} {late}");
    }
    // And no further.
    for (propagation, error, late) in [(120, 30, 90), (120, 15, 100), (120, 60, 60)] {
        assert!(refusals(policy(propagation), error, late) > 0, "{propagation} {error} {late}");
    }
}
