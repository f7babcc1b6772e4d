//! What a build, a demo or a test needs of the machine, and how it gets there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::run::{ChoreError, check, output, say};

/// A program that must be there, and the Debian package that brings it.
struct Need {
    /// Any of these paths; a name without a slash is looked for in PATH.
    programs: &'static [&'static str],
    package: &'static str,
    what_for: &'static str,
}

const NEEDS: &[Need] = &[
    Need { programs: &["/usr/lib/systemd/systemd", "/lib/systemd/systemd"], package: "systemd", what_for: "machines" },
    Need {
        programs: &["/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"],
        package: "systemd",
        what_for: "journals",
    },
    Need { programs: &["unshare", "nsenter", "flock", "setpriv"], package: "util-linux", what_for: "machines" },
    Need { programs: &["mount"], package: "mount", what_for: "machines" },
    Need { programs: &["hostname"], package: "hostname", what_for: "machines" },
    Need { programs: &["find"], package: "findutils", what_for: "machines" },
    Need { programs: &["dbus-daemon"], package: "dbus-daemon", what_for: "the tests on a user bus" },
    Need {
        programs: &["/usr/lib/systemd/user/dbus.socket"],
        package: "dbus-user-session",
        what_for: "the tests on a user bus",
    },
    Need { programs: &["etcd"], package: "etcd-server", what_for: "the tests on etcd" },
    Need { programs: &["etcdctl"], package: "etcd-client", what_for: "the tests on etcd" },
    Need { programs: &["openssl"], package: "openssl", what_for: "the certificates of the tests on etcd" },
    Need { programs: &["/usr/bin/python3"], package: "python3", what_for: "the example's web server" },
    Need { programs: &["curl"], package: "curl", what_for: "the example's sidekick" },
];

/// What the tests need beside [`NEEDS`].
const TEST_NEEDS: &[Need] = &[
    Need { programs: &["/usr/sbin/sshd"], package: "openssh-server", what_for: "the tests of ssh" },
    Need { programs: &["ssh", "ssh-keygen", "ssh-agent"], package: "openssh-client", what_for: "the tests of ssh" },
    Need { programs: &["pgrep"], package: "procps", what_for: "the tests of ssh" },
    Need { programs: &["zsh"], package: "zsh", what_for: "the tests of completion" },
    Need { programs: &["fish"], package: "fish", what_for: "the tests of completion" },
    Need { programs: &["script"], package: "bsdutils", what_for: "the tests of completion" },
    Need { programs: &["groff"], package: "groff-base", what_for: "the tests of manual pages" },
];

/// What the tests that boot whole machines need beside [`NEEDS`].
const MACHINE_NEEDS: &[Need] = &[
    Need { programs: &["systemd-nspawn"], package: "systemd-container", what_for: "whole machines" },
    Need { programs: &["ip"], package: "iproute2", what_for: "the machines' network" },
    Need { programs: &["nft"], package: "nftables", what_for: "losing what a machine sends" },
    Need { programs: &["/usr/sbin/debootstrap"], package: "debootstrap", what_for: "the machines' disks" },
];

/// Services that such a package would start, and start again at each boot. The tests run what they need themselves.
const SERVICES: &[(&str, &str)] = &[("openssh-server", "ssh.service"), ("etcd-server", "etcd.service")];

/// What Debian's packages ask whether they may start services; here an administrator may say so.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Its answer "not allowed".
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// Installs what is missing, by apt-get.
pub fn install() -> Result<(), ChoreError> {
    install_all(NEEDS)
}

/// Installs what the tests need beside [`install`] and is missing, by apt-get.
pub fn install_for_tests() -> Result<(), ChoreError> {
    install_all(TEST_NEEDS)
}

/// Installs what whole machines need and is missing, by apt-get.
pub fn install_for_machines() -> Result<(), ChoreError> {
    install_all(MACHINE_NEEDS)
}

fn install_all(needs: &[Need]) -> Result<(), ChoreError> {
    let mut missing: Vec<&Need> = needs.iter().filter(|need| !need.is_there()).collect();
    missing.dedup_by_key(|need| need.package);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let line = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if !is_root()? {
        let what_for: Vec<&str> = missing.iter().map(|need| need.what_for).collect();
        return Err(ChoreError::Other(format!(
            "{} is missing (for {}), and only root may install it: run `{line}` as root, then try again",
            packages.join(", "),
            what_for.join(", ")
        )));
    }
    say(&format!("installing {} (for this chore, by apt-get)", packages.join(", ")));
    check(apt().args(["-qq", "update"]))?;
    let quiet = NoServices::begin()?;
    check(apt().args(["-qq", "install", "--yes", "--no-install-recommends"]).args(&packages))?;
    for (_, service) in SERVICES.iter().filter(|(package, _)| packages.contains(package)) {
        // Only on the disk: nothing of it runs, and there may be no systemd here to be told.
        check(Command::new("systemctl").args(["disable", "--quiet", service]).env("SYSTEMD_OFFLINE", "1"))?;
    }
    drop(quiet);
    match needs.iter().find(|need| !need.is_there()) {
        None => Ok(()),
        Some(need) => {
            let program = need.programs.join(" or ");
            Err(ChoreError::Other(format!("{program} is still missing after package {} was installed", need.package)))
        }
    }
}

/// While it lives no package starts a service, unless the administrator has a policy of their own.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn begin() -> Result<NoServices, ChoreError> {
        let failed = |err| ChoreError::Other(format!("cannot write {POLICY}: {err}"));
        let is_ours = !Path::new(POLICY).exists();
        if is_ours {
            fs::write(POLICY, NO_SERVICES).map_err(failed)?;
            fs::set_permissions(POLICY, Permissions::from_mode(0o755)).map_err(failed)?;
        }
        Ok(NoServices { is_ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(err) = fs::remove_file(POLICY)
        {
            say(&format!("remove {POLICY} by hand, it keeps packages from starting services: {err}"));
        }
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> Result<bool, ChoreError> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

impl Need {
    fn is_there(&self) -> bool {
        let in_path = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
        };
        let is_there =
            |program: &&str| if program.contains('/') { Path::new(program).is_file() } else { in_path(program) };
        match self.programs.iter().any(|program| program.contains('/')) {
            // Alternatives.
            true => self.programs.iter().any(&is_there),
            // All of them.
            false => self.programs.iter().all(&is_there),
        }
    }
}
