//! What is known of one Secret: versions that only go forward, whoever brings them, and why they may not be the last.

use std::sync::Arc;

use tokio::sync::watch;

use super::order::{Step, step};
use super::{ApiError, Cluster, Fault, SecretVersion, Verb};

/// How often a read is repeated that something newer has overtaken.
const READS: usize = 3;

/// What is known of a Secret that is followed.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// The last version that was seen. It stays when the Secret is deleted, or can no longer be read.
    pub version: Option<Arc<SecretVersion>>,
    /// A watch stands: what changes at the API server is seen at once, and a watch that has died within 30 s.
    pub live: bool,
    /// What is odd about the Secret: missing, or older than it was.
    oddity: Option<ApiError>,
    /// Why it cannot be read now.
    trouble: Option<ApiError>,
}

impl Followed {
    /// Why `version` may not be how the Secret stands.
    pub fn error(&self) -> Option<&ApiError> {
        self.trouble.as_ref().or(self.oddity.as_ref())
    }

    /// There is something to say: a version, or why there is none.
    pub fn is_known(&self) -> bool {
        self.version.is_some() || self.error().is_some()
    }

    fn advance(&mut self, version: SecretVersion) -> bool {
        (self.version, self.oddity) = (Some(Arc::new(version)), None);
        true
    }
}

/// What all who bring versions of one Secret share.
pub(super) struct Known {
    pub(super) cluster: Cluster,
    pub(super) name: String,
    pub(super) state: watch::Sender<Followed>,
}

/// What became of a version that somebody brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is what is known now, or was before.
    Yes,
    /// It is older than what is known, and left out.
    Older,
    /// Only a read says what the Secret is now.
    AskFirst,
}

impl Known {
    /// A version that a watch or an answer to a patch brought.
    pub(super) fn take(&self, version: SecretVersion) -> Taken {
        let mut taken = Taken::Yes;
        self.state.send_if_modified(|state| {
            let step = state.version.as_deref().map_or(Step::Newer, |known| step(known, &version));
            match step {
                Step::Newer => state.advance(version),
                // It was said to be gone, and this may be from before.
                Step::Same if state.oddity.is_some() => {
                    taken = Taken::AskFirst;
                    false
                }
                Step::Same => false,
                Step::Older => {
                    taken = Taken::Older;
                    false
                }
                Step::Unknown => {
                    taken = Taken::AskFirst;
                    false
                }
            }
        });
        taken
    }

    /// Reads the Secret. What the API server says it is now is believed, save for an older version of the same Secret.
    pub(super) async fn read(&self) -> Result<(), ApiError> {
        for _ in 0..READS {
            let before = self.state.borrow().version.clone();
            let read = self.cluster.read(&self.name).await;
            let overtaken = |state: &Followed| !same(&before, &state.version);
            match read {
                Ok(version) => {
                    let mut again = false;
                    self.state.send_if_modified(|state| {
                        if overtaken(state) {
                            let known = state.version.as_deref();
                            again = known.is_some_and(|known| step(known, &version) == Step::Unknown);
                            if !known.is_some_and(|known| step(known, &version) == Step::Newer) {
                                return false;
                            }
                        }
                        self.believe(state, version)
                    });
                    if !again {
                        return Ok(());
                    }
                }
                Err(error) if *error.fault() == Fault::Missing => {
                    self.state.send_if_modified(|state| !overtaken(state) && odd(state, error));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn believe(&self, state: &mut Followed, version: SecretVersion) -> bool {
        let known = state.version.as_deref();
        match known.map_or(Step::Newer, |known| step(known, &version)) {
            Step::Newer | Step::Unknown => state.advance(version),
            Step::Same => state.oddity.take().is_some(),
            Step::Older => {
                let seen = known.map_or("", |known| known.resource_version()).to_owned();
                let fault = Fault::Older { resource_version: version.resource_version().to_owned(), seen };
                odd(state, self.cluster.error(&self.name, Verb::Get, fault))
            }
        }
    }

    /// The Secret is not there.
    pub(super) fn missing(&self) {
        let error = self.cluster.error(&self.name, Verb::Watch, Fault::Missing);
        self.state.send_if_modified(|state| odd(state, error));
    }

    /// A watch stands, and has said what there is.
    pub(super) fn live(&self) {
        self.state.send_if_modified(|state| {
            let news = !state.live || state.trouble.is_some();
            (state.live, state.trouble) = (true, None);
            news
        });
    }

    /// There is no watch, and why.
    pub(super) fn failed(&self, error: ApiError) {
        self.state.send_modify(|state| (state.live, state.trouble) = (false, Some(error)));
    }
}

fn odd(state: &mut Followed, error: ApiError) -> bool {
    let news = state.oddity.as_ref() != Some(&error);
    state.oddity = Some(error);
    news
}

fn same(a: &Option<Arc<SecretVersion>>, b: &Option<Arc<SecretVersion>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}
