//! Access rules by table.

use super::*;

const ADMINS: &str = "Administrator";

fn rule(matcher: Matcher, methods: &[&str], effect: Effect) -> Rule {
    let methods = (!methods.is_empty()).then(|| methods.iter().map(|method| (*method).to_owned()).collect());
    Rule { matcher, methods, effect }
}

fn path(path: &str) -> Matcher {
    Matcher::Path(path.to_owned())
}

fn prefix(prefix: &str) -> Matcher {
    Matcher::Prefix(prefix.to_owned())
}

fn groups(groups: &[&str]) -> Effect {
    Effect::Groups(groups.iter().map(|group| (*group).to_owned()).collect())
}

fn policy(api_groups: &[&str], rules: Vec<Rule>) -> AccessPolicy {
    let api_groups = api_groups.iter().map(|group| (*group).to_owned()).collect();
    AccessPolicy::new(api_groups, rules, Mode::Enforce).unwrap()
}

/// What a single rule makes of requests: whether it matched.
fn check(matcher: Matcher, methods: &[&str], effect: Effect, cases: &[(&str, &str, bool)]) {
    let restricts = effect.restricts();
    let policy = policy(&[], vec![rule(matcher.clone(), methods, effect)]);
    for (method, path, expected) in cases {
        let matched = match policy.decide_route(method, path) {
            RouteRule::Open => !restricts,
            RouteRule::Groups(_) => restricts,
            RouteRule::Authenticated => false,
        };
        assert_eq!(matched, *expected, "{matcher:?} {method} {path}");
    }
}

#[test]
fn rules_that_open_match_byte_for_byte() {
    check(
        path("/healthz"),
        &[],
        Effect::Anyone,
        &[
            ("GET", "/healthz", true),
            ("POST", "/healthz", true),
            ("GET", "/healthz?deep=1", true),
            ("GET", "/healthz?", true),
            ("GET", "/healthz/", false),
            ("GET", "/healthz/x", false),
            ("GET", "/healthzx", false),
            ("GET", "/Healthz", false),
            ("GET", "/%68ealthz", false),
            ("GET", "/x?/healthz", false),
            ("GET", "/", false),
            ("GET", "*", false),
            ("GET", "", false),
        ],
    );
    check(
        path("/a%C3%A9/"),
        &[],
        Effect::Anyone,
        &[("GET", "/a%C3%A9/", true), ("GET", "/a%C3%A9", false), ("GET", "/a%c3%a9/", false)],
    );
    for spelling in ["/public", "/public/"] {
        check(
            prefix(spelling),
            &[],
            Effect::Anyone,
            &[
                ("GET", "/public", true),
                ("GET", "/public/", true),
                ("GET", "/public/a/b", true),
                ("GET", "/public?x", true),
                ("GET", "/publicx", false),
                ("GET", "/public.html", false),
                ("GET", "/PUBLIC/a", false),
                ("GET", "/x/public/", false),
                ("GET", "/", false),
            ],
        );
    }
    check(
        prefix("/"),
        &[],
        Effect::Anyone,
        &[("GET", "/", true), ("GET", "/any/thing", true), ("OPTIONS", "*", false)],
    );
}

#[test]
fn rules_that_restrict_match_what_an_application_may_take_for_the_same() {
    for spelling in ["/admin", "/admin/", "/ADMIN"] {
        check(
            prefix(spelling),
            &[],
            groups(&[ADMINS]),
            &[
                ("GET", "/admin", true),
                ("GET", "/admin/", true),
                ("GET", "/Admin/users", true),
                ("GET", "/ADMIN", true),
                ("GET", "/%61dmin/users", true),
                ("GET", "/admin?x=/public", true),
                ("GET", "/administrators", false),
                ("GET", "/public/admin", false),
                ("GET", "/public?/admin", false),
                ("GET", "/adm", false),
                ("GET", "/", false),
            ],
        );
    }
    check(
        path("/a/b@c"),
        &[],
        groups(&[ADMINS]),
        &[
            ("GET", "/a/b@c", true),
            ("GET", "/A/B@C", true),
            ("GET", "/a/b%40c", true),
            ("GET", "/a/b@c/", true),
            ("GET", "/a/b@c/d", false),
            ("GET", "/a/b@cd", false),
            ("GET", "/a/b", false),
        ],
    );
    check(path("/caf%C3%A9"), &[], groups(&[ADMINS]), &[("GET", "/CAF%c3%a9", true), ("GET", "/caf%C3", false)]);
    check(prefix("/"), &[], groups(&[ADMINS]), &[("GET", "/", true), ("GET", "/any", true)]);
    check(path("/"), &[], groups(&[ADMINS]), &[("GET", "/", true), ("GET", "/?x", true), ("GET", "/any", false)]);
    // Such a path is refused before, but shadow mode reports on it.
    check(prefix("/a/b"), &[], groups(&[ADMINS]), &[("GET", "/a%2fb", true), ("GET", "/a%zzb", false)]);
}

