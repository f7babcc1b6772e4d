//! What can fail here: one variant per operation, with its values and what to do.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a machine or a cluster could not be brought up, changed or taken down.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the values in the message above them")]
pub enum DevError {
    #[error(
        "machine name `{name}` is not usable: it must have 1 to {max} characters out of a-z, 0-9 and single `-` inside, because it becomes a host name and part of a slice's name",
        max = crate::spec::MACHINE_NAME_LEN_MAX
    )]
    BadName { name: String },
    #[error(
        "machine id `{id}` of machine `{name}` is not usable: it must be 32 characters out of 0-9a-f, as in machine-id(5)"
    )]
    BadId { name: String, id: String },
    #[error("two machines have the same {what} `{value}`: give each its own")]
    Twice { what: &'static str, value: String },
    #[error(
        "address `{address}` of machine `{name}` is not one of this box's loopback addresses: take one below 127.0.0.0/8"
    )]
    BadAddress { name: String, address: Ipv4Addr },
    #[error("no port of `{address}` can be listened at: etcd needs two")]
    NoPort {
        address: Ipv4Addr,
        #[source]
        err: io::Error,
    },
    #[error("`{path}` is too long for a unix socket ({len} bytes, the kernel takes {max}): choose a folder with a shorter path", path = path.display())]
    SocketPathTooLong { path: PathBuf, len: usize, max: usize },
    #[error("`{path}` has blanks or characters that are not UTF-8, which the configuration files cannot carry: choose another folder", path = path.display())]
    BadFolder { path: PathBuf },
    #[error("`{path}` is in use by another process, which did not end within {limit:?}: stop that one, or choose another folder", path = path.display())]
    InUse { path: PathBuf, limit: Duration },
    #[error("{doing} `{path}`", path = path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot start `{program}`: is the package that has it installed?")]
    Program {
        program: String,
        #[source]
        err: io::Error,
    },
    #[error("`{program}` is not on this box (looked for {looked}): install the package `{package}`")]
    NotInstalled { program: &'static str, looked: String, package: &'static str },
    #[error(
        "this box has no cgroup hierarchy that systemd can use: mount one, e.g. `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`"
    )]
    NoCgroups,
    #[error("cannot make the cgroup `{path}`: machines need a cgroup file system that is writable here", path = path.display())]
    Cgroup {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("`{path}` does not exist, so a machine cannot be given one of its own in that place: create it (`touch {path}`)", path = path.display())]
    NothingToMountOver { path: PathBuf },
    #[error(
        "an ordinary user can have machines only below a running systemd user manager, and `{command}` failed: {output}; log in properly (pam_systemd), or run this as root"
    )]
    NoUserManager { command: String, output: String },
    #[error(
        "user namespaces are off, so an ordinary user can have no machines: {reason}; allow them (`sysctl user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0`, those that exist), or run this as root"
    )]
    NoUserNamespaces { reason: String },
    #[error("{what} did not become ready: it {how}; its own words:\n{words}")]
    NotReady { what: String, how: String, words: String },
    #[error("machine `{name}` is off: boot it first")]
    Off { name: String },
    #[error("there is no machine `{name}` in this cluster")]
    NoMachine { name: String },
    #[error("{what} did not end cleanly; left behind: {left}")]
    Left { what: String, left: String },
    #[error("{what} did not happen to machine `{name}` within {limit:?}")]
    Freezer { what: &'static str, name: String, limit: Duration },
    #[error("machine `{name}` cannot be frozen: this box has no cgroup v2 hierarchy")]
    NoFreezer { name: String },
    #[error("a lab needs root: network namespaces, bridges and systemd-nspawn; run this as root")]
    NeedsRoot,
    #[error("address `{address}` of machine `{name}` is not usable in a lab: take one of 10.77.0.2 to 10.77.0.254")]
    BadLabAddress { name: String, address: Ipv4Addr },
    #[error(
        "`{path}` has characters that mount(8) and systemd-nspawn(1) read as something else: choose another folder (`{variable}`)", path = path.display()
    )]
    BadCacheFolder { path: PathBuf, variable: &'static str },
    #[error("cannot build the machines' tree `{path}`: {how}; its last words:\n{words}", path = path.display())]
    Rootfs { path: PathBuf, how: String, words: String },
    #[error("`{command}` failed ({status}): {said}")]
    Failed { command: String, status: String, said: String },
    #[error("cannot enter the lab's network")]
    Enter(#[source] io::Error),
    #[error("cannot write the machines file")]
    MachinesFile(#[source] toml::ser::Error),
}

impl DevError {
    /// For `map_err`: the file operation `doing` ("cannot read") on `path` failed.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DevError {
        let path = path.to_owned();
        move |err| DevError::File { doing, path, err }
    }
}
