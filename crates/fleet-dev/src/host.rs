//! The box that machines live on: who we are, which cgroup hierarchies systemd uses, where its programs are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{getegid, geteuid};

use crate::DevError;

/// How many inotify instances a user should be able to have.
///
/// A machine's systemd takes 3 and its units may take more, of a budget that all processes of one user share; the
/// kernel's usual 128 ends at some 30 machines. This is enough for 200 and more, and costs nothing unused.
pub const INOTIFY_INSTANCES_WANTED: u64 = 1024;

/// 3 and one to spare for units; see [`INOTIFY_INSTANCES_WANTED`].
const INOTIFY_INSTANCES_PER_MACHINE: u64 = 4;

const INOTIFY_INSTANCES_FILE: &str = "/proc/sys/fs/inotify/max_user_instances";

/// Where systemd's own programs lie, by distribution.
const SYSTEMD_FOLDERS: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];

/// The search path of commands on a machine.
pub(crate) const MACHINE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How the cgroup of a machine comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// As root: directly below the root of each hierarchy, beside whatever else is there. Also under a running systemd,
    /// which leaves cgroups alone that it did not make (container engines do the same).
    Root,
    /// As an ordinary user: in a scope with `Delegate=yes` of the user's own systemd; this is the cgroup path of the
    /// slice in which such scopes appear.
    User { slice: PathBuf },
}

/// What is true of this box and does not change while we run.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub uid: u32,
    pub gid: u32,
    pub how: How,
    /// Mount point of cgroup v2.
    pub unified: Option<PathBuf>,
    /// Mount point of the v1 hierarchy `name=systemd`, if systemd uses it here.
    pub named: Option<PathBuf>,
    pub systemd: PathBuf,
    pub journald: PathBuf,
}

impl Host {
    /// Looks at the box.
    pub(crate) fn look() -> Result<Host, DevError> {
        let mountinfo = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(mountinfo).map_err(DevError::file("cannot read", mountinfo))?;
        let (unified, named) = hierarchies(&mounts);
        if unified.is_none() && named.is_none() {
            return Err(DevError::NoCgroups);
        }
        for path in ["/etc/machine-id", "/etc/environment"].map(Path::new) {
            if !path.exists() {
                return Err(DevError::NothingToMountOver { path: path.to_owned() });
            }
        }
        let uid = geteuid().as_raw();
        let how = if uid == 0 {
            How::Root
        } else {
            user_namespaces()?;
            How::User { slice: user_slice()? }
        };
        raise_inotify_instances();
        Ok(Host {
            uid,
            gid: getegid().as_raw(),
            how,
            unified,
            named,
            systemd: find("systemd")?,
            journald: find("systemd-journald")?,
        })
    }

    /// The cgroup folders, one in each hierarchy, below which cells are made.
    pub(crate) fn cgroup_parents(&self) -> Vec<PathBuf> {
        let mounts = [&self.unified, &self.named].into_iter().flatten();
        mounts
            .map(|mount| match &self.how {
                How::Root => mount.clone(),
                How::User { slice } => mount.join(slice.strip_prefix("/").unwrap_or(slice)),
            })
            .collect()
    }
}

/// The mount points of the hierarchies that systemd uses, from the text of `/proc/self/mountinfo`: (v2, `name=systemd`).
///
/// On a hybrid box that is both, on a box with v2 alone the former, on an old one the latter. proc_pid_mountinfo(5).
fn hierarchies(mountinfo: &str) -> (Option<PathBuf>, Option<PathBuf>) {
    let (mut unified, mut named) = (None, None);
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount_point) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        let (fs_type, options) = (right.next(), right.nth(1).unwrap_or_default());
        // Where one is mounted many times, the first is the box's own; others belong to tools that look at it.
        if fs_type == Some("cgroup2") {
            unified.get_or_insert_with(|| PathBuf::from(mount_point));
        } else if fs_type == Some("cgroup") && options.split(',').any(|option| option == "name=systemd") {
            named.get_or_insert_with(|| PathBuf::from(mount_point));
        }
    }
    if unified.as_deref() == Some(Path::new("/sys/fs/cgroup")) {
        named = None; // v2 alone rules here; systemd does not look at another.
    }
    (unified, named)
}

