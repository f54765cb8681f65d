//! The configuration file's reloadable parts, taken over when the file changes.

use std::path::PathBuf;
use std::sync::Arc;

use super::settings;
use crate::config::{Config, Setting};
use crate::gate::Publisher;
use crate::login::Desk;
use crate::metrics::{Metrics, ReloadResult, ReloadTarget};
use crate::store::file_watch::FileWatch;
use crate::telemetry::{EventName, Level, Logger};

/// Where a configuration came from, to load it again in the same way.
#[derive(Clone)]
pub(crate) struct ConfigSource {
    pub(crate) file: PathBuf,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) flags: Vec<(&'static Setting, String)>,
}

pub(super) struct ConfigReload {
    pub(super) source: ConfigSource,
    pub(super) current: Config,
    pub(super) publisher: Publisher,
    pub(super) desk: Arc<Desk>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Logger,
}

impl ConfigReload {
    pub(super) async fn run(mut self) {
        let mut watch = FileWatch::new([self.source.file.clone()]);
        let mut last_error = None;
        loop {
            watch.changed().await;
            match self.load() {
                Ok(next) if next == self.current => last_error = None,
                Ok(next) => {
                    last_error = None;
                    self.take_over(next);
                }
                Err(error) if last_error.as_ref() == Some(&error) => {}
                Err(error) => {
                    self.metrics.reload(ReloadTarget::Config, ReloadResult::Error);
                    self.log
                        .event(
                            Level::Error,
                            EventName::Reload,
                            "the new configuration is no good; the last one stays in force",
                        )
                        .field("what", ReloadTarget::Config)
                        .field("outcome", ReloadResult::Error)
                        .field("error", error.as_str())
                        .emit();
                    last_error = Some(error);
                }
            }
        }
    }

    fn load(&self) -> Result<Config, String> {
        let ConfigSource { file, variables, flags } = self.source.clone();
        let loaded = Config::load(Some(&file), variables, flags).map_err(|error| error.to_string())?;
        // What could not be put in force is an error before anything changes.
        settings::access(&loaded.config.access, loaded.config.tokens.max_session)?;
        Ok(loaded.config)
    }

    fn take_over(&mut self, next: Config) {
        let reloadable = next.reloadable();
        if reloadable != self.current.reloadable() {
            // The session's length is not reloadable: the one in force counts.
            if let Ok(access) = settings::access(&reloadable.access, self.current.tokens.max_session) {
                self.publisher.access(access);
            }
            self.desk.set_policy(settings::throttle(&reloadable.throttle));
            self.current.access = reloadable.access;
            self.current.throttle = reloadable.throttle;
            self.metrics.reload(ReloadTarget::Config, ReloadResult::Ok);
            self.log
                .event(Level::Info, EventName::Reload, "the new configuration is in force")
                .field("what", ReloadTarget::Config)
                .field("outcome", ReloadResult::Ok)
                .emit();
        }
        if next != self.current {
            let message = "settings other than `access` and `throttle` have changed; they count after a restart";
            self.log.event(Level::Warn, EventName::ConfigWarning, message).emit();
        }
    }
}
