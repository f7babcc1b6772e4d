//! The tree that all machines of labs share, built once by debootstrap and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha1::{Digest as _, Sha1};

use crate::DevError;
use crate::cell::{Cell, Folders};
use crate::host::{Host, How, MACHINE_PATH};
use crate::lock::Lock;
use crate::process::{Process, last_lines};

const ROOTFS: &str = include_str!("../scripts/lab/rootfs.sh");

/// The variable that says where trees are kept; without it [`CACHE_FOLDER`].
pub const CACHE_VARIABLE: &str = "FLEET_DEV_CACHE";

const CACHE_FOLDER: &str = "/var/cache/fleet-dev";

/// The variable that names another mirror of Debian.
const MIRROR_VARIABLE: &str = "FLEET_DEV_MIRROR";

const MIRROR: &str = "http://deb.debian.org/debian";

/// The suite for boxes that are no Debian.
const SUITE: &str = "bookworm";

/// What a machine has beside Debian's required packages: systemd, a network, the programs of the examples' units, an
/// sshd, and tools to look around.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "iputils-ping",
    "procps",
    "curl",
    "nftables",
    "openssh-server",
    "openssh-client",
    "python3",
];

/// Units that are of no use on such a machine: they wait for consoles or disks it has not, change its network, or look
/// for news of Debian.
const MASKED: &[&str] = &[
    "console-getty.service",
    "getty.target",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-pstore.service",
    "ldconfig.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
];

/// Most that a build may take up in memory, and so most that it may download, in MiB. The tree has some 220, its
/// packages some 80.
pub const LAB_ROOTFS_MIB: u64 = 1024;

/// How long a build may take. Seen: 100 s on two busy cores.
pub const LAB_ROOTFS_BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The tree for machines of labs. If this box has none of this recipe yet it is built: minutes, and some 80 MB from a
/// mirror of Debian (`FLEET_DEV_MIRROR`). It stays in `/var/cache/fleet-dev` (or `FLEET_DEV_CACHE`), under a name that has the
/// recipe's hash in it; trees of older recipes may be deleted by hand.
///
/// # Errors
/// [`DevError::NeedsRoot`], [`DevError::Rootfs`] with the last words of debootstrap, [`DevError::InUse`] if another
/// process builds it and does not come to an end.
pub fn lab_rootfs() -> Result<PathBuf, DevError> {
    let host = Host::look()?;
    if host.how != How::Root {
        return Err(DevError::NeedsRoot);
    }
    let cache = std::env::var_os(CACHE_VARIABLE).map_or_else(|| CACHE_FOLDER.into(), PathBuf::from);
    if cache.to_str().is_none_or(|text| text.contains(|ch: char| ch.is_whitespace() || ":,\\'".contains(ch))) {
        return Err(DevError::BadCacheFolder { path: cache, variable: CACHE_VARIABLE });
    }
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default(); // Without it, the default suite.
    let suite = suite(&os_release);
    let mirror = std::env::var(MIRROR_VARIABLE).unwrap_or_else(|_| MIRROR.to_owned());
    let tree = cache.join(format!("rootfs-{suite}-{}", recipe_hash()));
    if !tree.exists() {
        fs::create_dir_all(&cache).map_err(DevError::file("cannot make the folder", &cache))?;
        let beside = |what: &str| PathBuf::from(format!("{}.{what}", tree.display()));
        let lock = Lock::take(&beside("lock"), LAB_ROOTFS_BUILD_LIMIT)?;
        if !tree.exists() {
            build(&host, &tree, suite, &mirror, &beside, &lock)?;
        }
    }
    Ok(tree)
}

fn build(
    host: &Host,
    tree: &Path,
    suite: &str,
    mirror: &str,
    beside: &dyn Fn(&str) -> PathBuf,
    lock: &Lock,
) -> Result<(), DevError> {
    tracing::info!(path = %tree.display(), suite, mirror, "building the machines' tree, once");
    let log_path = beside("log");
    let cell = Cell::open(host, "the build of the machines' tree", &["new", "work", "log"].map(beside), Some(lock))?;
    let log = File::create(&log_path).map_err(DevError::file("cannot make", &log_path))?;
    let log_too = log.try_clone().map_err(DevError::file("cannot duplicate", &log_path))?;
    let mut command = cell.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", ROOTFS, "fleet-dev-rootfs"]).arg(tree);
    command.stdin(Stdio::null()).stdout(log).stderr(log_too).current_dir("/");
    command.env("PATH", MACHINE_PATH).env("LC_ALL", "C.UTF-8").env("SUITE", suite).env("MIRROR", mirror);
    command.env("PACKAGES", PACKAGES.join(" ")).env("MASKED", MASKED.join(" "));
    command.env("SIZE_MIB", LAB_ROOTFS_MIB.to_string());
    let (process, _no_stdin) = Process::spawn(&mut command, Vec::new())?;
    let how = match process.wait(LAB_ROOTFS_BUILD_LIMIT) {
        Some(status) if status.success() => return cell.close(Folders::Remove),
        Some(status) => format!("it ended with {status}"),
        None => format!("it was not done within {LAB_ROOTFS_BUILD_LIMIT:?}"),
    };
    let words = last_lines(&[fs::read_to_string(&log_path).unwrap_or_default()]);
    Err(DevError::Rootfs { path: tree.to_owned(), how, words })
}

/// What names a recipe: twelve digits of a hash of all that goes into it but the suite.
fn recipe_hash() -> String {
    let mut hash = Sha1::new();
    for part in [ROOTFS, &PACKAGES.join(" "), &MASKED.join(" ")] {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// This box's own suite, so that programs built here find the C library they were built with; os-release(5).
fn suite(os_release: &str) -> &str {
    let value = |key: &str| {
        let value = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim_matches('"'))
    };
    let codename = value("VERSION_CODENAME").filter(|name| name.chars().all(|ch| ch.is_ascii_lowercase()));
    codename.filter(|_| value("ID") == Some("debian")).unwrap_or(SUITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites() {
        for (os_release, expected) in [
            ("ID=debian\nVERSION_CODENAME=trixie\n", "trixie"),
            ("VERSION_CODENAME=\"trixie\"\nID=\"debian\"\n", "trixie"),
            ("ID=ubuntu\nVERSION_CODENAME=noble\n", "bookworm"),
            ("ID=debian\nVERSION_CODENAME=../x\n", "bookworm"),
            ("", "bookworm"),
        ] {
            assert_eq!(suite(os_release), expected, "{os_release}");
        }
    }

    #[test]
    fn the_hash_is_a_name() {
        let hash = recipe_hash();
        assert_eq!((hash.len(), hash.chars().all(|ch| ch.is_ascii_hexdigit())), (12, true), "{hash}");
    }
}
