//! What is asked of a machine's own tools: `systemctl status` and `journalctl`; and its systemd, for commands.
//!
//! Their words are passed on as they are: nobody tells a unit's state better than systemd, and people know how to read it.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_core::unit::UnitName;
use fleet_systemd::UnitManager;
use nix::unistd::geteuid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::config::MachineConfig;
use crate::journal::JournalRequest;

/// Longest wait for `systemctl status` and for journald to write what it holds.
const TOOL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a request waits for the first connection to systemd. Usual are milliseconds after the start.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Most bytes of one `systemctl status` that are passed on.
const STATUS_BYTES_MAX: u64 = 4 << 20;

/// Why a tool gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("cannot run `{program}`")]
    Run {
        program: String,
        #[source]
        err: std::io::Error,
    },
    #[error("{reason}")]
    Refused { reason: String },
    #[error("cannot read since when {name} is here")]
    Receipt {
        name: UnitName,
        #[source]
        err: std::io::Error,
    },
    #[error("`{program}` gave no answer within {} s", TOOL_TIMEOUT.as_secs())]
    Timeout { program: String },
}

/// One machine's tools.
#[derive(Clone, Debug)]
pub struct Host {
    enter: Vec<String>,
    user: bool,
    units_directory: PathBuf,
    systemd: Connected,
}

/// The connection to a machine's systemd, once there is one.
#[derive(Clone, Default)]
struct Connected(Arc<watch::Sender<Option<Arc<dyn UnitManager>>>>);

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.borrow().is_some() { "connected" } else { "not connected yet" })
    }
}

/// One run of a unit, as the journal can be asked for it.
enum Run {
    /// systemd's ID of it.
    Invocation(String),
    /// `@SECONDS` since the epoch.
    Since(String),
}

impl Host {
    /// The tools of a machine.
    pub fn new(machine: &MachineConfig) -> Host {
        let MachineConfig { enter, user, units_directory, .. } = machine;
        Host {
            enter: enter.clone(),
            user: *user,
            units_directory: units_directory.clone(),
            systemd: Connected::default(),
        }
    }

    /// From now on, commands are run by this connection, also on copies of this.
    pub fn connected(&self, systemd: Arc<dyn UnitManager>) {
        self.systemd.0.send_replace(Some(systemd));
    }

    /// The machine's systemd. A daemon that has just started is given a moment to connect; `None` if it has not been there since.
    pub async fn systemd(&self) -> Option<Arc<dyn UnitManager>> {
        let mut connected = self.systemd.0.subscribe();
        let there = tokio::time::timeout(CONNECT_LIMIT, connected.wait_for(Option::is_some)).await.ok()?.ok()?;
        there.clone()
    }

    /// The tools of the system, each called by way of these words.
    #[cfg(test)]
    pub fn through(words: &[&str]) -> Host {
        let enter = words.iter().map(|&word| word.to_owned()).collect();
        let units_directory = PathBuf::from("/nonexistent");
        Host { enter, user: false, units_directory, systemd: Connected::default() }
    }

    /// What `systemctl status` prints, with so many lines of the journal, and its exit code (3: not running, 4: no such unit).
    pub async fn status(&self, name: &UnitName, lines: u32) -> Result<(String, i32), HostError> {
        let mut command = self.systemctl();
        command.args(["status", "--full", "--no-pager", &format!("--lines={lines}"), "--", name.as_str()]);
        let (text, code) = self.answer("systemctl", command).await?;
        Ok((text, code.unwrap_or(1)))
    }

    /// What `systemctl show` prints: lines of `NAME=VALUE`; only these properties, if there are any.
    pub async fn properties(&self, name: &UnitName, properties: &[String]) -> Result<String, HostError> {
        let mut command = self.systemctl();
        command.args(["show", "--all", "--no-pager"]);
        command.args(properties.iter().map(|property| format!("--property={property}"))).args(["--", name.as_str()]);
        Ok(self.answer("systemctl", command).await?.0)
    }

    /// Has systemd do something with a unit: `systemctl VERB OPTIONS`.
    ///
    /// # Errors
    /// [`HostError::Refused`] with systemctl's words.
    pub async fn act(&self, name: &UnitName, verb: &[String]) -> Result<(), HostError> {
        let mut command = self.systemctl();
        command.args(verb).args(["--no-pager", "--no-ask-password", "--", name.as_str()]);
        succeed("systemctl", command).await
    }

