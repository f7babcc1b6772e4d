//! Where the clusters of `fleetctl dev` on this box can be reached, so that an error message can say it.
//!
//! One small file for each: its name has the process that runs the cluster, its content is the endpoint. A record whose process is
//! gone counts for nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "fleetctl-dev-";

/// A record that is removed when this is dropped.
pub struct Record {
    path: PathBuf,
}

impl Record {
    /// Notes that this process runs a cluster at `endpoint`.
    ///
    /// # Errors
    /// What the file system said. A cluster without a record is as good as one with it, apart from hints.
    pub fn write(endpoint: &str) -> io::Result<Record> {
        let path = folder().join(format!("{PREFIX}{}", std::process::id()));
        // Written aside and renamed: a reader never sees half an endpoint.
        let aside = path.with_extension("new");
        fs::write(&aside, endpoint)?;
        fs::rename(&aside, &path)?;
        Ok(Record { path })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // If it cannot be removed, it counts for nothing as soon as this process is gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// The endpoints of the clusters that run now, in the order of their process numbers.
pub fn running() -> Vec<String> {
    running_in(&folder(), |pid| Path::new("/proc").join(pid.to_string()).exists())
}

fn running_in(folder: &Path, lives: impl Fn(u32) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, String)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok()?;
            let endpoint = fs::read_to_string(entry.path()).ok()?;
            lives(pid).then(|| (pid, endpoint.trim().to_owned()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, endpoint)| endpoint).collect()
}

/// A folder that lives as long as the box is up, and in which only this user can write: the hint is to be trusted. An ordinary user
/// without one has no records.
fn folder() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    own.map_or_else(|| PathBuf::from("/run"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_living_clusters_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        write("fleetctl-dev-20", "unix:///b/fleet.sock\n");
        write("fleetctl-dev-3", "unix:///a/fleet.sock");
        write("fleetctl-dev-4", "unix:///dead/fleet.sock");
        write("fleetctl-dev-5.new", "unix:///half");
        write("something-6", "else");
        assert_eq!(running_in(folder.path(), |pid| pid != 4), ["unix:///a/fleet.sock", "unix:///b/fleet.sock"]);
        assert_eq!(running_in(&folder.path().join("none"), |_| true), Vec::<String>::new());
    }
}
