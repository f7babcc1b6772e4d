//! What passes between the agent and one machine's systemd.

use crate::model::{Generation, Placement, TargetState};
use crate::unit::{UnitHash, UnitName};

/// What systemd says of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitStatus {
    /// Which unit.
    pub name: UnitName,
    /// `loaded`, `not-found`, `bad-setting`, `error`, `masked`, ...
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`, ...
    pub active: String,
    /// `running`, `start-pre`, `dead`, `exited`, ...
    pub sub: String,
    /// The result of the last run as systemd names it (`success`, `exit-code`, `signal`, `timeout`, ...); empty where the
    /// unit's type has none, or nothing ran.
    pub result: String,
}

impl UnitStatus {
    /// A unit that systemd does not hold in memory: it has a file or not, and nothing of it runs.
    pub fn unloaded(name: UnitName) -> UnitStatus {
        let word = |word: &str| word.to_owned();
        UnitStatus { name, load: word("loaded"), active: word("inactive"), sub: word("dead"), result: String::new() }
    }

    /// Whether something of the unit runs or is about to: its file must stay, and it must be stopped first.
    pub fn is_live(&self) -> bool {
        !matches!(self.active.as_str(), "inactive" | "failed")
    }

    /// Whether it died, and systemd waits for `RestartSec=` to start it again.
    pub fn is_between_lives(&self) -> bool {
        matches!(self.sub.as_str(), "auto-restart" | "auto-restart-queued")
    }
}

/// What the agent last carried out for a unit, kept beside its file, so that a new `fleetd` knows it.
///
/// It lives where the unit files live, in `/run`, and so ends with the machine's uptime, as what it speaks of does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The file that was written.
    pub hash: UnitHash,
    /// The generation that was carried out to the end.
    pub generation: Generation,
    /// The restart counter that was carried out.
    pub restarts: u64,
    /// How far the unit was taken: `Launched` once a start job has ended, well or not.
    pub reached: TargetState,
    /// For a unit that may run under the guard only: the run of the guard (systemd's invocation) under which it was started.
    /// Under another one it does not run any more, because it ended with the first.
    pub guard: Option<String>,
}

impl Receipt {
    /// The receipt for an order that was carried out to its end.
    pub(super) fn complete(order: &Placement) -> Receipt {
        Receipt {
            hash: order.hash,
            generation: order.generation,
            restarts: order.restarts,
            reached: order.target,
            guard: None,
        }
    }
}

/// A unit file to be written, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteFile {
    /// Which unit.
    pub name: UnitName,
    /// What systemd is to read.
    pub text: String,
    /// What this file stands for.
    pub receipt: Receipt,
}

/// What is asked of systemd for one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `StartUnit`, mode `replace`.
    Start,
    /// `StopUnit`, mode `replace`.
    Stop,
    /// `RestartUnit`, mode `replace`.
    Restart,
}

impl Verb {
    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
        }
    }
}

/// How a job ended, in systemd's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// The job did what it was to do.
    Done,
    /// It ended otherwise: `failed`, `canceled`, `timeout`, `dependency`, `skipped`, ...
    Other(String),
    /// systemd refused to queue it, with its error name and message (`org.freedesktop.systemd1.NoSuchUnit`, ...).
    Refused {
        /// The D-Bus error name.
        name: String,
        /// systemd's message.
        message: String,
    },
}

/// Everything of ours that is on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Our unit files on disk, with their receipts; `None` where the receipt is missing or cannot be read.
    pub files: Vec<(UnitName, Option<Receipt>)>,
    /// The states of those units, and of units of ours that run without a file.
    pub units: Vec<UnitStatus>,
}
