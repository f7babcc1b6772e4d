//! One machine's systemd: unit files, jobs and states.
//!
//! [`UnitManager`] is the trait; [`dbus`] drives a real systemd (system bus, user bus, or a manager's private socket) by
//! signals alone, without polling; [`fake`] is a strict model of it. Both pass one conformance suite. Nothing here knows
//! of the cluster: the agent in fleet-core decides, this room does what it is told and says what it saw.

use async_trait::async_trait;
use fleet_core::unit::UnitName;
use tokio::sync::mpsc;

pub mod dbus;
pub mod exec;
pub mod fake;
pub mod floor;
mod news;

pub use fleet_core::agent::{JobResult, Look, Receipt, UnitStatus, Verb, WriteFile};

/// How many events may wait for the one who takes them. When they are that many, changes of one unit are merged.
pub const EVENTS_QUEUED: usize = 1024;

/// The error with which systemd says that there is no such unit.
pub const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// The error name of what we refuse ourselves: to remove the file of a unit that is not at rest.
pub const NOT_AT_REST: &str = "fleet.UnitNotAtRest";

/// What a manager tells without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerEvent {
    /// The state of one of our units changed (its newest state; several changes may be told as one).
    Changed(UnitStatus),
    /// The connection is gone; nothing is known until `Connected`.
    Disconnected,
    /// The connection is back: look at everything anew.
    Connected,
}

/// Why systemd or the disk could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagerError {
    /// No connection to systemd; comes back by itself (`ManagerEvent::Connected`).
    #[error("no connection to systemd at {address}: {reason}")]
    Disconnected {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// A call that systemd answered with an error.
    #[error("systemd refused {call}: {message} ({name})")]
    Refused {
        /// Which call.
        call: String,
        /// The D-Bus error name.
        name: String,
        /// systemd's message.
        message: String,
    },
    /// A file could not be written, read or removed.
    #[error("cannot {verb} {path}: {reason}")]
    File {
        /// `write`, `remove`, ...
        verb: &'static str,
        /// Which file.
        path: String,
        /// The system's words.
        reason: String,
    },
}

/// A machine's systemd as fleet needs it.
///
/// All methods may be called at once from many tasks. Only units of ours are ever touched: those whose files this room
/// wrote.
#[async_trait]
pub trait UnitManager: Send + Sync + 'static {
    /// Looks at everything of ours: files, receipts, states. One call of systemd, however many units there are.
    async fn look(&self) -> Result<Look, ManagerError>;

    /// Writes files atomically, one result each, in order; then has systemd reload its files once, if a file of a unit
    /// that systemd holds in memory changed (a new file needs none).
    ///
    /// # Errors
    /// The outer error: the reload failed or there is no connection; files may have been written.
    async fn write(&self, files: &[WriteFile]) -> Result<Vec<Result<(), ManagerError>>, ManagerError>;

    /// Writes the file of a unit that is fleet's own and no user's ([`fleet_core::unit::GUARD_UNIT`]), as `write` does, but
    /// without a receipt: no look shows it. Its state is told and can be asked for as that of any other unit from then on,
    /// and it can be run and removed.
    async fn provide(&self, name: &UnitName, text: &str) -> Result<(), ManagerError>;

    /// Replaces the receipt of a unit whose file is there.
    async fn write_receipt(&self, name: &UnitName, receipt: &Receipt) -> Result<(), ManagerError>;

    /// Removes the files (and receipts, and systemd's memory of a failure) of units that do not run, one result each.
    ///
    /// # Errors
    /// `Refused` by ourselves for a unit that is not inactive or failed: a running unit's file is never removed.
    async fn remove(&self, names: &[UnitName]) -> Result<Vec<Result<(), ManagerError>>, ManagerError>;

    /// Queues one job and waits until it has ended.
    ///
    /// How long that takes is the unit's business (`TimeoutStartSec=0` is for ever). At most
    /// `SUBMIT_WINDOW` calls are under way to systemd at once; jobs that are queued and not yet ended do not count.
    ///
    /// # Errors
    /// `Disconnected` when the connection broke before the end was seen: *the job may have run*. Look again.
    async fn run(&self, name: &UnitName, verb: Verb) -> Result<JobResult, ManagerError>;

    /// What is known of a unit of ours at this moment, without asking systemd; `None` for a unit that is not ours.
    ///
    /// After [`UnitManager::run`] it is at least as new as the job's end, before which systemd tells the unit's state: the
    /// event that tells of it may still be on its way.
    fn status(&self, name: &UnitName) -> Option<UnitStatus>;

    /// Which run of a unit of ours is active: systemd gives each another ID.
    ///
    /// # Errors
    /// `Disconnected`; `Refused` for a unit that systemd does not know.
    async fn invocation(&self, name: &UnitName) -> Result<String, ManagerError>;

    /// Begins a command beside a unit: as the unit's user and groups, in its directories, environment, slice, and private namespaces, as
    /// far as the unit has such. The unit need not run; it has to be loaded. If the unit is stopped, so is the command.
    ///
    /// Returns when the program runs, has ended already, or could not be begun, which [`exec::Execution::end`] tells apart.
    /// [`UnitManager::run`] of its name with [`Verb::Stop`] stops it with all its children.
    ///
    /// # Errors
    /// `Disconnected`; `Refused` for a unit that is not loaded ([`NO_SUCH_UNIT`]) or no service ([`exec::NO_SERVICE`]), and for what
    /// systemd does not take.
    async fn exec(&self, order: exec::ExecOrder) -> Result<exec::Execution, ManagerError>;

    /// The events, for the one who drives this machine. May be taken once.
    fn events(&self) -> Option<mpsc::Receiver<ManagerEvent>>;
}
