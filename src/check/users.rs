//! The users: what of their documents does not count, and whom the policy would lock out.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;

use super::finding::Finding;
use crate::auth::names;
use crate::auth::users::{User, UserState, Users};
use crate::config::{Access, RuleEffect};
use crate::store::directory::read_entries;
use crate::store::users_document::{self, InvalidDocument, Loaded, MEND_OF_COST, Source};

pub(super) const USERS: &str = "users";
const ACCESS: &str = "access";
/// How far ahead of the clock logouts put `tokensNotBefore`.
const LOGOUT_SECONDS: u64 = 2;
/// Who reads more names has stopped reading.
const SHOWN: usize = 10;

/// Reads the users' directory.
pub(super) fn findings(directory: &Path, access: &Access, now: u64) -> Vec<Finding> {
    let entries = match read_entries(directory) {
        Ok(entries) => entries,
        Err(error) => return vec![Finding::from_error(USERS, &error)],
    };
    parsed(users_document::parse(&[Source { name: "", entries: &entries }]), &format!("{directory:?}"), access, now)
}

/// Judges what was read at a place, or says why it could not be.
pub(super) fn parsed(loaded: Result<Loaded, InvalidDocument>, place: &str, access: &Access, now: u64) -> Vec<Finding> {
    match loaded {
        Ok(loaded) => judged(&loaded, access, now),
        Err(error) => vec![Finding::error(
            USERS,
            format!("{place}, {error}"),
            "mend the document: until then no change of it counts, and at a start nobody gets in",
        )],
    }
}

fn judged(Loaded { users, warnings, cost }: &Loaded, access: &Access, now: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let counts = users.counts();
    let counted = format!("{} active, {} disabled, {} unusable", counts.active, counts.disabled, counts.unusable);
    findings.push(if counts.active > 0 {
        Finding::ok(USERS, counted)
    } else {
        Finding::warning(USERS, format!("nobody can get in: {counted}"), "add one with `vestibule users add NAME`")
    });
    if counts.unusable > 0 {
        let unusable = users.iter().map(|user| &**user).filter(|user| user.state() == UserState::Unusable);
        findings.push(Finding::warning(
            USERS,
            format!("refused like disabled ones, as their entries cannot be used: {}", listed(unusable)),
            "set their passwords anew with `vestibule users passwd NAME`, or mend the names",
        ));
    }
    findings.extend(warnings.iter().map(|warning| Finding::warning(USERS, warning, "mend that entry, or remove it")));
    if let Some(cost) = cost {
        findings.push(Finding::warning(USERS, cost, MEND_OF_COST));
    }
    let expired =
        |user: &&User| !user.passwords().is_empty() && user.passwords().iter().all(|entry| entry.is_expired(now));
    let mut expired = active(users).filter(expired).peekable();
    if expired.peek().is_some() {
        findings.push(Finding::warning(
            USERS,
            format!("cannot log in, as all their passwords have expired: {}", listed(expired)),
            "set a new one with `vestibule users passwd NAME`",
        ));
    }
    let mut bare = active(users).filter(|user| user.passwords().is_empty()).peekable();
    if bare.peek().is_some() {
        findings.push(Finding::warning(
            USERS,
            format!("have no password, and can only carry operators' tokens: {}", listed(bare)),
            "give those that are to log in one with `vestibule users passwd NAME`",
        ));
    }
    let is_early = |user: &&User| user.tokens_not_before().is_some_and(|at| at > now + LOGOUT_SECONDS);
    let mut early = active(users).filter(is_early).peekable();
    if let Some(first) = early.peek() {
        let until = first.tokens_not_before().and_then(|at| Timestamp::from_second(i64::try_from(at).ok()?).ok());
        let until = until.map_or_else(|| "that".to_owned(), |at| format!("{at} (the first of them)"));
        findings.push(Finding::warning(
            USERS,
            format!("are locked out until {until}, as tokensNotBefore lies in the future: {}", listed(early)),
            "correct tokensNotBefore in the document, or wait until then",
        ));
    }
    findings.extend(locked_out(users, access));
    findings
}

/// Whom the groups keep out, and the groups that nobody is in.
fn locked_out(users: &Users, access: &Access) -> Vec<Finding> {
    let mut findings = Vec::new();
    let api = &access.api_groups;
    let is_out = |user: &&User| !api.is_empty() && !user.in_any(api);
    let out = active(users).filter(is_out).count();
    if out > 0 {
        let whom = if out == users.counts().active { "nobody may call the application" } else { "may not call it" };
        findings.push(Finding::warning(
            ACCESS,
            format!("{whom}, being in none of access.apiGroups: {}", listed(active(users).filter(is_out))),
            format!("put them in one of {}, or add one of theirs to access.apiGroups", api.join(", ")),
        ));
    }
    let named: BTreeSet<&String> = access
        .rules
        .iter()
        .flat_map(|rule| match &rule.effect {
            RuleEffect::Groups(groups) => groups.as_slice(),
            RuleEffect::Anyone | RuleEffect::Authenticated => &[],
        })
        .collect();
    let missing = named.into_iter().filter(|group| !active(users).any(|user| user.in_any(&[group])));
    findings.extend(missing.map(|group| {
        Finding::warning(
            ACCESS,
            format!("access.rules names the group {}, in which no active user is", names::shown(group)),
            "put users in it, or correct the name",
        )
    }));
    findings
}

fn active(users: &Users) -> impl Iterator<Item = &User> {
    users.iter().map(|user| &**user).filter(|user| user.is_active())
}

