//! The nouns: machines, units, placements, states, and the picture of a cluster made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::unit::{Requirements, UnitHash, UnitName, WhenIsolated};

/// A moment, in milliseconds since the Unix epoch. Always an argument: nothing in this crate asks a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `ms` milliseconds after this one.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

/// The store's counter. Every write of a transaction carries the same one, and it only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Counts what was asked of one unit: each new file, target state or start request is one more.
///
/// A placement carries the generation it was made for, and an agent refuses an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A machine's identity: the content of its `/etc/machine-id`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(Arc<str>); // Invariant: accepted by `MachineId::from_str`.

/// Longest machine ID in bytes. systemd's own are 32; room is left for hand-made ones.
pub const MACHINE_ID_LEN_MAX: usize = 64;

/// How many leading characters of a machine ID make its short form, which `MachineID=` accepts as well.
pub const MACHINE_ID_SHORT_LEN: usize = 8;

impl MachineId {
    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight characters, or all of a shorter ID.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(MACHINE_ID_SHORT_LEN)]
    }

    /// Whether `MachineID=wanted` names this machine: its whole ID, or exactly its short form.
    pub fn is_named_by(&self, wanted: &str) -> bool {
        wanted == self.as_str() || (wanted.len() == MACHINE_ID_SHORT_LEN && wanted == self.short())
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no machine ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineIdError {
    /// Nothing there.
    #[error("a machine ID cannot be empty")]
    Empty,
    /// More than [`MACHINE_ID_LEN_MAX`] bytes.
    #[error("machine ID `{id}` is longer than {MACHINE_ID_LEN_MAX} bytes")]
    TooLong {
        /// What was given.
        id: String,
    },
    /// A character that cannot stand in a key or a path.
    #[error(
        "machine ID `{id}` has the character {ch:?}; letters, digits, `-`, `_` and `.` are allowed, and not at first a `.`"
    )]
    BadChar {
        /// What was given.
        id: String,
        /// The first offending character.
        ch: char,
    },
}

impl FromStr for MachineId {
    type Err = MachineIdError;

    fn from_str(id: &str) -> Result<MachineId, MachineIdError> {
        if id.is_empty() {
            return Err(MachineIdError::Empty);
        }
        if MACHINE_ID_LEN_MAX < id.len() {
            return Err(MachineIdError::TooLong { id: id.to_owned() });
        }
        let legal = |ch: char| ch.is_ascii_alphanumeric() || "-_.".contains(ch);
        let first_is_dot = id.starts_with('.').then_some('.');
        if let Some(ch) = id.chars().find(|&ch| !legal(ch)).or(first_is_dot) {
            return Err(MachineIdError::BadChar { id: id.to_owned(), ch });
        }
        Ok(MachineId(id.into()))
    }
}

/// How far one unit is to be taken (API v1: `desiredState`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetState {
    /// Known to the cluster, on no machine.
    #[default]
    Inactive,
    /// Placed on a machine and known to its systemd, not started; stopped if it ran.
    Loaded,
    /// Placed and started.
    Launched,
}

impl TargetState {
    /// The word used in files, APIs and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            TargetState::Inactive => "inactive",
            TargetState::Loaded => "loaded",
            TargetState::Launched => "launched",
        }
    }
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A target state that is none of the three.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no target state: use `inactive`, `loaded` or `launched`")]
pub struct TargetStateError {
    /// What was given.
    pub given: String,
}

impl FromStr for TargetState {
    type Err = TargetStateError;

    fn from_str(given: &str) -> Result<TargetState, TargetStateError> {
        match given {
            "inactive" => Ok(TargetState::Inactive),
            "loaded" => Ok(TargetState::Loaded),
            "launched" => Ok(TargetState::Launched),
            _ => Err(TargetStateError { given: given.to_owned() }),
        }
    }
}

