//! The cluster that the tests of this binary share, and what stands between it and a sidecar.
//!
//! A test begins with [`namespace`], or with [`alone`] where it stops, pauses or reconfigures the API server, and
//! returns where there is none: `let Some(ns) = namespace().await else { return };`. All that it makes is in a namespace
//! of its own. [`Faults`] breaks connections, [`Front`] answers in the API server's place, [`Pod`] is what a container
//! finds in its file system.

mod account;
mod api;
mod binaries;
mod control_plane;
mod faults;
mod front;
mod kubeconfig;
mod namespace;
mod pki;
mod pod;
mod process;
mod secrets;
mod trail;
mod watches;

use std::path::PathBuf;
use std::sync::{Arc, Once};

use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use account::Account;
pub(crate) use api::{Api, Watch, named, selected};
pub(crate) use control_plane::ControlPlane;
pub(crate) use faults::{Faults, Way};
pub(crate) use front::{Asked, Front, Reply};
pub(crate) use kubeconfig::{Kubeconfig, User};
pub(crate) use namespace::{KEYS, Namespace, USERS};
pub(crate) use pki::Authority;
pub(crate) use pod::Pod;
pub(crate) use secrets::entry;
pub(crate) use trail::{Entry, Trail};

use crate::support::{say, skipped};

/// Names a folder that holds `kube-apiserver` and `etcd`. Or it is `kubeconfig`, for the cluster that `KUBECONFIG`
/// names, in which namespaces are then made and deleted; or `none`, for those who skip these tests on purpose.
const VARIABLE: &str = "VESTIBULE_CONTROL_PLANE";

/// Where the tests run.
pub(crate) enum Cluster {
    Own(ControlPlane),
    /// The one that somebody's `KUBECONFIG` names.
    Named(Api),
}

/// Held by a test: the cluster stays as it is, or is its own to break.
#[expect(dead_code, reason = "held for their drop")]
enum Hold {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

static USE: RwLock<()> = RwLock::const_new(());

/// A new namespace of the shared cluster; `None`, said loudly, where there is no cluster. A test that needs a second one
/// asks the first: two calls could wait for a test that waits for both.
pub(crate) async fn namespace() -> Option<Namespace> {
    let cluster = shared().await?;
    Some(Namespace::create(cluster, Arc::new(Hold::Shared(USE.read().await))).await)
}

/// The same while no other test uses the cluster; `None` also where the cluster is not ours.
pub(crate) async fn alone() -> Option<Namespace> {
    let cluster = shared().await?;
    if matches!(cluster, Cluster::Named(_)) {
        skipped("a control plane of our own, which tests/kubernetes/build builds");
        return None;
    }
    Some(Namespace::create(cluster, Arc::new(Hold::Alone(USE.write().await))).await)
}

/// The cluster of all tests of this process, started by the first one that asks.
pub(crate) async fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceCell<Result<Option<Cluster>, String>> = OnceCell::const_new();
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "none") {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| say(&format!("SKIPPED, all that needs a control plane: {VARIABLE}=none")));
        return None;
    }
    match SHARED.get_or_init(Cluster::find).await {
        Ok(Some(cluster)) => Some(cluster),
        Ok(None) => {
            skipped(&format!("a control plane: run tests/kubernetes/build, or let {VARIABLE} name its folder"));
            None
        }
        Err(why) => panic!("there is no control plane: {why}"),
    }
}

/// kubectl: the one that was built with the API server, else that of the `PATH`.
pub(crate) fn kubectl() -> PathBuf {
    let built = binaries::folder().ok().flatten().map(|folder| folder.join("kubectl"));
    built.filter(|kubectl| kubectl.is_file()).unwrap_or_else(|| "kubectl".into())
}

impl Cluster {
    async fn find() -> Result<Option<Self>, String> {
        if std::env::var_os(VARIABLE).is_some_and(|value| value == "kubeconfig") {
            let file =
                std::env::var_os("KUBECONFIG").ok_or_else(|| format!("{VARIABLE} needs KUBECONFIG to be set"))?;
            return Ok(Some(Self::Named(Kubeconfig::read(file.as_ref())?.api())));
        }
        let Some(folder) = binaries::folder()? else { return Ok(None) };
        Ok(Some(Self::Own(ControlPlane::start(&folder, &[]).await?)))
    }

    /// As an administrator who may do anything.
    pub(crate) fn admin(&self) -> Api {
        match self {
            Self::Own(own) => own.admin(),
            Self::Named(admin) => admin.clone(),
        }
    }

    /// To be stopped and started; only a test that is [`alone`] may.
    pub(crate) fn own(&self) -> &ControlPlane {
        match self {
            Self::Own(own) => own,
            Self::Named(_) => panic!("only `alone` promises a cluster of our own"),
        }
    }
}
