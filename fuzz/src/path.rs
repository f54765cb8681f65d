//! Paths: what is not refused as ambiguous every reader reads alike, and the rules decide as a naive model does.
//!
//! Input: `METHOD PATH`, then lines of `path|prefix PATTERN METHOD,METHOD|* anyone|authenticated|GROUP,GROUP`.

use vestibule::auth::access::{AccessPolicy, Effect, Matcher, Mode, RouteRule, Rule};
use vestibule::auth::path::ambiguity;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default();
    let (method, target) = first.split_once(' ').unwrap_or(("GET", first));
    let refused = ambiguity(target).is_some();
    assert_eq!(refused, is_ambiguous(target), "{target:?}: {:?}", ambiguity(target));
    if !refused && target != "*" {
        readers_agree(target);
    }

    let rules: Vec<Rule> = lines.take(8).filter_map(rule).collect();
    let fine = rules.iter().all(is_fine);
    match AccessPolicy::new(Vec::new(), rules.clone(), Mode::Enforce) {
        Err(error) => assert!(!fine, "{rules:?}: {error}"),
        Ok(policy) => {
            assert!(fine, "{rules:?}");
            if !refused {
                let decided = policy.decide_route(method, target);
                assert_eq!(decided, decide(&rules, method, target), "{method} {target:?} {rules:?}");
            }
        }
    }
}

/// The list of what has two readings, word for word.
fn is_ambiguous(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    if path == "*" {
        return false;
    }
    let escapes: Vec<Option<u8>> = path.match_indices('%').map(|(at, _)| hex(path, at)).collect();
    !path.starts_with('/')
        || path.contains("//")
        || path.split('/').any(|segment| segment == "." || segment == "..")
        || path.contains(['\\', '#', ';'])
        || !path.bytes().all(|byte| byte.is_ascii_graphic())
        || escapes.iter().any(|escape| match escape {
            None => true,
            Some(byte) => b"/\\%;\0-._~".contains(byte) || byte.is_ascii_alphanumeric(),
        })
}

