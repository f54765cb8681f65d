//! Which routes are open, and whose tokens may call the others.

use std::collections::HashMap;
use std::fmt;

use super::path::{Ambiguity, ambiguity, escape, without_query};

/// Whether refusals are made or only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Enforce,
    Shadow,
}

/// Which paths a rule is for. The end is a segment's end, and `/admin` and `/admin/` are one prefix: `/admin` and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    Path(String),
    Prefix(String),
}

/// What a rule says of the requests that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// No token is asked for.
    Anyone,
    /// As where no rule matches: a token, of a user in an API group. It exempts from later rules.
    Authenticated,
    /// A token of a user who is in one of these groups besides. None: nobody.
    Groups(Vec<String>),
}

impl Effect {
    fn restricts(&self) -> bool {
        matches!(self, Self::Groups(_))
    }
}

/// One rule as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matcher: Matcher,
    /// None: all.
    pub methods: Option<Vec<String>>,
    pub effect: Effect,
}

/// A rule that could not do what it seems to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Its place, counted from 0.
    pub rule: usize,
    pub problem: RuleProblem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleProblem {
    /// Requests with such a path are refused before any rule is looked at.
    Ambiguous(Ambiguity),
    /// The query is never looked at.
    Query,
    NoMethod,
    /// Methods are compared as they are sent (RFC 9110, 9.1).
    NotAMethod,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: ", self.rule + 1)?;
        match self.problem {
            RuleProblem::Ambiguous(ambiguity) => write!(f, "{ambiguity}"),
            RuleProblem::Query => f.write_str("the path has a query, which no rule looks at"),
            RuleProblem::NoMethod => f.write_str("the list of methods is empty"),
            RuleProblem::NotAMethod => f.write_str("a method is a word in capitals"),
        }
    }
}

impl std::error::Error for RuleError {}

/// What was decided about a request's method and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRule<'a> {
    /// Forwarded for anyone.
    Open,
    /// For users in an API group.
    Authenticated,
    /// For users in an API group who are in one of these, too.
    Groups(&'a [String]),
}

/// The API groups and the rules, ready to be asked.
#[derive(Debug)]
pub struct AccessPolicy {
    api_groups: Vec<String>,
    mode: Mode,
    rules: Vec<Compiled>,
    /// By first segment: the rules, in their order, that can match a path which begins with it.
    by_segment: HashMap<u64, Vec<usize>>,
    /// Those that can match whatever the first segment is.
    everywhere: Vec<usize>,
}

impl AccessPolicy {
    /// An empty list of API groups lets any user call.
    pub fn new(api_groups: Vec<String>, rules: Vec<Rule>, mode: Mode) -> Result<Self, RuleError> {
        let mut compiled = Vec::with_capacity(rules.len());
        for (place, rule) in rules.into_iter().enumerate() {
            compiled.push(Compiled::new(rule).map_err(|problem| RuleError { rule: place, problem })?);
        }
        let candidates = |segment: Option<u64>| {
            let fits = |rule: &Compiled| rule.segment.is_none() || rule.segment == segment;
            compiled.iter().enumerate().filter(|(_, rule)| fits(rule)).map(|(place, _)| place).collect()
        };
        let segments = compiled.iter().filter_map(|rule| rule.segment);
        let by_segment = segments.map(|segment| (segment, candidates(Some(segment)))).collect();
        let everywhere = candidates(None);
        Ok(Self { api_groups, mode, rules: compiled, by_segment, everywhere })
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a path that could be read in two ways must be refused: only rules look at paths.
    pub fn needs_unambiguous_path(&self) -> bool {
        !self.rules.is_empty()
    }

    /// What the first rule that matches says; without one, a token is needed. A query may follow the path and is not looked at.
    ///
    /// Rules that open match the path and the method byte for byte. Rules that restrict match whatever an application may take
    /// for the same: letters in either case, escaped or not, with or without a slash at the end, `HEAD` where they name `GET`.
    pub fn decide_route(&self, method: &str, path: &str) -> RouteRule<'_> {
        if self.rules.is_empty() {
            return RouteRule::Authenticated;
        }
        let path = without_query(path).as_bytes();
        let candidates = first_segment(path).and_then(|segment| self.by_segment.get(&segment));
        // `authenticated` exempts from what follows only as it is written, and keeps closed all that resembles it.
        let mut kept_closed = false;
        for rule in candidates.unwrap_or(&self.everywhere).iter().map(|place| &self.rules[*place]) {
            if rule.matches(method, path) {
                return match &rule.effect {
                    Effect::Anyone if kept_closed => RouteRule::Authenticated,
                    Effect::Anyone => RouteRule::Open,
                    Effect::Groups(groups) => RouteRule::Groups(groups),
                    Effect::Authenticated => RouteRule::Authenticated,
                };
            }
            kept_closed |= rule.is_resembled_by(method, path);
        }
        RouteRule::Authenticated
    }