    /// Starts `journalctl`; its output is the answer. It ends when the child is dropped.
    ///
    /// # Errors
    /// [`HostError::Refused`] for a time that journalctl does not understand.
    pub async fn journal(&self, name: &UnitName, request: &JournalRequest) -> Result<Child, HostError> {
        self.check_times(request).await?;
        let mut command = self.journalctl(request);
        command.args(request.arguments());
        if request.since_placed {
            let since = self.placed_at(name).await?.as_micros();
            command.arg(format!("--since=@{}.{:06}", since / 1_000_000, since % 1_000_000));
        }
        let run = if request.this_run { self.this_run(name).await? } else { None };
        match run {
            // The unit's own lines, and what the manager says of this run.
            Some(Run::Invocation(id)) => {
                command.arg(format!("_SYSTEMD_INVOCATION_ID={id}")).arg("+").arg(format!("INVOCATION_ID={id}"))
            }
            Some(Run::Since(moment)) => command.arg(format!("--since={moment}")).args(of_user_unit(name)),
            None if self.user => command.args(of_user_unit(name)),
            None => command.arg("--unit").arg(name.as_str()),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().map_err(|err| HostError::Run { program: "journalctl".to_owned(), err })
    }

    /// Asks journalctl whether it understands the times of a request: once it prints, nobody hears what it has to say.
    ///
    /// # Errors
    /// [`HostError::Refused`] with its words.
    async fn check_times(&self, request: &JournalRequest) -> Result<(), HostError> {
        let times = request.times();
        if times.is_empty() {
            return Ok(());
        }
        let mut command = self.journalctl(request);
        command.args(times).args(["--no-pager", "--quiet", "--lines=0"]);
        succeed("journalctl", command).await
    }

    fn journalctl(&self, request: &JournalRequest) -> Command {
        let mut command = self.tool("journalctl");
        if let Some(zone) = &request.zone {
            command.env("TZ", zone);
        }
        command
    }

    /// When the unit was placed here, since the epoch. Now, if its order was not begun yet: then all that it says comes later.
    async fn placed_at(&self, name: &UnitName) -> Result<Duration, HostError> {
        // The journal's times are those of the machine's clock. Asked for first: what the unit says from now on is behind it.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (folder, unit) = (self.units_directory.clone(), name.clone());
        let read = tokio::task::spawn_blocking(move || fleet_systemd::dbus::placed_at(&folder, &unit)).await;
        let failed = |err| HostError::Receipt { name: name.clone(), err };
        let placed_at = read.map_err(|err| failed(std::io::Error::other(err)))?.map_err(failed)?;
        Ok(placed_at.unwrap_or(now))
    }

    /// How the journal tells the unit's present or last run, after journald has written what it holds of it.
    ///
    /// journald marks a line with the invocation of the *system's* unit, which for all units of a user's systemd is that
    /// systemd itself; there the run is told by the second in which it began.
    async fn this_run(&self, name: &UnitName) -> Result<Option<Run>, HostError> {
        let mut sync = self.tool("journalctl");
        sync.arg("--sync");
        self.answer("journalctl", sync).await?;
        let property = if self.user { "InactiveExitTimestamp" } else { "InvocationID" };
        let mut command = self.systemctl();
        command.args(["show", "--timestamp=unix", "--value", "--property", property, "--", name.as_str()]);
        let (text, _) = self.answer("systemctl", command).await?;
        let value = Some(text.trim().to_owned()).filter(|value| !value.is_empty());
        Ok(value.map(if self.user { Run::Since } else { Run::Invocation }))
    }

    fn systemctl(&self) -> Command {
        let mut command = self.tool("systemctl");
        if self.user {
            command.arg("--user");
        }
        command
    }

    fn tool(&self, program: &str) -> Command {
        let mut words = self.enter.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().expect("there is at least the program"));
        command.args(words);
        command
    }

    async fn answer(&self, program: &str, mut command: Command) -> Result<(String, Option<i32>), HostError> {
        let failed = |err| HostError::Run { program: program.to_owned(), err };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let mut stdout = child.stdout.take().expect("stdout is a pipe").take(STATUS_BYTES_MAX);
        let run = async {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).await.map_err(failed)?;
            let status = child.wait().await.map_err(failed)?;
            Ok((String::from_utf8_lossy(&bytes).into_owned(), status.code()))
        };
        match tokio::time::timeout(TOOL_TIMEOUT, run).await {
            Ok(answer) => answer,
            Err(_) => Err(HostError::Timeout { program: program.to_owned() }),
        }
    }
}

/// Runs a tool that prints nothing if all is well.
///
/// # Errors
/// [`HostError::Refused`] with what it says, if it fails.
async fn succeed(program: &str, mut command: Command) -> Result<(), HostError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = || program.to_owned();
    let output = match tokio::time::timeout(TOOL_TIMEOUT, command.output()).await {
        Ok(output) => output.map_err(|err| HostError::Run { program: program(), err })?,
        Err(_) => return Err(HostError::Timeout { program: program() }),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(HostError::Refused { reason: said.trim().to_owned() })
}

/// What journalctl is to look for: the lines of a unit of this user's systemd.
///
/// Those that `--user-unit` finds are by processes of the user. A user's systemd that runs as root can start units as other users,
/// and theirs are known by the systemd that they are under.
fn of_user_unit(name: &UnitName) -> impl Iterator<Item = String> {
    let uid = geteuid();
    let of_user = ["_SYSTEMD_USER_UNIT", "USER_UNIT", "COREDUMP_USER_UNIT", "OBJECT_SYSTEMD_USER_UNIT"]
        .map(|field| [format!("{field}={name}"), format!("_UID={uid}"), "+".to_owned()]);
    let of_others = [format!("_SYSTEMD_USER_UNIT={name}"), format!("_SYSTEMD_UNIT=user@{uid}.service")];
    of_user.into_iter().flatten().chain(of_others)
}