/// One unit as the user wants it: key `units/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its file, by content.
    pub hash: UnitHash,
    /// How far it is to be taken.
    pub target: TargetState,
    /// One more for each change of file or target state and for each request to start.
    pub generation: Generation,
    /// One more for each restart asked for.
    pub restarts: u64,
    /// When this was last changed.
    pub changed: Timestamp,
    /// What placement needs to know of its file, with the name's specifiers filled in.
    ///
    /// Derived from the file, not stored beside it.
    pub requirements: Arc<Requirements>,
}

/// The complete order to one machine about one unit: key `placements/MACHINE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The file to run.
    pub hash: UnitHash,
    /// How far to take it; never `Inactive` (then there is no placement).
    pub target: TargetState,
    /// The generation of the unit that this order is for.
    pub generation: Generation,
    /// The unit's restart counter at that time.
    pub restarts: u64,
    /// What becomes of the unit when the machine is isolated. It is in the file too; here it is for a machine that has to
    /// know it when it cannot ask for the file.
    pub when_isolated: WhenIsolated,
    /// The unit leaves this machine; the revision at which that was decided, by which the machine's answer is known.
    ///
    /// With the target `launched`: keep running what runs, start nothing; the order goes when the unit's other placement is
    /// up. With the target `loaded`: stop it; the unit is placed elsewhere, if it is wanted, when that is done.
    ///
    /// A leaving order is no placement of its unit: it satisfies no `MachineOf` and is not counted where one placement at
    /// most is allowed. It occupies its machine all the same: for `Conflicts` and for the load.
    pub leaving: Option<Revision>,
}

impl Placement {
    /// Whether the unit leaves the machine.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether it is the order to stop a unit that leaves.
    pub fn is_stop(&self) -> bool {
        self.is_leaving() && self.target == TargetState::Loaded
    }
}

/// A machine that is present: key `machines/ID`, with the dynamic metadata laid over the static.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Where it can be reached, empty if it does not say.
    pub public_ip: String,
    /// Merged metadata: what constraints are held against.
    pub metadata: BTreeMap<String, String>,
    /// The version of its `fleetd`.
    pub version: String,
    /// Nothing new is placed on it; what is there stays. Key `cordon/ID`, which survives the machine's absence.
    pub cordoned: bool,
    /// Nothing new is placed on it, and what is there and may move is moved away. Key `drain/ID`, which survives the
    /// machine's absence.
    pub draining: Option<Drain>,
}

impl Machine {
    /// Whether it takes what it does not have yet.
    pub fn is_open(&self) -> bool {
        !self.cordoned && self.draining.is_none()
    }
}

/// How a machine is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// So many of its units may be on their way to other machines at once; units that `MachineOf` ties together go
    /// together, however many they are.
    pub max_at_once: u32,
}

/// How many units of a drained machine are on their way at once unless it is said otherwise.
///
/// Nomad moves one instance of a group at a time and kubectl evicts all pods at once. This is between them: a start that
/// takes long does not hold up everything, and the machines that take the units are not flooded.
pub const DRAIN_MAX_DEFAULT: u32 = 4;

/// So many machines are lost at once that nothing of them is moved: key `brake`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brake {
    /// Since when.
    pub since: Timestamp,
    /// The machines that are waited for: each comes back, or is given up by an operator. Never empty.
    pub lost: BTreeSet<MachineId>,
}

/// A machine that has orders and is not present: how far the cluster has given up waiting for it.
///
/// What a machine's units do while nobody hears of it, nobody knows. So this is about time only: each step is the promise
/// that the machine had that much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Absence {
    /// It may be back in a moment: nothing of it is touched. Also where nobody has counted the time.
    #[default]
    Held,
    /// The grace is over. Units of which one copy at least shall run ([`crate::unit::WhenIsolated::Keep`]) are placed
    /// elsewhere; those of which there shall never be two are held, because they may still run there.
    StopHeld,
    /// The machine has had the time to stop what must not run twice: all its units are placed elsewhere.
    Gone,
    /// An operator says that it is off and does not come back (key `given-up/ID`), or it was away for very long: its
    /// orders go, as if it had never been.
    GivenUp,
}

