//! The configuration file's reloadable parts, taken over when the file changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::follow::{Follow, Read};
use super::settings;
use crate::config::{Config, Setting};
use crate::gate::{Access, Publisher};
use crate::login::Desk;
use crate::metrics::{Metrics, ReloadTarget};
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
}

/// A configuration, and its rules as they can be put in force.
struct Next {
    config: Config,
    access: Access,
}

impl ConfigReload {
    pub(super) async fn run(mut self, metrics: Arc<Metrics>, log: Logger) {
        let follow = Follow {
            what: ReloadTarget::Config,
            good: "the new configuration is in force",
            bad: "the new configuration is no good; the last one stays in force",
            metrics,
            log,
        };
        let source = self.source.clone();
        // The session's length is not reloadable: the one in force counts.
        let max_session = self.current.tokens.max_session;
        let files = vec![source.file.clone()];
        let take = |follow: &Follow, next| {
            self.take_over(follow, next);
            Ok(())
        };
        follow.run(files, move || source.read(max_session), take).await;
    }

    fn take_over(&mut self, follow: &Follow, Next { config, access }: Next) {
        let reloadable = config.reloadable();
        if reloadable != self.current.reloadable() {
            self.publisher.access(access);
            self.desk.set_policy(settings::throttle(&reloadable.throttle));
            self.current.access = reloadable.access;
            self.current.throttle = reloadable.throttle;
            follow.in_force();
        }
        if config != self.current {
            let message = "settings other than `access` and `throttle` have changed; they count after a restart";
            follow.log.event(Level::Warn, EventName::ConfigWarning, message).emit();
        }
    }
}

impl ConfigSource {
    fn read(&self, max_session: Duration) -> Read<Next> {
        let bytes = Config::read(&self.file).map(|bytes| [bytes]).map_err(|error| error.to_string());
        Read::new(bytes, |[bytes]| {
            let Self { file, variables, flags } = self.clone();
            let loaded = Config::load_bytes(&file, bytes, variables, flags).map_err(|error| error.to_string())?;
            let access = settings::access(&loaded.config.access, max_session)?;
            Ok(Next { config: loaded.config, access })
        })
    }
}
