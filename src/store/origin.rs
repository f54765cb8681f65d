//! Where a store's bytes come from: the files of a directory, or Secrets. What is made of them is the feeds' business.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::directory::read_entries;
use super::file_watch::FileWatch;
use super::kubernetes::{Cluster, Followed, Follower, SecretVersion};
use crate::metrics::StoreErrorReason;

/// How long a start waits for the API server, before it goes on without.
const START: Duration = Duration::from_secs(5);

/// Where users or keys are kept.
pub(crate) enum Origin {
    Directory(Directory),
    Secrets(Secrets),
}

/// Files that are watched and read.
pub(crate) struct Directory {
    pub(super) path: PathBuf,
    watch: FileWatch,
}

/// Secrets that are followed.
pub(crate) struct Secrets {
    followers: Vec<Follower>,
    news: Arc<Notify>,
    /// Hand the followers' news on.
    _listening: JoinSet<()>,
    /// The Secrets as they are mounted, and what was read there when a start found no API server.
    fallback: Option<PathBuf>,
    fallen_back: Option<Arc<BTreeMap<String, Vec<u8>>>>,
    /// Why nothing was.
    fallback_error: Option<String>,
}

/// What a store holds, as far as is known.
pub(super) struct Look {
    /// Of each directory or Secret; `None` where nothing is known of one that matters.
    pub(super) parts: Option<Vec<Part>>,
    /// Why the parts are missing, or may not be the last ones.
    pub(super) problem: Option<Problem>,
    /// The parts are known to be how the store stands at this moment.
    pub(super) current: bool,
}

pub(super) struct Problem {
    pub(super) reason: StoreErrorReason,
    /// One line, with the mend.
    pub(super) error: String,
}

/// The entries of a directory or a Secret.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) entries: Entries,
}

pub(super) enum Entries {
    Files(Arc<BTreeMap<String, Vec<u8>>>),
    Secret(Arc<SecretVersion>),
}

impl Entries {
    pub(super) fn get(&self) -> &BTreeMap<String, Vec<u8>> {
        match self {
            Self::Files(files) => files,
            Self::Secret(version) => version.data(),
        }
    }
}

impl Origin {
    /// Watches from now on. To be called within a runtime.
    pub(crate) fn directory(path: PathBuf) -> Self {
        let watch = FileWatch::new([path.clone()]);
        Self::Directory(Directory { path, watch })
    }

    /// Follows these Secrets from now on; `fallback` is a directory with the same entries. Within a runtime.
    pub(crate) fn secrets<'a>(
        cluster: &Cluster,
        names: impl IntoIterator<Item = &'a String>,
        fallback: Option<PathBuf>,
    ) -> Self {
        let followers: Vec<_> = names.into_iter().map(|name| cluster.follow(name)).collect();
        let (news, mut listening) = (Arc::new(Notify::new()), JoinSet::new());
        for follower in &followers {
            let (mut changes, news) = (follower.subscribe(), Arc::clone(&news));
            listening.spawn(async move {
                while changes.changed().await.is_ok() {
                    news.notify_one();
                }
            });
        }
        Self::Secrets(Secrets {
            followers,
            news,
            _listening: listening,
            fallback,
            fallen_back: None,
            fallback_error: None,
        })
    }

    /// Waits until there is something to look at, or something is known to be wrong: for files not at all, for Secrets
    /// 5 s at most.
    pub(super) async fn start(&mut self) {
        if let Self::Secrets(secrets) = self {
            secrets.start().await;
        }
    }

    /// Returns when there may be something new. Cancel safe.
    pub(super) async fn changed(&mut self) {
        match self {
            Self::Directory(directory) => directory.watch.changed().await,
            Self::Secrets(secrets) => secrets.news.notified().await,
        }
    }

    /// Why changes are noticed late, if they are.
    pub(super) fn warning(&self) -> Option<&str> {
        match self {
            Self::Directory(directory) => directory.watch.warning(),
            Self::Secrets(_) => None,
        }
    }

    /// For files this reads them, on a thread of its own.
    pub(super) async fn look(&self) -> Look {
        match self {
            Self::Directory(directory) => look_at(directory.path.clone()).await,
            Self::Secrets(secrets) => secrets.look(),
        }
    }

    /// The Secret, where it is one and no more.
    pub(super) fn only_secret(&self) -> Option<&Follower> {
        match self {
            Self::Secrets(Secrets { followers, .. }) if followers.len() == 1 => followers.first(),
            _ => None,
        }
    }

    /// How messages name it.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Directory(directory) => directory.path.display().to_string(),
            Self::Secrets(secrets) => {
                let places: Vec<_> = secrets.followers.iter().map(Follower::place).collect();
                format!("Secret {}", places.join(" and "))
            }
        }
    }
}

