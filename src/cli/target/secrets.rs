//! Users and keys in Secrets, through the API server.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use clap::ArgMatches;

use super::super::{Failure, kubeconfig, output};
use super::stored::{StoredKeys, StoredUsers, Written};
use super::{Names, Part};
use crate::clock::{epoch, epoch_ms};
use crate::store::KEYS_ENTRY;
use crate::store::kubernetes::{ApiError, Cluster, Fault, SecretVersion, Skew, Verb};
use crate::store::users_document::edit::Edited;

/// Bytes of all entries together that a Secret may hold (`MaxSecretSize` of Kubernetes).
const MAX_SECRET: usize = 1 << 20;
/// How often a request is made that the API server has no time for, and the longest wait before the next.
const TRIES: u32 = 4;
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Milliseconds by which a clock surely is off, as the API server's `Date` tells the time to half a second.
const CERTAIN_SKEW_MS: i64 = 1_500;

/// The Secrets of users and of keys in one namespace.
pub(in crate::cli) struct Secrets {
    reached: kubeconfig::Reached,
    names: Names,
    part: Part,
}

impl Secrets {
    pub(super) fn new(
        arguments: &ArgMatches,
        namespace: Option<&str>,
        names: Names,
        part: Part,
    ) -> Result<Self, Failure> {
        Ok(Self { reached: kubeconfig::connect(arguments, namespace)?, names, part })
    }