fn find(program: &'static str) -> Result<PathBuf, DevError> {
    let mut looked = SYSTEMD_FOLDERS.iter().map(|folder| Path::new(folder).join(program));
    looked.find(|path| path.exists()).ok_or_else(|| DevError::NotInstalled {
        program,
        looked: SYSTEMD_FOLDERS.join(", "),
        package: "systemd",
    })
}

fn user_namespaces() -> Result<(), DevError> {
    let probe = ["--user", "--map-root-user", "--mount", "true"];
    let output = Command::new("unshare").args(probe).stdin(Stdio::null()).output();
    let output = output.map_err(|err| DevError::Program { program: "unshare".to_owned(), err })?;
    if output.status.success() {
        return Ok(());
    }
    Err(DevError::NoUserNamespaces { reason: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// The cgroup path of the slice in which `systemd-run --user --scope` puts scopes.
fn user_slice() -> Result<PathBuf, DevError> {
    let args = ["--user", "show", "--property=ControlGroup", "--value"];
    let output = Command::new("systemctl").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|err| DevError::Program { program: "systemctl".to_owned(), err })?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && path.starts_with('/') {
        return Ok(Path::new(&path).join("app.slice"));
    }
    Err(DevError::NoUserManager {
        command: format!("systemctl {}", args.join(" ")),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Raises the limit on inotify instances if it is low. Where we may not, that is said once per look and no error: a few
/// machines start all the same, and one that cannot says so itself.
fn raise_inotify_instances() {
    let have = fs::read_to_string(INOTIFY_INSTANCES_FILE).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let Some(have) = have.filter(|have| *have < INOTIFY_INSTANCES_WANTED) else { return };
    match fs::write(INOTIFY_INSTANCES_FILE, INOTIFY_INSTANCES_WANTED.to_string()) {
        Ok(()) => tracing::info!(from = have, to = INOTIFY_INSTANCES_WANTED, "raised fs.inotify.max_user_instances"),
        Err(err) => tracing::warn!(
            have,
            wanted = INOTIFY_INSTANCES_WANTED,
            %err,
            "fs.inotify.max_user_instances is low and cannot be raised: more than {} machines may not start; as root: `sysctl fs.inotify.max_user_instances={INOTIFY_INSTANCES_WANTED}`",
            have / INOTIFY_INSTANCES_PER_MACHINE
        ),
    }
}

/// When a process started, in clock ticks since boot: with the number it names a process for good, since numbers return.
///
/// `None` when there is no such process. Field 22 of `/proc/PID/stat`, proc_pid_stat(5).
pub(crate) fn start_ticks(pid: u32) -> io::Result<Option<u64>> {
    let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) if err.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(None),
        Err(err) => return Err(err),
    };
    // The program's name, in parentheses, may contain anything; the fields after it are numbers, the first is the third.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.clone().next(), Some("Z" | "X")) {
        return Ok(None); // Dead, only not yet waited for.
    }
    Ok(fields.nth(19).and_then(|field| field.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mountinfo: &str, unified: Option<&str>, named: Option<&str>) {
        assert_eq!(hierarchies(mountinfo), (unified.map(PathBuf::from), named.map(PathBuf::from)));
    }

    #[test]
    fn hierarchies_of_boxes() {
        check("", None, None);
        check("23 1 0:21 / /proc rw - proc proc rw\nnonsense\n", None, None);
        check(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
            Some("/sys/fs/cgroup/unified"),
            Some("/sys/fs/cgroup/systemd"),
        );
        check(
            "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            Some("/sys/fs/cgroup"),
            None,
        );
        check(
            "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n40 31 0:37 / /mnt rw - cgroup none rw,name=systemd\n",
            Some("/sys/fs/cgroup"),
            None,
        );
        check(
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n",
            None,
            Some("/sys/fs/cgroup/systemd"),
        );
    }

    #[test]
    fn start_of_processes() {
        let own = start_ticks(std::process::id()).expect("own /proc entry is readable");
        assert!(own.is_some_and(|ticks| ticks > 0), "{own:?}");
        let none = start_ticks(u32::MAX).expect("a missing entry is no error");
        assert_eq!(none, None);
    }
}