fn hex(path: &str, percent: usize) -> Option<u8> {
    let digits = path.get(percent + 1..percent + 3)?;
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// Segments, decoded: what an application routes by.
type Reading = Vec<Vec<u8>>;

/// Servers, frameworks and caches that differ in what they do to a path, and in which order.
fn readers_agree(target: &str) {
    let path = target.split('?').next().unwrap_or_default();
    let raw = path.as_bytes();
    let plain: Reading = segments(raw).iter().map(|segment| decode(segment)).collect();
    let dots_removed = |path: &[u8]| {
        let mut kept: Reading = Vec::new();
        let all = segments(path);
        for (place, segment) in all.iter().enumerate() {
            let last = place + 1 == all.len();
            match &segment[..] {
                b"." if last => kept.push(Vec::new()),
                b"." => {}
                b".." => {
                    kept.pop();
                    if last {
                        kept.push(Vec::new());
                    }
                }
                _ => kept.push(segment.clone()),
            }
        }
        kept
    };
    let slashes_merged = |path: &[u8]| {
        let mut merged = path.to_vec();
        merged.dedup_by(|one, two| *one == b'/' && *two == b'/');
        segments(&merged)
    };
    let cut = |path: &[u8], at: &[u8]| {
        let end = path.iter().position(|byte| at.contains(byte)).unwrap_or(path.len());
        path[..end].to_vec()
    };
    let parameters_cut = |path: &[u8]| -> Vec<u8> {
        let segments = segments(path).iter().map(|segment| cut(segment, b";")).collect::<Vec<_>>();
        segments.iter().flat_map(|segment| [b"/", &segment[..]].concat()).collect()
    };
    let slashes_turned = |path: &[u8]| path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    let visible_alone = |path: &[u8]| path.iter().copied().filter(u8::is_ascii_graphic).collect::<Vec<u8>>();
    let decoded = decode(raw);
    let twice = decode(&decoded);
    let turned: Vec<u8> = slashes_turned(&decoded);
    for (reader, reading) in [
        ("decodes the whole path", segments(&decoded)),
        ("decodes twice", segments(&twice)),
        ("removes dots first", dots_removed(raw).iter().map(|segment| decode(segment)).collect()),
        ("removes dots after decoding", dots_removed(&decoded)),
        ("removes dots after decoding twice", dots_removed(&twice)),
        ("merges slashes", slashes_merged(&decoded)),
        ("turns slashes", segments(&turned)),
        ("turns slashes, removes dots", dots_removed(&turned)),
        ("cuts parameters off first", segments(&decode(&parameters_cut(raw)))),
        ("cuts parameters off after decoding", segments(&parameters_cut(&decoded))),
        ("ends at a fragment", segments(&decode(&cut(raw, b"#")))),
        ("ends at a NUL", segments(&cut(&decoded, b"\0"))),
        ("drops what is not visible", segments(&decode(&visible_alone(raw)))),
        ("drops bad escapes", segments(&decode_or_drop(raw))),
    ] {
        assert_eq!(reading, plain, "{target:?}: a reader that {reader} reads another path");
    }
    // Those that compare without decoding: letters and digits stand for themselves (RFC 3986, section 6.2.2.2).
    let normal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    assert!(
        path.match_indices('%').all(|(at, _)| hex(path, at).is_some_and(|byte| !normal(byte))),
        "{target:?}: readers that do not decode compare another path"
    );
}

fn segments(path: &[u8]) -> Reading {
    path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

/// Percent-decoding that leaves bad escapes as they are.
fn decode(text: &[u8]) -> Vec<u8> {
    decoded(text, true)
}

fn decode_or_drop(text: &[u8]) -> Vec<u8> {
    decoded(text, false)
}

fn decoded(text: &[u8], keep: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (text[at], byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'%', None) if !keep => at += 1,
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn rule(line: &str) -> Option<Rule> {
    let mut words = line.split(' ');
    let (kind, pattern, methods, effect) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let list = |words: &str| words.split(',').map(str::to_owned).collect::<Vec<_>>();
    Some(Rule {
        matcher: match kind {
            "path" => Matcher::Path(pattern.to_owned()),
            "prefix" => Matcher::Prefix(pattern.to_owned()),
            _ => return None,
        },
        methods: (methods != "*").then(|| list(methods)),
        effect: match effect {
            "anyone" => Effect::Anyone,
            "authenticated" => Effect::Authenticated,
            groups => Effect::Groups(list(groups)),
        },
    })
}

fn is_fine(rule: &Rule) -> bool {
    let (Matcher::Path(pattern) | Matcher::Prefix(pattern)) = &rule.matcher;
    let word =
        |method: &String| !method.is_empty() && method.chars().all(|c| matches!(c, 'A'..='Z' | '0'..='9' | '-' | '_'));
    let methods = rule.methods.as_ref().is_none_or(|methods| !methods.is_empty() && methods.iter().all(word));
    methods && !pattern.contains('?') && !is_ambiguous(pattern) && pattern != "*"
}

/// The first rule that matches: opening ones byte for byte, restricting ones whatever looks the same.
fn decide<'a>(rules: &'a [Rule], method: &str, target: &str) -> RouteRule<'a> {
    let path = target.split('?').next().unwrap_or_default();
    let folded = |path: &str| decode(path.as_bytes()).to_ascii_lowercase();
    let mut kept_closed = false;
    for rule in rules {
        let (Matcher::Path(pattern) | Matcher::Prefix(pattern)) = &rule.matcher;
        let is_prefix = matches!(rule.matcher, Matcher::Prefix(_));
        let bare = pattern.strip_suffix('/').unwrap_or(pattern);
        let exact_path = if is_prefix { is_below(path.as_bytes(), bare.as_bytes()) } else { path == pattern };
        let alike_path = if is_prefix {
            is_below(&folded(path), &folded(bare))
        } else {
            let path = folded(path);
            path.strip_suffix(b"/").unwrap_or(&path) == folded(bare)
        };
        let named = |fits: &dyn Fn(&String) -> bool| rule.methods.as_ref().is_none_or(|all| all.iter().any(fits));
        let exact = exact_path && named(&|own| own == method);
        let small = method.to_ascii_lowercase();
        let wide = |own: &String| own.to_ascii_lowercase() == small || (own == "GET" && small == "head");
        let alike = alike_path && named(&wide);
        match &rule.effect {
            Effect::Groups(groups) if alike => return RouteRule::Groups(groups),
            Effect::Anyone if exact && !kept_closed => return RouteRule::Open,
            Effect::Anyone | Effect::Authenticated if exact => return RouteRule::Authenticated,
            Effect::Authenticated => kept_closed |= alike,
            Effect::Anyone | Effect::Groups(_) => {}
        }
    }
    RouteRule::Authenticated
}

fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path == prefix || path.starts_with(&[prefix, b"/"].concat())
}