#[test]
fn methods_are_exact_where_they_open_and_generous_where_they_restrict() {
    check(
        path("/x"),
        &["GET", "POST"],
        Effect::Anyone,
        &[
            ("GET", "/x", true),
            ("POST", "/x", true),
            ("HEAD", "/x", false),
            ("get", "/x", false),
            ("GETS", "/x", false),
            ("PUT", "/x", false),
            ("", "/x", false),
        ],
    );
    check(
        path("/x"),
        &["GET"],
        groups(&[ADMINS]),
        &[("GET", "/x", true), ("HEAD", "/x", true), ("get", "/x", true), ("head", "/x", true), ("POST", "/x", false)],
    );
    check(path("/x"), &["HEAD"], groups(&[ADMINS]), &[("HEAD", "/x", true), ("GET", "/x", false)]);
}

#[test]
fn the_first_match_wins() {
    let policy = policy(
        &[],
        vec![
            rule(path("/admin/status"), &["GET"], Effect::Anyone),
            rule(prefix("/admin/me"), &[], Effect::Authenticated),
            rule(prefix("/admin/"), &[], groups(&[ADMINS])),
            rule(path("/admin/late"), &[], Effect::Anyone),
            rule(prefix("/"), &["OPTIONS"], Effect::Anyone),
            rule(prefix("/late"), &[], groups(&[])),
        ],
    );
    let admins = [ADMINS.to_owned()];
    let cases = [
        ("GET", "/admin/status", RouteRule::Open),
        ("POST", "/admin/status", RouteRule::Groups(&admins)),
        ("GET", "/admin/Status", RouteRule::Groups(&admins)),
        ("GET", "/admin/me/photo", RouteRule::Authenticated),
        ("GET", "/admin/ME", RouteRule::Groups(&admins)),
        ("GET", "/admin/late", RouteRule::Groups(&admins)),
        ("OPTIONS", "/admin/late", RouteRule::Groups(&admins)),
        ("OPTIONS", "/late/x", RouteRule::Open),
        ("OPTIONS", "/elsewhere", RouteRule::Open),
        ("OPTIONS", "/", RouteRule::Open),
        ("GET", "/late/x", RouteRule::Groups(&[])),
        ("GET", "/elsewhere", RouteRule::Authenticated),
    ];
    for (method, path, expected) in cases {
        assert_eq!(policy.decide_route(method, path), expected, "{method} {path}");
    }
}

#[test]
fn many_rules_are_found_as_if_compared_in_order() {
    let rules: Vec<_> = (0..500)
        .map(|n| match n % 3 {
            0 => rule(prefix(&format!("/s{}/t{n}", n % 7)), &[], groups(&[&n.to_string()])),
            1 => rule(path(&format!("/S{}", n % 50)), &["PUT"], groups(&[&n.to_string()])),
            _ => rule(path(&format!("/s{n}")), &[], Effect::Anyone),
        })
        .collect();
    let policy = policy(&[], rules);
    for n in 0..500 {
        for (method, path) in
            [("GET", format!("/S{}/T{n}/x", n % 7)), ("PUT", format!("/s{n}")), ("GET", format!("/s{n}"))]
        {
            let expected = policy.rules.iter().find(|rule| rule.matches(method, path.as_bytes()));
            let expected = expected.map_or(RouteRule::Authenticated, |rule| match &rule.effect {
                Effect::Groups(groups) => RouteRule::Groups(groups),
                _ => RouteRule::Open,
            });
            assert_eq!(policy.decide_route(method, &path), expected, "{method} {path}");
        }
    }
    assert!(policy.by_segment.values().all(|places| places.len() < 100), "few are compared");
}

