//! Which directories a path leads through, which names in them matter, and what is found at its end.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::store::directory::DATA_LINK;
use crate::store::file_read::Fingerprint;

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

/// Entries of a directory beyond these are not looked at one by one.
const MAX_LOOKS: usize = 1_001;

/// The paths whose creation, change or removal may change what the targets hold.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Interest {
    /// The targets' own steps: files, links, and where the trail ends or breaks off.
    steps: BTreeSet<PathBuf>,
    /// Directories whose visible entries matter, each of them.
    directories: BTreeSet<PathBuf>,
}

impl Interest {
    pub(super) fn concerns(&self, path: &Path) -> bool {
        if self.steps.contains(path) || self.directories.contains(path) {
            return true;
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return true;
        };
        self.directories.contains(parent) && is_visible(name)
    }
}

/// The directories to watch for `targets` (absolute paths), and what matters in them.
pub(super) fn of(targets: &[PathBuf]) -> (BTreeSet<PathBuf>, Interest) {
    let mut watched = BTreeSet::new();
    let mut interest = Interest::default();
    for target in targets {
        follow(target, &mut watched, &mut interest);
    }
    (watched, interest)
}

/// Walks to `target` one name at a time: each link can be swapped where it lies, so its directory
/// is watched, as are the end, the end's parent, and the deepest directory of a broken trail.
fn follow(target: &Path, watched: &mut BTreeSet<PathBuf>, interest: &mut Interest) {
    let mut rest = steps(target);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        match fs::symlink_metadata(&next) {
            Ok(metadata) if metadata.is_symlink() && links < MAX_LINKS => {
                links += 1;
                let leads_to = fs::read_link(&next).unwrap_or_default();
                watched.insert(here.clone());
                interest.steps.insert(next);
                if leads_to.is_absolute() {
                    here = PathBuf::from("/");
                }
                rest.extend(steps(&leads_to));
            }
            Ok(metadata) if metadata.is_dir() => here = next,
            _ => {
                watched.insert(here);
                interest.steps.insert(next);
                return;
            }
        }
    }
    if let Some(parent) = here.parent() {
        watched.insert(parent.to_owned());
    }
    watched.insert(here.clone());
    interest.directories.insert(here);
}

/// The names of `path`, last first.
fn steps(path: &Path) -> Vec<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .rev()
        .collect()
}

/// Hidden names are locks, temporary files and kubelet's own, of which only the link decides.
fn is_visible(name: &OsStr) -> bool {
    name == DATA_LINK || !name.as_encoded_bytes().starts_with(b".")
}

/// What stats tell of all targets at one time; unequal looks mean that something may have changed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Look {
    /// Of the directories on the way, of the targets, and of what lies in those that are directories.
    directories: Vec<Option<Fingerprint>>,
    targets: Vec<Option<Fingerprint>>,
    entries: Vec<(PathBuf, Option<Fingerprint>)>,
}

impl Look {
    /// `watched`: where the trails led when they were followed last. Few system calls, for it is taken all the time: stats
    /// follow links by themselves, so that a link that leads elsewhere shows in what is at its end.
    pub(super) fn at(targets: &[PathBuf], watched: &BTreeSet<PathBuf>) -> Self {
        // A directory's own times move with every temporary file in it; its identity does not.
        let identity = |path: &PathBuf| Fingerprint::at(path).map(|(print, _)| print.identity());
        let directories = watched.iter().map(identity).collect();
        let mut entries = Vec::new();
        let mut look = |target: &PathBuf| match Fingerprint::at(target) {
            Some((print, true)) => {
                entries.extend(entries_of(target));
                Some(print.identity())
            }
            found => found.map(|(print, _)| print),
        };
        let targets = targets.iter().map(&mut look).collect();
        Self { directories, targets, entries }
    }
}

fn entries_of(dir: &Path) -> Vec<(PathBuf, Option<Fingerprint>)> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_visible(&entry.file_name()))
        .map(|entry| entry.path())
        .take(MAX_LOOKS)
        .collect();
    paths.sort_unstable();
    paths
        .into_iter()
        .map(|path| {
            let print = Fingerprint::at(&path).map(|(print, _)| print);
            (path, print)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn trails_lead_through_every_link_and_end_where_they_break() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("mount/..one")).unwrap();
        fs::write(at("mount/..one/tls.crt"), "").unwrap();
        symlink("..one", at("mount/..data")).unwrap();
        symlink("..data/tls.crt", at("mount/tls.crt")).unwrap();
        symlink("round", at("round")).unwrap();
        symlink(at("mount"), at("absolute")).unwrap();

        type Names = &'static [&'static str];
        let cases: &[(&str, Names, Names, Names)] = &[
            ("mount", &["", "mount"], &[], &["mount"]),
            (
                "mount/tls.crt",
                &["mount", "mount/..one"],
                &["mount/tls.crt", "mount/..data", "mount/..one/tls.crt"],
                &[],
            ),
            ("absolute/x/y", &["", "mount"], &["absolute", "mount/x"], &[]),
            ("none/deeper/x", &[""], &["none"], &[]),
            ("mount/../none", &[""], &["none"], &[]),
            ("mount/..one/tls.crt/x", &["mount/..one"], &["mount/..one/tls.crt"], &[]),
            ("round", &[""], &["round"], &[]),
        ];
        for (target, watched, steps, directories) in cases {
            let paths = |names: &[&str]| -> BTreeSet<PathBuf> {
                names.iter().map(|name| if name.is_empty() { root.clone() } else { at(name) }).collect()
            };
            let (found, interest) = of(&[at(target)]);
            assert_eq!(found, paths(watched), "{target}");
            assert_eq!(interest.steps, paths(steps), "{target}");
            assert_eq!(interest.directories, paths(directories), "{target}");
        }
    }

    #[test]
    fn only_names_that_matter_concern() {
        let interest = Interest {
            steps: [PathBuf::from("/tls/.hidden.crt")].into(),
            directories: [PathBuf::from("/users")].into(),
        };
        for (path, concerns) in [
            ("/users", true),
            ("/users/a.yaml", true),
            ("/users/..data", true),
            ("/users/..data_tmp", false),
            ("/users/..2026_01", false),
            ("/users/.keys.jwks.lock", false),
            ("/users/deeper/a.yaml", false),
            ("/tls/.hidden.crt", true),
            ("/tls/other.crt", false),
            ("/other", false),
        ] {
            assert_eq!(interest.concerns(Path::new(path)), concerns, "{path}");
        }
    }
}
