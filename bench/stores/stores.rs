//! The stores, and when things have come to be so in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use vestibule::config::Config;
use vestibule::fleet::LoneStore;
use vestibule::metrics::Metrics;
use vestibule::store::directory::read_entries;
use vestibule::store::kubernetes::Cluster;
use vestibule::store::users_document::{self, Source};
use vestibule::telemetry::{Format, Level, Logger, Settings};

use crate::command::{Command, Wanted, within};

pub(crate) struct Stores {
    config: Arc<Config>,
    kubeconfig: PathBuf,
    metrics: Arc<Metrics>,
    log: Logger,
    started: Vec<Arc<LoneStore>>,
}

impl Stores {
    pub(crate) fn new(config: &Path, kubeconfig: &Path) -> Result<Self, String> {
        let bytes = Config::read(config).map_err(|error| error.to_string())?;
        let loaded = Config::load_bytes(config, &bytes, [], []).map_err(|error| error.to_string())?;
        let settings = Settings { format: Format::Json, level: Level::Warn, access: false };
        Ok(Self {
            config: Arc::new(loaded.config),
            kubeconfig: kubeconfig.to_owned(),
            metrics: Arc::new(Metrics::new()),
            log: Logger::to_stderr(settings).map_err(|error| error.to_string())?,
            started: Vec::new(),
        })
    }

    pub(crate) async fn obey(
        &mut self,
        command: Command,
        say: &mut dyn FnMut(&Value) -> Result<(), String>,
    ) -> Result<(), String> {
        match command {
            Command::Start { stores, seconds } => {
                let mut clusters = Vec::new();
                for _ in 0..stores {
                    let cluster = Cluster::from_kubeconfig(Some(&self.kubeconfig), None, None, None, &[]).await;
                    clusters.push(cluster.map_err(|error| error.to_string())?);
                }
                say(&json!({"waiting": stores}))?;
                let mut starting = JoinSet::new();
                for cluster in clusters {
                    let (config, metrics, log) =
                        (Arc::clone(&self.config), Arc::clone(&self.metrics), self.log.clone());
                    starting
                        .spawn(async move { LoneStore::start(&cluster, &config, metrics, log).await.map(Arc::new) });
                }
                // Each is awaited from the moment on that it looks no more.
                let mut times = JoinSet::new();
                while let Some(store) = starting.join_next().await {
                    let store = store.map_err(|error| error.to_string())??;
                    self.started.push(Arc::clone(&store));
                    times.spawn(when(store, Wanted::Both, within(seconds)));
                }
                say(&tell(times).await)
            }
            Command::Await { seconds, wanted } => {
                let stores = self.started.iter().cloned();
                let mut times = JoinSet::new();
                stores.for_each(|store| drop(times.spawn(when(store, wanted.clone(), within(seconds)))));
                say(&json!({"waiting": times.len()}))?;
                say(&tell(times).await)
            }
            Command::Parse { folders, times } => say(&parse(&folders, times)?),
            Command::Metrics => say(&json!({"metrics": self.metrics.render().1})),
        }
    }
}

/// Microseconds since the epoch; `None`: not in time.
async fn when(store: Arc<LoneStore>, wanted: Wanted, deadline: tokio::time::Instant) -> Option<u64> {
    timeout_at(deadline, store.until(|users, ring| wanted.is_so(users, ring))).await.ok()?;
    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_micros() as u64)
}

async fn tell(times: JoinSet<Option<u64>>) -> Value {
    let all = times.join_all().await;
    let mut at: Vec<u64> = all.iter().copied().flatten().collect();
    at.sort_unstable();
    json!({"late": all.len() - at.len(), "at": at})
}

fn parse(folders: &[PathBuf], times: usize) -> Result<Value, String> {
    let read = folders.iter().map(|folder| read_entries(folder).map_err(|error| error.to_string()));
    let parts: Vec<BTreeMap<_, _>> = read.collect::<Result<_, _>>()?;
    let names: Vec<_> = (0..parts.len()).map(|number| format!("part-{number}")).collect();
    let sources: Vec<_> = names.iter().zip(&parts).map(|(name, entries)| Source { name, entries }).collect();
    let (mut users, mut seconds) = (0, Vec::new());
    for _ in 0..times {
        let began = Instant::now();
        let loaded = users_document::parse(&sources).map_err(|error| error.to_string())?;
        seconds.push(began.elapsed().as_secs_f64());
        users = loaded.users.len();
    }
    Ok(json!({"users": users, "seconds": seconds}))
}
