//! One finding: how bad, about what, and the mend.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
    /// It could not be looked at.
    Note,
    Ok,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::Ok => "ok",
        }
    }
}

/// What was found, in one line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The part that was looked at, of a fixed set.
    pub(crate) check: &'static str,
    pub(crate) message: String,
    /// `None` where nothing is known to be wrong.
    pub(crate) mend: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, check, message: message.into(), mend: None }
    }

    pub(super) fn note(check: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, check, message: message.into(), mend: None }
    }

    pub(super) fn warning(check: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, check, message: message.into(), mend: Some(mend.into()) }
    }

    pub(super) fn error(check: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Error, check, message: message.into(), mend: Some(mend.into()) }
    }

    /// From an error that reads `what is wrong: the mend`, its paths in double quotes.
    pub(super) fn from_error(check: &'static str, error: &dyn std::fmt::Display) -> Self {
        let line = error.to_string();
        match colon(&line) {
            Some(at) => Self::error(check, &line[..at], &line[at + 2..]),
            None => Self::error(check, line, "mend that"),
        }
    }

    /// The same finding, about `part`.
    pub(super) fn about(mut self, part: &str) -> Self {
        self.message = format!("{part}: {}", self.message);
        self
    }
}

/// Where the first `: ` outside of quotes is.
fn colon(line: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    line.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ':' if !quoted && line[at..].starts_with(": ") => return Some(at),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_parted_into_message_and_mend() {
        for (line, message, mend) in [
            ("\"/a: b\" is not there: create it", "\"/a: b\" is not there", "create it"),
            (r#""a\": b" is bad: mend it: soon"#, r#""a\": b" is bad"#, "mend it: soon"),
            ("no mend here", "no mend here", "mend that"),
        ] {
            let finding = Finding::from_error("tls", &line);
            assert_eq!((finding.message.as_str(), finding.mend.as_deref()), (message, Some(mend)));
            assert_eq!(finding.severity, Severity::Error);
        }
    }
}
