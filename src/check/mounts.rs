//! Secrets and ConfigMaps that were mounted by `subPath`: kubelet never updates such files.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::finding::Finding;
use crate::config::{Certificate, Config, Store};

const MOUNTS: &str = "mounts";
const TABLE: &str = "/proc/self/mountinfo";

/// Looks at where all that is read again lies; nothing is found where there is no table (outside Linux).
pub(super) fn findings(config: &Config, file: Option<&Path>) -> Vec<Finding> {
    let Ok(table) = fs::read(TABLE) else {
        return Vec::new();
    };
    let mounts = parse(&String::from_utf8_lossy(&table));
    let mut findings = Vec::new();
    for path in watched(config, file) {
        // What is not there is another check's finding.
        let Ok(real) = fs::canonicalize(path) else { continue };
        let mut frozen: Vec<&Path> = Vec::new();
        if is_frozen(&mounts, &real, real.is_file()) {
            frozen.push(path);
        }
        if real.is_dir() {
            frozen.extend(inside(&mounts, &real).filter(|inside| is_frozen(&mounts, inside, inside.is_file())));
        }
        findings.extend(frozen.into_iter().map(|path| {
            Finding::warning(
                MOUNTS,
                format!("{path:?} is mounted by subPath or as a single file, and never follows updates"),
                "mount the whole Secret or ConfigMap as a directory instead of subPath",
            )
        }));
    }
    findings
}

/// The files and directories that are read again when they change.
fn watched<'a>(config: &'a Config, file: Option<&'a Path>) -> Vec<&'a Path> {
    let mut paths: Vec<&Path> = file.into_iter().collect();
    if let Certificate::Files { certificate, key } = &config.tls.certificate {
        paths.extend([certificate.as_path(), key.as_path()]);
    }
    paths.extend(config.tls.clients.as_ref().map(|clients| clients.ca.as_path()));
    if let Store::Directory(store) = &config.store {
        paths.extend([store.users.as_path(), store.keys.as_path()]);
    }
    paths
}

/// One mount: what of its file system is mounted, and where.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    root: PathBuf,
    point: PathBuf,
}

/// The mounts of a table in the form of `/proc/self/mountinfo` (proc_pid_mountinfo(5)), in its order. Lines of another
/// form are passed over.
fn parse(table: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(3).map(unescaped);
        Some(Mount { root: fields.next()?, point: fields.next().filter(|point| point.is_absolute())? })
    };
    table.lines().filter_map(mount).collect()
}

/// A field without its octal escapes: `\040` is a space.
fn unescaped(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                at += 4;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// Whether what lies at `path`, which has no symlinks, stays as it was mounted.
fn is_frozen(mounts: &[Mount], path: &Path, is_file: bool) -> bool {
    // Of mounts at one point the last is seen; the root has the fewest components.
    let holding = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let holding = holding.max_by_key(|mount| mount.point.components().count());
    holding.is_some_and(|mount| is_by_sub_path(&mount.root) || (is_file && mount.point == path))
}

/// kubelet's own place for such mounts; or one version of a volume, of which only the whole can be swapped.
fn is_by_sub_path(root: &Path) -> bool {
    root.components().any(|component| match component {
        Component::Normal(name) => name == "volume-subpaths" || name.as_encoded_bytes().starts_with(b"..2"),
        _ => false,
    })
}

/// Where something is mounted right below `directory`.
fn inside<'a>(mounts: &'a [Mount], directory: &Path) -> impl Iterator<Item = &'a Path> {
    mounts.iter().map(|mount| mount.point.as_path()).filter(move |point| point.parent() == Some(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod's table: its root, whole volumes, and what of volumes was mounted by subPath.
    const POD: &str = r"660 500 0:51 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a
671 660 0:60 / /proc rw,nosuid - proc proc rw
680 660 0:70 / /etc/vestibule/users ro,relatime - tmpfs tmpfs rw
681 660 8:1 /var/lib/kubelet/pods/u/volumes/kubernetes.io~configmap/c /etc/config ro - ext4 /dev/sda1 rw
690 660 0:71 /..2026_11_22_10_00_00.123456789/tls.crt /etc/tls/tls.crt ro - tmpfs tmpfs rw
691 660 0:71 /..2026_11_22_10_00_00.123456789/deep /etc/deep ro - tmpfs tmpfs rw
692 660 8:1 /var/lib/kubelet/pods/u/volume-subpaths/c/app/0 /etc/sub ro - ext4 /dev/sda1 rw
693 660 8:1 /var/lib/kubelet/pods/u/volumes/c/..2026_11_22/x//deleted /etc/gone ro - ext4 /dev/sda1 rw
694 660 8:1 /srv/my\040file\134 /etc/with\040space\134 ro - ext4 /dev/sda1 rw
695 660 0:80 / /etc/sub/whole rw - tmpfs tmpfs rw
696 660 0:81 /..2026_1/a /etc/covered ro - tmpfs tmpfs rw
697 660 0:82 / /etc/covered ro - tmpfs tmpfs rw
no line of a table
";

    #[test]
    fn what_never_follows_updates_is_told_from_whole_volumes() {
        let mounts = parse(POD);
        assert_eq!(mounts.len(), 12);
        for (path, is_file, expected) in [
            ("/etc/vestibule/users", false, false),
            ("/etc/vestibule/users/..2026_11_22/users.yaml", true, false),
            ("/etc/config/config.yaml", true, false),
            ("/etc/tls/tls.crt", true, true),
            ("/etc/tls/tls.key", true, false),
            ("/etc/tls", false, false),
            ("/etc/deep", false, true),
            ("/etc/deep/users.yaml", true, true),
            ("/etc/sub", false, true),
            ("/etc/sub/config.yaml", true, true),
            ("/etc/subway", false, false),
            ("/etc/sub/whole", false, false),
            ("/etc/sub/whole/file", true, false),
            ("/etc/gone", false, true),
            (r"/etc/with space\", true, true),
            (r"/etc/with space\", false, false),
            ("/etc/covered/file", true, false),
            ("/anywhere", true, false),
        ] {
            assert_eq!(is_frozen(&mounts, Path::new(path), is_file), expected, "{path} {is_file}");
        }
        assert!(!is_frozen(&[], Path::new("/etc/tls/tls.crt"), true));
        assert_eq!(inside(&mounts, Path::new("/etc/tls")).collect::<Vec<_>>(), [Path::new("/etc/tls/tls.crt")]);
    }

    #[test]
    fn escapes_are_octal() {
        for (field, plain) in [
            (r"/a\040b", "/a b"),
            (r"/a\011\012\134\043", "/a\t\n\\#"),
            (r"/\303\274", "/\u{fc}"),
            (r"/a\04", r"/a\04"),
            (r"/a\089", r"/a\089"),
            (r"/a\777", r"/a\777"),
            (r"/a\", r"/a\"),
            ("", ""),
        ] {
            assert_eq!(unescaped(field), Path::new(plain), "{field}");
        }
    }
}