    pub(super) fn read_users(&self) -> Result<StoredUsers<'_>, Failure> {
        let names = &self.names.users;
        let versions = names.iter().map(|name| self.read("users", name)).collect::<Result<Vec<_>, _>>()?;
        let label = |name: &str| if names.len() > 1 { name.to_owned() } else { String::new() };
        let sources = versions.iter().map(|version| (label(version.name()), version.data().clone())).collect();
        let Some(changed) = self.names.changed else {
            let frozen = Some(self.several());
            return Ok(StoredUsers { sources, changed: 0, frozen, write: Box::new(|_| Err(self.several())) });
        };
        let base = versions.into_iter().nth(changed).expect("it is one of the names");
        let frozen = base.is_immutable().then(|| self.immutable("users", base.name()));
        let mend = "put users into a further Secret, and name them all in `store.kubernetes.users`";
        let write = move |edited: &Edited| self.write("users", &base, &edited.entry, &edited.content, mend);
        Ok(StoredUsers { sources, changed, frozen, write: Box::new(write) })
    }

    pub(super) fn read_keys(&self) -> Result<StoredKeys<'_>, Failure> {
        let name = &self.names.keys;
        let base = self.read("keys", name)?;
        let document = base.data().get(KEYS_ENTRY).cloned().unwrap_or_default();
        let place = format!("Secret {}/{name}, {KEYS_ENTRY}", self.cluster().namespace());
        let write = move |document: &[u8]| {
            self.write("keys", &base, KEYS_ENTRY, document, "keep nothing else in the keys' Secret")
        };
        StoredKeys::parse(&document, &place, Box::new(write))
    }

    /// Where the users are, for errors.
    pub(super) fn place_of_users(&self) -> String {
        let namespace = self.cluster().namespace();
        match self.names.users.as_slice() {
            [name] => format!("Secret {namespace}/{name}"),
            _ => format!("Secrets of namespace {namespace}"),
        }
    }

    pub(super) fn place_of_keys(&self) -> String {
        format!("Secret {}/{}", self.cluster().namespace(), self.names.keys)
    }

    /// Seconds since the epoch: by this machine's clock, or by the API server's where the two differ. What is written
    /// counts where sidecars are. May warn.
    pub(super) fn now(&self) -> Result<u64, Failure> {
        let skew = self.skew()?;
        if skew.ms().abs() < CERTAIN_SKEW_MS {
            return Ok(epoch());
        }
        if !skew.is_allowed() {
            output::warn(format_args!("{skew}: the API server's counts here; set this one right (NTP)"));
        }
        // Rounded up: a logout must not leave out the last second.
        Ok(u64::try_from(epoch_ms().saturating_sub(skew.ms())).unwrap_or(0).div_ceil(1000))
    }

    /// The same for what is planned by the clock: one that is too far off is an error.
    pub(super) fn exact_now(&self) -> Result<u64, Failure> {
        let skew = self.skew()?;
        if !skew.is_allowed() {
            let mend = "keys are dated by it: set it right (NTP), and try again";
            return Err(Failure::run_time(format_args!("keys: {skew}, and {mend}")));
        }
        Ok(epoch())
    }

    fn skew(&self) -> Result<Skew, Failure> {
        if self.cluster().clock_skew().is_none() {
            match self.part {
                Part::Keys => self.read("keys", &self.names.keys)?,
                Part::Users | Part::Both => self.read("users", self.names.users.first().map_or("", String::as_str))?,
            };
        }
        Ok(self.cluster().clock_skew().unwrap_or(Skew::new(0)))
    }

    fn read(&self, what: &str, name: &str) -> Result<SecretVersion, Failure> {
        self.patiently(async || self.cluster().read(name).await)
            .map_err(|error| Failure::run_time(format_args!("{what}: {error}")))
    }

    fn write(
        &self,
        what: &str,
        base: &SecretVersion,
        entry: &str,
        content: &[u8],
        mend: &str,
    ) -> Result<Written, Failure> {
        if base.data().get(entry).map(Vec::as_slice) == Some(content) {
            return Ok(Written::Done);
        }
        if base.is_immutable() {
            return Err(self.immutable(what, base.name()));
        }
        let others = base.data().iter().filter(|(name, _)| *name != entry).map(|(_, content)| content.len());
        let bytes = others.sum::<usize>() + content.len();
        if bytes > MAX_SECRET {
            let (namespace, name) = (self.cluster().namespace(), base.name());
            return Err(Failure::run_time(format_args!(
                "{what}: Secret {namespace}/{name} would hold {bytes} bytes, and none holds more than {MAX_SECRET}: {mend}"
            )));
        }
        let changes = BTreeMap::from([(entry.to_owned(), Some(content.to_vec()))]);
        match self.patiently(async || self.cluster().patch(base, &changes).await) {
            Ok(_) => Ok(Written::Done),
            Err(error) if error.is_conflict() => Ok(Written::Conflict),
            Err(error) => {
                let unknown = matches!(error.fault(), Fault::Unavailable(_)) && error.verb() == Verb::Patch;
                let note = if unknown {
                    "; it may have been changed all the same: look at it before trying again"
                } else {
                    ""
                };
                Err(Failure::run_time(format_args!("{what}: {error}{note}")))
            }
        }
    }

    /// Asks again what the API server had no time for (429): it has done nothing then.
    fn patiently<T>(&self, ask: impl AsyncFn() -> Result<T, ApiError>) -> Result<T, ApiError> {
        for _ in 1..TRIES {
            match self.reached.runtime.block_on(ask()) {
                Err(error) if matches!(error.fault(), Fault::Throttled { .. }) => {
                    thread::sleep(error.retry_after().unwrap_or(Duration::from_secs(1)).min(LONGEST_WAIT));
                }
                answer => return answer,
            }
        }
        self.reached.runtime.block_on(ask())
    }

    fn several(&self) -> Failure {
        Failure::usage(format_args!(
            "the users are in several Secrets ({}): name the one that is to change with --secret",
            self.names.users.join(", ")
        ))
    }

    fn immutable(&self, what: &str, name: &str) -> Failure {
        let namespace = self.cluster().namespace();
        let mend = "delete it and make it anew without `immutable: true`";
        Failure::run_time(format_args!("{what}: Secret {namespace}/{name} is immutable and cannot be changed: {mend}"))
    }

    fn cluster(&self) -> &Cluster {
        &self.reached.cluster
    }
}