async fn look_at(path: PathBuf) -> Look {
    let reading = tokio::task::spawn_blocking(move || read_entries(&path)).await;
    match reading {
        Ok(Ok(entries)) => Look { parts: Some(vec![Part::of_files(Arc::new(entries))]), problem: None, current: true },
        Ok(Err(error)) => {
            let problem = Problem { reason: error.reason().into(), error: error.to_string() };
            Look { parts: None, problem: Some(problem), current: false }
        }
        // Only at the end of the runtime.
        Err(_) => Look { parts: None, problem: None, current: false },
    }
}

impl Part {
    fn of_files(entries: Arc<BTreeMap<String, Vec<u8>>>) -> Self {
        Self { name: String::new(), entries: Entries::Files(entries) }
    }
}

impl Secrets {
    async fn start(&mut self) {
        let all_known = async {
            for follower in &self.followers {
                // An error would mean that its task is gone, which the follower holds.
                let _ = follower.subscribe().wait_for(Followed::is_known).await;
            }
        };
        // Too late: what is known by then has to do.
        let in_time = timeout(START, all_known).await.is_ok();
        let out_of_reach = |follower: &Follower| {
            let now = follower.now();
            now.version.is_none() && now.error().map_or(!in_time, |error| error.is_outage())
        };
        if let Some(directory) = &self.fallback
            && self.followers.iter().any(out_of_reach)
        {
            let directory = directory.clone();
            match tokio::task::spawn_blocking(move || read_entries(&directory)).await {
                Ok(Ok(entries)) => self.fallen_back = Some(Arc::new(entries)),
                Ok(Err(error)) => self.fallback_error = Some(error.to_string()),
                // Only at the end of the runtime.
                Err(_) => {}
            }
        }
    }

    fn look(&self) -> Look {
        let states: Vec<_> = self.followers.iter().map(|follower| (follower, follower.now())).collect();
        let problem = states
            .iter()
            .find_map(|(_, state)| state.error())
            .map(|error| Problem { reason: error.reason(), error: error.to_string() });
        let current = states.iter().all(|(_, state)| state.live && state.error().is_none());
        let parts: Option<Vec<_>> = states
            .into_iter()
            .map(|(follower, state)| {
                Some(Part { name: follower.name().to_owned(), entries: Entries::Secret(state.version?) })
            })
            .collect();
        match (parts, &self.fallen_back) {
            (Some(parts), _) => Look { parts: Some(parts), problem, current },
            (None, Some(entries)) => Look {
                parts: Some(vec![Part::of_files(Arc::clone(entries))]),
                problem: problem.or_else(|| self.unreachable()),
                current: false,
            },
            (None, None) => {
                let mut problem = problem.or_else(|| self.unreachable());
                if let (Some(problem), Some(error)) = (&mut problem, &self.fallback_error) {
                    problem.error.push_str(&format!("; nor is there a fallback: {error}"));
                }
                Look { parts: None, problem, current: false }
            }
        }
    }

    /// Before anything is known.
    fn unreachable(&self) -> Option<Problem> {
        let follower = self.followers.first()?;
        let (place, server) = (follower.place(), follower.cluster().server());
        Some(Problem {
            reason: StoreErrorReason::Unavailable,
            error: format!("Secret {place} has not been read yet: {server} does not answer"),
        })
    }
}
