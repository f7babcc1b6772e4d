//! A lab's hub: the namespaces in which its network and its mounts exist, and commands that run there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::DevError;
use crate::cell::{Cell, Folders};
use crate::host::{Host, MACHINE_PATH};
use crate::lab::HUB_ADDRESS;
use crate::process::{Process, Readiness, check_socket_path, not_ready};

const HUB: &str = include_str!("../scripts/lab/hub.sh");

/// How long a hub may take to be there. Usual are 20 ms.
const HUB_READY_LIMIT: Duration = Duration::from_secs(30);

/// Most that all disks of a lab may take up in memory, in MiB. A machine's has 1 to 10.
pub const LAB_DISKS_MIB: u64 = 4096;

/// The process that keeps the namespaces. Dropping it ends what runs in them and was started by [`Hub::cell_command`].
#[derive(Debug)]
pub(crate) struct Hub {
    process: Process,
    cell: Cell,
    dir: PathBuf,
}

impl Hub {
    pub(crate) fn start(host: &Host) -> Result<Hub, DevError> {
        let parent = std::env::temp_dir();
        let made = tempfile::Builder::new().prefix("fleet-lab-").tempdir_in(&parent);
        let made = made.map_err(DevError::file("cannot make a folder in", &parent))?;
        let dir = made.path().to_owned();
        let plain =
            |text: &str| !text.contains(|ch: char| ch.is_whitespace() || ch.is_control() || ":,\\'".contains(ch));
        if !dir.to_str().is_some_and(plain) {
            return Err(DevError::BadFolder { path: dir });
        }
        let cell = Cell::open(host, "the lab's hub", std::slice::from_ref(&dir), None)?;
        let _path = TempDir::keep(made); // From here on that cell's warden removes it, also if we are killed.
        let disks = dir.join("disks");
        fs::create_dir(&disks).map_err(DevError::file("cannot make the folder", &disks))?;
        let ready = Readiness::bind(dir.join("hub.ready"))?;
        let log_path = dir.join("hub.log");
        let log = File::create(&log_path).map_err(DevError::file("cannot make", &log_path))?;
        let log_too = log.try_clone().map_err(DevError::file("cannot duplicate", &log_path))?;

        let mut command = cell.command("unshare");
        command.args(["--mount", "--net", "--propagation", "private", "sh", "-c", HUB, "fleet-dev-hub"]);
        command.stdin(Stdio::null()).stdout(log).stderr(log_too).current_dir("/");
        command.env_clear().env("PATH", MACHINE_PATH).env("NOTIFY_SOCKET", ready.path());
        command.env("HUB_ADDRESS", format!("{HUB_ADDRESS}/24")).env("DISKS", &disks);
        command.env("DISKS_MIB", LAB_DISKS_MIB.to_string());
        let (process, _no_stdin) = Process::spawn(&mut command, vec![ready.path().to_owned()])?;
        if let Err(why) = ready.wait(Instant::now() + HUB_READY_LIMIT)? {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            return Err(not_ready("the lab's hub".to_owned(), why, &process, HUB_READY_LIMIT, &[log]));
        }
        Ok(Hub { process, cell, dir })
    }

    /// The lab's folder on this box: logs and sockets.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder with the machines' disks, as those in the hub's namespaces see it.
    pub(crate) fn disks(&self) -> PathBuf {
        self.dir.join("disks")
    }

    /// A path that those in the hub's namespaces see as `path`.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process.pid()));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path for the socket of something that will say that it is ready.
    pub(crate) fn readiness(&self, name: &str) -> Result<Readiness, DevError> {
        let path = self.dir.join(format!("{name}.ready"));
        check_socket_path(&path)?;
        Readiness::bind(path)
    }

    /// The words that run what follows them in the hub's namespaces.
    fn enter(&self) -> Vec<String> {
        let pid = self.process.pid().to_string();
        ["nsenter", "--target", &pid, "--mount", "--net", "--"].map(str::to_owned).into()
    }

    /// A command that runs `program` in the hub; it belongs to the caller as any child does.
    pub(crate) fn command(&self, program: &str) -> Command {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(program);
        command
    }

    /// The same in `cell`, whose end is also the command's.
    pub(crate) fn cell_command(&self, cell: &Cell, program: &str) -> Command {
        let enter = self.enter();
        let mut command = cell.command(&enter[0]);
        command.args(&enter[1..]).arg(program);
        command
    }

    /// Runs a command in the hub to its end, which must be a good one; what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, DevError> {
        let output = self.command(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
        let output = output.map_err(|err| DevError::Program { program: words[0].to_owned(), err })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(DevError::Failed {
            command: words.join(" "),
            status: output.status.to_string(),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Calls `f` on a new thread that is in the hub's network: sockets it makes are of that network for good.
    pub(crate) fn in_network<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, DevError> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.process.pid()));
        let network = File::open(&path).map_err(DevError::file("cannot open", &path))?;
        let inode = network.metadata().map_err(DevError::file("cannot look at", &path))?.ino();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(&network, CloneFlags::CLONE_NEWNET).map_err(|err| DevError::Enter(err.into()))?;
                let own = fs::metadata("/proc/thread-self/ns/net").map_err(DevError::Enter)?.ino();
                if own != inode {
                    return Err(DevError::Enter(io::Error::other(format!("in network {own}, not {inode}"))));
                }
                Ok(f())
            });
            crate::machine::join(inside)
        })
    }

    pub(crate) fn stop(self) -> Result<(), DevError> {
        self.cell.close(Folders::Remove)
    }
}