/// What systemd says of one unit on one machine: key `states/MACHINE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState {
    /// systemd's load state: `loaded`, `not-found`, `bad-setting`, ...
    pub load: String,
    /// systemd's active state: `active`, `activating`, `failed`, ...
    pub active: String,
    /// systemd's sub state: `running`, `start-pre`, `dead`, ...
    pub sub: String,
    /// systemd's result of the last run (`success`, `exit-code`, `timeout`, ...), empty if there is none.
    pub result: String,
    /// The file that the machine has.
    pub hash: UnitHash,
    /// The newest generation whose order was carried out to the end, well or not; `error` speaks of this one.
    pub done: Generation,
    /// The restart counter that was carried out.
    pub restarts: u64,
    /// How far the machine has taken it.
    pub reached: TargetState,
    /// Why the order could not be carried out, in words; empty if it could.
    pub error: String,
    /// When `active` and `sub` last changed, as the machine saw it.
    pub since: Timestamp,
    /// The leaving order ([`Placement::leaving`]) by which nothing of the unit runs there any more.
    pub left: Option<Revision>,
}

impl UnitState {
    /// What decisions need to know of it.
    pub fn report(&self) -> Report {
        let ended_well = self.active == "inactive" && matches!(self.result.as_str(), "" | "success");
        let as_ordered = match self.reached {
            TargetState::Inactive => false,
            TargetState::Loaded => true,
            TargetState::Launched => matches!(self.active.as_str(), "active" | "reloading") || ended_well,
        };
        Report { done: self.done, is_up: as_ordered && self.error.is_empty(), left: self.left }
    }
}

/// What decisions need to know of a machine's newest report about a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The newest generation whose order was carried out to the end, well or not.
    pub done: Generation,
    /// That went well, and what it started runs or has ended well.
    pub is_up: bool,
    /// The leaving order by which nothing of the unit runs there any more.
    pub left: Option<Revision>,
}

impl Report {
    /// Whether the machine has said, of this very order, that the unit left it.
    pub fn has_left(&self, order: &Placement) -> bool {
        order.is_leaving() && self.left == order.leaving
    }
}

/// What a decision is made on: one consistent picture of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// As of which revision of the store.
    pub revision: Revision,
    /// All units, templates too.
    pub units: BTreeMap<UnitName, Unit>,
    /// The machines that are present.
    pub machines: BTreeMap<MachineId, Machine>,
    /// All placements, by machine, then unit.
    pub placements: BTreeMap<MachineId, BTreeMap<UnitName, Placement>>,
    /// How long machines have been away, of those that have placements and are not present; [`Absence::Held`] where it is
    /// not said. The store knows only who was given up: the rest is the engine's, which counts the time.
    pub absent: BTreeMap<MachineId, Absence>,
    /// What machines have reported, by machine, then unit.
    pub reports: BTreeMap<MachineId, BTreeMap<UnitName, Report>>,
    /// Whether so many machines are lost that nothing is moved.
    pub brake: Option<Brake>,
}

impl Cluster {
    /// How long the machine has been away; `None` if it is present. What the brake waits for is held, however long that
    /// takes, until an operator gives it up.
    pub fn absence(&self, id: &MachineId) -> Option<Absence> {
        let is_waited_for = self.brake.as_ref().is_some_and(|brake| brake.lost.contains(id));
        let absence = || match self.absent.get(id).copied().unwrap_or_default() {
            Absence::GivenUp => Absence::GivenUp,
            _ if is_waited_for => Absence::Held,
            counted => counted,
        };
        (!self.machines.contains_key(id)).then(absence)
    }

    /// What the machine reports of the unit.
    pub fn report(&self, id: &MachineId, name: &UnitName) -> Option<&Report> {
        self.reports.get(id)?.get(name)
    }
}
