//! The program's commands: run to their end, and what they print looked through for secrets.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What stored hashes begin with; nothing that is printed may hold one.
const HASHES: [&str; 3] = ["$argon2id$v", "$2y$0", "$apr1$s"];

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Where the program's commands are run.
pub(crate) trait Commands {
    /// A command that is not run yet, of words without spaces.
    fn command(&self, arguments: &str) -> Command;

    fn run(&self, arguments: &str) -> Ran {
        self.run_with(arguments, b"")
    }

    fn run_with(&self, arguments: &str, stdin: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // It may end without having read everything.
        let _ = child.stdin.take().expect("a pipe").write_all(stdin);
        Ran::of(child.wait_with_output().expect("the program ends"))
    }

    /// The same while others go on in this process.
    async fn run_beside(&self, arguments: &str) -> Ran {
        run_beside(self.command(arguments)).await
    }

    /// Runs what must work; what it printed on standard output.
    #[track_caller]
    fn done(&self, arguments: &str) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments}: {ran:?}");
        ran.out
    }

    #[track_caller]
    fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.done(arguments)).expect("JSON")
    }
}

/// Runs a command to its end, and others meanwhile.
pub(crate) async fn run_beside(mut command: Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    Ran::of(output.expect("the program runs"))
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let ran =
            Self { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) };
        for hash in HASHES {
            assert!(!ran.out.contains(hash) && !ran.err.contains(hash), "a hash is printed: {ran:?}");
        }
        ran
    }

    /// Failed with this code, one line on standard error that holds these words, and nothing else.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("vestibule: ") && self.err.lines().count() == 1, "{self:?}");
        assert!(self.err.contains(words), "{words:?} in {self:?}");
        assert_eq!(self.out, "", "{self:?}");
    }
}