    /// Whether a user in these groups may call the application on such a route.
    pub fn may_call<'a>(&self, rule: RouteRule<'_>, user_groups: impl IntoIterator<Item = &'a str>) -> bool {
        let (mut api, mut besides) = match rule {
            RouteRule::Open => return true,
            RouteRule::Authenticated => (self.api_groups.is_empty(), true),
            RouteRule::Groups(_) => (self.api_groups.is_empty(), false),
        };
        for group in user_groups {
            api |= self.api_groups.iter().any(|api| api == group);
            besides |= matches!(rule, RouteRule::Groups(groups) if groups.iter().any(|other| other == group));
        }
        api && besides
    }
}

#[derive(Debug)]
struct Compiled {
    pattern: Pattern,
    /// Of `authenticated`: what resembles its pattern.
    resembling: Option<Pattern>,
    methods: Option<Vec<String>>,
    effect: Effect,
    segment: Option<u64>,
}

/// Opening patterns are as they were written, restricting ones folded; all but exact paths have no slash at the end.
#[derive(Debug)]
enum Pattern {
    ExactPath(Vec<u8>),
    ExactPrefix(Vec<u8>),
    FoldedPath(Vec<u8>),
    FoldedPrefix(Vec<u8>),
}

impl Pattern {
    fn matches(&self, path: &[u8]) -> bool {
        let below = |rest: &[u8]| rest.is_empty() || rest[0] == b'/';
        match self {
            Self::ExactPath(pattern) => path == pattern,
            Self::ExactPrefix(pattern) => path.strip_prefix(&pattern[..]).is_some_and(below),
            Self::FoldedPath(pattern) => {
                strip_folded(path, pattern).is_some_and(|rest| rest.is_empty() || rest == b"/")
            }
            Self::FoldedPrefix(pattern) => strip_folded(path, pattern).is_some_and(below),
        }
    }
}

impl Compiled {
    fn new(rule: Rule) -> Result<Self, RuleProblem> {
        let (Matcher::Path(path) | Matcher::Prefix(path)) = &rule.matcher;
        if path.contains('?') {
            return Err(RuleProblem::Query);
        }
        if path == "*" {
            return Err(RuleProblem::Ambiguous(Ambiguity::NotAbsolute));
        }
        if let Some(ambiguity) = ambiguity(path) {
            return Err(RuleProblem::Ambiguous(ambiguity));
        }
        for method in rule.methods.iter().flatten() {
            let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
            if method.is_empty() || !method.bytes().all(fits) {
                return Err(RuleProblem::NotAMethod);
            }
        }
        if rule.methods.as_ref().is_some_and(Vec::is_empty) {
            return Err(RuleProblem::NoMethod);
        }
        let trimmed = path.strip_suffix('/').unwrap_or(path).as_bytes();
        let folded = || Folded(trimmed).collect();
        let folded = || match &rule.matcher {
            Matcher::Path(_) => Pattern::FoldedPath(folded()),
            Matcher::Prefix(_) => Pattern::FoldedPrefix(folded()),
        };
        let pattern = match &rule.matcher {
            _ if rule.effect.restricts() => folded(),
            Matcher::Path(path) => Pattern::ExactPath(path.clone().into_bytes()),
            Matcher::Prefix(_) => Pattern::ExactPrefix(trimmed.to_vec()),
        };
        let resembling = (rule.effect == Effect::Authenticated).then(folded);
        Ok(Self { pattern, resembling, segment: first_segment(trimmed), methods: rule.methods, effect: rule.effect })
    }

    fn matches(&self, method: &str, path: &[u8]) -> bool {
        self.pattern.matches(path) && self.names_method(method, self.effect.restricts())
    }

    fn is_resembled_by(&self, method: &str, path: &[u8]) -> bool {
        self.resembling.as_ref().is_some_and(|pattern| pattern.matches(path)) && self.names_method(method, true)
    }

    fn names_method(&self, method: &str, widely: bool) -> bool {
        let Some(methods) = &self.methods else {
            return true;
        };
        if !widely {
            return methods.iter().any(|other| other == method);
        }
        // There are applications that raise a method to capitals first.
        methods
            .iter()
            .any(|other| other.eq_ignore_ascii_case(method) || (other == "GET" && method.eq_ignore_ascii_case("HEAD")))
    }
}

/// The bytes that a path stands for: escapes decoded, ASCII letters small.
struct Folded<'a>(&'a [u8]);

impl Iterator for Folded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        let (byte, rest) = match first {
            b'%' => escape(rest).unwrap_or((b'%', rest)),
            byte => (*byte, rest),
        };
        self.0 = rest;
        Some(byte.to_ascii_lowercase())
    }
}

/// What follows in the path after the folded pattern.
fn strip_folded<'a>(path: &'a [u8], pattern: &[u8]) -> Option<&'a [u8]> {
    let mut folded = Folded(path);
    pattern.iter().all(|byte| folded.next() == Some(*byte)).then_some(folded.0)
}

/// A hash (FNV-1a) of the path's first segment, folded; none where there is no segment. Where two segments
/// share one, more rules are compared than need be.
fn first_segment(path: &[u8]) -> Option<u64> {
    let mut segment = Folded(path.strip_prefix(b"/")?).take_while(|byte| *byte != b'/').peekable();
    segment.peek()?;
    Some(segment.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

#[cfg(test)]
mod tests;
