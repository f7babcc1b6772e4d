//! A tunnel to fleetd through another host: one process of the user's ssh for all connections of a command, so that a password is asked
//! for once.
//!
//! ssh listens at a socket in a folder of ours and hands what comes there to the endpoint, as the gateway sees it. The gateway needs an
//! sshd and nothing else. Other processes of ssh reach machines behind it through the same connection, by ssh's own multiplexing.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use fleet_api::Endpoint;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tempfile::TempDir;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use crate::console::Console;
use crate::error::CommandError;
use crate::reach::ssh::{Gateway, PROGRAM, Ssh};

const HOLDER: &str = include_str!("tunnel.sh");

/// Names in the folder: short, for the path of a socket may have 107 bytes and ssh needs 17 beside the name of the second.
const API: &str = "api";
const CONTROL: &str = "ctl";

/// How long the end of ssh is waited for. It only has to close a connection.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// An open tunnel. Ends when it is dropped, or when this process does, however that comes about.
#[derive(Debug)]
pub struct Tunnel {
    holder: Child,
    /// Holds the tunnel open.
    life: ChildStdin,
    folder: PathBuf,
}

impl Tunnel {
    /// Opens one to `endpoint`, which may be asked as soon as this returns. ssh talks to the user by itself, also for passwords, and there
    /// is no limit to how long that may take.
    ///
    /// # Errors
    /// [`CommandError::Tunnel`] when ssh gave up; it has said why.
    pub async fn open(
        ssh: &Ssh,
        gateway: &Gateway,
        endpoint: &Endpoint,
        console: &Console,
    ) -> Result<Tunnel, CommandError> {
        // A folder of this user alone, as sockets in it are.
        let folder = runtime_folder().map_err(CommandError::TunnelFolder)?;
        let opened = appears(folder.path(), CONTROL).map_err(CommandError::TunnelFolder)?;
        let (api, control) = (folder.path().join(API), folder.path().join(CONTROL));
        let words = ssh.tunnel(gateway, endpoint, &api, &control);
        console.debug(&format!("running {PROGRAM} {}", words.join(" ")));
        let mut command = Command::new("sh");
        command.args(["-c", HOLDER, "fleetctl-tunnel"]).arg(folder.path()).arg(PROGRAM).args(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let run = |err| CommandError::Run { program: "sh".to_owned(), err };
        let mut holder = command.spawn().map_err(run)?;
        // From here on it is the holder's to take away.
        let folder = folder.keep();
        let life = holder.stdin.take().expect("it was asked for");
        let given_up = |status: ExitStatus| CommandError::Tunnel { gateway: gateway.clone(), code: status.code() };
        tokio::select! {
            biased;
            ended = holder.wait() => Err(given_up(ended.map_err(run)?)),
            // The last that ssh does before it waits for connections.
            Ok(()) = opened => Ok(Tunnel { holder, life, folder }),
        }
    }

    /// Whoever connects here has the endpoint at the other end.
    pub fn api(&self) -> PathBuf {
        self.folder.join(API)
    }

    /// Where other processes of ssh find the connection to the gateway.
    pub fn control(&self) -> PathBuf {
        self.folder.join(CONTROL)
    }

    /// Ends it, and waits for that.
    pub async fn close(self) {
        let Tunnel { mut holder, life, .. } = self;
        drop(life);
        // One that does not end is no longer ours to wait for; it has been told.
        let _ = tokio::time::timeout(CLOSE_LIMIT, holder.wait()).await;
    }
}

/// What to do when nobody answers at the other end.
pub fn hint(gateway: &Gateway, endpoint: &Endpoint) -> String {
    let (who, what) = match endpoint {
        Endpoint::Unix(_) => ("that the user there may open it", "AllowTcpForwarding and AllowStreamLocalForwarding"),
        Endpoint::Http(_) => ("that it can be reached from there", "AllowTcpForwarding"),
    };
    format!(
        "see that fleetd listens at {endpoint} as {gateway} sees it, {who}, and that sshd there forwards connections ({what} in \
         sshd_config, and no PermitOpen that leaves it out)"
    )
}

/// In the user's own folder for such things where there is one, else where temporary files are.
fn runtime_folder() -> std::io::Result<TempDir> {
    let mut name = tempfile::Builder::new();
    name.prefix("fleetctl-");
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(folder) => name.tempdir_in(folder).or_else(|_| name.tempdir()),
        None => name.tempdir(),
    }
}

/// Tells when `name` is in `folder`; that it is not there yet must be sure. What is gone without a word cannot tell it any more.
fn appears(folder: &Path, name: &'static str) -> std::io::Result<oneshot::Receiver<()>> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(folder, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
    let (is_there, told) = oneshot::channel();
    // A thread, since a read of it blocks; not one of the runtime's, which would be waited for at the end.
    std::thread::spawn(move || {
        while let Ok(events) = inotify.read_events() {
            if events.iter().any(|event| event.name.as_deref() == Some(name.as_ref())) {
                // Nobody waits for it any more: no error.
                let _ = is_there.send(());
                return;
            }
        }
    });
    Ok(told)
}
