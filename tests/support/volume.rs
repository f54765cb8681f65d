//! Directories that change as kubelet changes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Publishes files as kubelet does: a new directory, and a link that is renamed over the old one.
pub(crate) fn publish(volume: &Path, version: &str, files: &[(&str, &str)]) {
    fs::create_dir_all(volume).expect("a directory");
    let data = volume.join(format!("..{version}"));
    fs::create_dir(&data).expect("a directory");
    for (name, content) in files {
        fs::write(data.join(name), content).expect("a file");
        let link = volume.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).expect("a link");
        }
    }
    let old = fs::read_link(volume.join("..data")).ok();
    symlink(format!("..{version}"), volume.join("..data_tmp")).expect("a link");
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("a rename");
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).expect("a directory to remove");
    }
}