fn listed<'a>(users: impl Iterator<Item = &'a User>) -> String {
    let mut left_out = 0_usize;
    let mut shown = Vec::new();
    for user in users {
        if shown.len() < SHOWN {
            shown.push(names::shown(user.name()));
        } else {
            left_out += 1;
        }
    }
    let more = if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::check::Severity;
    use crate::config::{Config, Rule, RuleMatch, setting};

    const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuMPqsMmwz4.mKVGzzGg1NJ7Du8SGSBpq";
    const NOW: u64 = 1_795_341_600;

    fn access(api_groups: &[&str], rule_groups: &[&str]) -> Access {
        let store = setting("store.directory.users").expect("a setting");
        let mut access = Config::load(None, [], [(store, "users".to_owned())]).expect("defaults").config.access;
        access.api_groups = api_groups.iter().map(ToString::to_string).collect();
        let effect = |group: &&str| RuleEffect::Groups(vec![(*group).to_owned()]);
        let rule = |group| Rule { matcher: RuleMatch::Prefix("/a".to_owned()), methods: None, effect: effect(group) };
        access.rules = rule_groups.iter().map(rule).collect();
        access
    }

    /// The warnings, in one text.
    fn warned(yaml: &str, access: &Access) -> String {
        let yaml = yaml.replace("HASH", HASH);
        let entries = BTreeMap::from([("users.yaml".to_owned(), yaml.into_bytes())]);
        let loaded = users_document::parse(&[Source { name: "", entries: &entries }]).expect("a document");
        let found = judged(&loaded, access, NOW);
        assert!(found.iter().all(|finding| (finding.severity == Severity::Ok) == finding.mend.is_none()));
        let bad = found.into_iter().filter(|finding| finding.severity != Severity::Ok);
        bad.map(|finding| finding.message).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn users_who_are_in_and_may_call_need_no_word() {
        let admin = "users: {ann: {groups: [Administrator], passwords: [{hash: HASH}]}}";
        assert_eq!(warned(admin, &access(&["Administrator", "SaaS_User"], &["Administrator"])), "");
        assert_eq!(warned("users: {ann: {passwords: [{hash: HASH}]}}", &access(&[], &[])), "");
    }

    #[test]
    fn who_cannot_get_in_is_named() {
        for (yaml, api, rules, expected) in [
            ("", &["a"][..], &[][..], "nobody can get in"),
            ("users: {ann: {disabled: true}}", &["a"], &[], "nobody can get in: 0 active, 1 disabled"),
            (
                "users: {ann: {groups: [b]}}",
                &["a"],
                &[],
                "nobody may call the application, being in none of access.apiGroups: \"ann\"",
            ),
            (
                "users: {ann: {groups: [b]}, bob: {groups: [a]}}",
                &["a"],
                &[],
                "may not call it, being in none of access.apiGroups: \"ann\"",
            ),
            (
                "users: {ann: {groups: [a]}, bob: {groups: [c], disabled: true}}",
                &["a"],
                &["a", "c"],
                "names the group \"c\"",
            ),
            (
                "users: {ann: {passwords: [{hash: HASH, expiresAt: 2026-11-22T10:00:00Z}]}}",
                &[],
                &[],
                "all their passwords have expired: \"ann\"",
            ),
            (
                "users: {ann: {passwords: [{hash: $apr1$x$y}]}, bob: {}}",
                &[],
                &[],
                "cannot be used: \"ann\"; users.yaml: user \"ann\", password 1",
            ),
        ] {
            let found = warned(yaml, &access(api, rules));
            assert!(found.contains(expected), "{yaml}: {found}");
            assert!(!found.contains("$apr1$x"), "{found}");
        }
    }

    #[test]
    fn who_has_no_password_or_is_locked_out_for_a_while_is_named() {
        let user = |at: &str| format!("users: {{ann: {{passwords: [{{hash: HASH}}], tokensNotBefore: {at}}}}}");
        let everyone = access(&[], &[]);
        for at in ["null", "2026-11-22T09:00:00Z", "2026-11-22T10:00:02Z"] {
            assert_eq!(warned(&user(at), &everyone), "", "{at}");
        }
        let found = warned(&user("2026-11-22T10:00:03Z"), &everyone);
        assert!(
            found.contains("locked out until 2026-11-22T10:00:03Z") && found.ends_with("future: \"ann\""),
            "{found}"
        );
        assert_eq!(warned("users: {ann: {disabled: true}, bob: {passwords: [{hash: HASH}]}}", &everyone), "");
        let found = warned("users: {ann: {}, bob: {passwords: [{hash: HASH}]}}", &everyone);
        assert_eq!(found, "have no password, and can only carry operators' tokens: \"ann\"");
    }

    #[test]
    fn a_dear_table_is_one_warning_with_one_mend() {
        let many = "{hash: HASH},".repeat(9).replace("HASH", HASH);
        let yaml = format!("users: {{ann: {{passwords: [{many}]}}}}");
        let entries = BTreeMap::from([("users.yaml".to_owned(), yaml.into_bytes())]);
        let loaded = users_document::parse(&[Source { name: "", entries: &entries }]).expect("a document");
        let found = judged(&loaded, &access(&[], &[]), NOW);
        let [Finding { severity: Severity::Ok, .. }, Finding { severity: Severity::Warning, message, mend, .. }] =
            &found[..]
        else {
            panic!("{found:?}");
        };
        assert!(message.ends_with("(9 x bcrypt cost 4)"), "{message}");
        assert_eq!(mend.as_deref(), Some("fewer kinds of hashes, and passwords of one user, make it cheaper"));
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let many: String = (0..15).map(|n| format!("  u{n}: {{}}\n")).collect();
        let found = warned(&format!("users:\n{many}"), &access(&["a"], &[]));
        assert!(found.ends_with("\"u9\" and 5 more"), "{found}");
    }
}