#[test]
fn a_users_groups_decide() {
    let writers = ["writers".to_owned(), "editors".to_owned()];
    let (any, besides, nobody) = (RouteRule::Authenticated, RouteRule::Groups(&writers), RouteRule::Groups(&[]));
    let cases: &[(&[&str], RouteRule<'_>, &[&str], bool)] = &[
        (&["api"], RouteRule::Open, &[], true),
        (&["api"], any, &["api"], true),
        (&["api", "more"], any, &["x", "more"], true),
        (&["api"], any, &["writers"], false),
        (&["api"], any, &["API"], false),
        (&["api"], any, &["ap", "api2", ""], false),
        (&["api"], any, &[], false),
        (&[], any, &[], true),
        (&[], any, &["x"], true),
        (&["api"], besides, &["api", "editors"], true),
        (&["api"], besides, &["editors", "api"], true),
        (&["api"], besides, &["editors"], false),
        (&["api"], besides, &["api"], false),
        (&["api"], besides, &["api", "Editors"], false),
        (&[], besides, &["writers"], true),
        (&[], besides, &["api"], false),
        (&["api"], nobody, &["api"], false),
        (&[], nobody, &["api"], false),
    ];
    for (api, route, user, expected) in cases {
        let may = policy(api, Vec::new()).may_call(*route, user.iter().copied());
        assert_eq!(may, *expected, "{api:?} {route:?} {user:?}");
    }
}

#[test]
fn rules_that_could_never_match_are_errors() {
    let cases = [
        (prefix("admin"), &[][..], RuleProblem::Ambiguous(Ambiguity::NotAbsolute)),
        (prefix(""), &[], RuleProblem::Ambiguous(Ambiguity::NotAbsolute)),
        (path("*"), &[], RuleProblem::Ambiguous(Ambiguity::NotAbsolute)),
        (path("//admin"), &[], RuleProblem::Ambiguous(Ambiguity::EmptySegment)),
        (prefix("/admin//"), &[], RuleProblem::Ambiguous(Ambiguity::EmptySegment)),
        (path("/a/../b"), &[], RuleProblem::Ambiguous(Ambiguity::DotSegment)),
        (path("/%61"), &[], RuleProblem::Ambiguous(Ambiguity::EscapedUnreserved)),
        (path("/é"), &[], RuleProblem::Ambiguous(Ambiguity::NotVisible)),
        (path("/a?b=c"), &[], RuleProblem::Query),
        (path("/a"), &["get"], RuleProblem::NotAMethod),
        (path("/a"), &["GET", ""], RuleProblem::NotAMethod),
        (path("/a"), &["GET, POST"], RuleProblem::NotAMethod),
    ];
    for (matcher, methods, problem) in cases {
        let rules = vec![rule(path("/fine"), &[], Effect::Anyone), rule(matcher.clone(), methods, groups(&[ADMINS]))];
        let error = AccessPolicy::new(Vec::new(), rules, Mode::Enforce).unwrap_err();
        assert_eq!(error, RuleError { rule: 1, problem }, "{matcher:?} {methods:?}");
        assert!(error.to_string().starts_with("rule 2: "), "{error}");
    }
    let none = Rule { matcher: path("/a"), methods: Some(Vec::new()), effect: Effect::Anyone };
    let error = AccessPolicy::new(Vec::new(), vec![none], Mode::Enforce).unwrap_err();
    assert_eq!(error.problem, RuleProblem::NoMethod);
}

#[test]
fn only_rules_need_a_path_with_one_reading() {
    assert!(!policy(&["api"], Vec::new()).needs_unambiguous_path());
    assert_eq!(policy(&["api"], Vec::new()).decide_route("GET", "/a//../b;#"), RouteRule::Authenticated);
    assert!(policy(&[], vec![rule(path("/a"), &[], Effect::Anyone)]).needs_unambiguous_path());
    let shadow = AccessPolicy::new(Vec::new(), Vec::new(), Mode::Shadow).unwrap();
    assert_eq!(shadow.mode(), Mode::Shadow);
}

#[test]
fn what_resembles_an_authenticated_path_is_not_opened_by_a_later_rule() {
    let rule = |matcher, methods: Option<&str>, effect| Rule {
        matcher,
        methods: methods.map(|method| vec![method.to_owned()]),
        effect,
    };
    let policy = AccessPolicy::new(
        Vec::new(),
        vec![
            rule(Matcher::Prefix("/admin".into()), None, Effect::Authenticated),
            rule(Matcher::Path("/one".into()), Some("GET"), Effect::Authenticated),
            rule(Matcher::Prefix("/admin/own".into()), None, Effect::Groups(vec!["Owner".into()])),
            rule(Matcher::Prefix("/".into()), None, Effect::Anyone),
        ],
        Mode::Enforce,
    )
    .expect("good rules");
    for (method, path) in
        [("GET", "/admin"), ("GET", "/ADMIN"), ("GET", "/Admin/x"), ("GET", "/one"), ("GET", "/ONE/"), ("HEAD", "/one")]
    {
        assert_eq!(policy.decide_route(method, path), RouteRule::Authenticated, "{method} {path}");
    }
    assert_eq!(policy.decide_route("GET", "/admin/own"), RouteRule::Authenticated);
    assert!(
        matches!(policy.decide_route("GET", "/ADMIN/own"), RouteRule::Groups(_)),
        "resembling exempts from nothing"
    );
    assert_eq!(policy.decide_route("POST", "/one"), RouteRule::Open);
    assert_eq!(policy.decide_route("GET", "/administrator"), RouteRule::Open);
}
