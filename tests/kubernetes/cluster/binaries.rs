//! Where kube-apiserver and etcd are.

use std::env::var_os;
use std::path::{Path, PathBuf};

use super::VARIABLE;

/// What `VESTIBULE_CONTROL_PLANE` names, else what tests/kubernetes/build has built; `None` where there is neither.
pub(super) fn folder() -> Result<Option<PathBuf>, String> {
    match var_os(VARIABLE) {
        Some(named) => {
            let folder = PathBuf::from(named);
            let complete = holds_all(&folder);
            complete.then_some(Some(folder.clone())).ok_or_else(|| {
                format!("{VARIABLE}={}: that folder does not hold kube-apiserver and etcd", folder.display())
            })
        }
        None if var_os("CI").is_some() => Ok(None),
        None => Ok(cached().filter(|folder| holds_all(folder))),
    }
}

fn cached() -> Option<PathBuf> {
    let cache = var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(var_os("HOME")?).join(".cache")))?;
    Some(cache.join("vestibule/control-plane"))
}

fn holds_all(folder: &Path) -> bool {
    ["kube-apiserver", "etcd"].iter().all(|program| folder.join(program).is_file())
}
