//! API v2: the wire types.
//!
//! Paths are under `/fleet/v2`. Bodies are JSON; streams are JSON lines (one object a line). Every error is a
//! [`Problem`] (RFC 9457). A reader ignores fields it does not know.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

mod count;
mod event;
mod exec;
mod field;
mod machine;
mod plan;
mod problem;
mod unit_tools;

pub use count::{Counts, MachineCounts, MachineState, PlacementState, StateList, UnitCounts};
pub use event::{Event, EventKind, Order, Present, Wanted};
pub use exec::{
    Base64Error, EXEC_COMMAND_BYTES_MAX, EXEC_STDIN_BYTES_MAX, EXEC_WORDS_MAX, ExecEnded, ExecEvent, ExecQuery,
    ExecRequest, ExecStarted,
};
pub use field::{MachineField, Selection, StateField, UnitField};
pub use machine::{
    Brake, DRAIN_MAX, DrainProgress, DrainRequest, DrainStep, DrainUnit, Draining, METADATA_CHANGES_MAX, Machine,
    MachineList, MetadataPatch,
};
pub use plan::{Explanation, Fate, MachineAnswer, MachineRefusal, PlanRequest, PlanResponse, PlannedUnit, Situation};
pub use problem::{Finding, PROBLEMS_PATH, Problem, ProblemKind, ProblemType};
pub use unit_tools::{
    Act, ActRequest, Acted, PROPERTIES_MAX, PropertiesQuery, Property, STATUS_LINES_MAX, StatusQuery, UnitProperties,
    WORD_LEN_MAX, Whom,
};

/// The path under which all of this lies.
pub const PREFIX: &str = "/fleet/v2";

/// Most changes in one request.
///
/// Enough for any directory of unit files; it bounds what one request can keep in memory.
pub const CHANGES_MAX: usize = 10_000;

/// How long an `Idempotency-Key` is known at least, in seconds.
pub const IDEMPOTENCY_KEPT_S: u64 = 600;

/// Most entries that can be asked for with `limit`. Without it a list is whole.
pub const LIMIT_MAX: usize = 10_000;

/// Longest `Idempotency-Key`, in characters.
pub const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;

/// How far one unit is to be taken, or has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Known to the cluster, on no machine.
    Inactive,
    /// Placed and known to the machine's systemd, not started.
    Loaded,
    /// Placed and started.
    Launched,
}

impl State {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Inactive => "inactive",
            State::Loaded => "loaded",
            State::Launched => "launched",
        }
    }
}

/// A word that is none of those that are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of {known}")]
pub struct WordError {
    /// Those that are known.
    pub known: String,
}

/// The one of `all` whose word it is.
fn word<T: Copy>(given: &str, all: &[T], as_str: impl Fn(T) -> &'static str) -> Result<T, WordError> {
    let found = all.iter().copied().find(|one| as_str(*one) == given);
    found.ok_or_else(|| WordError { known: all.iter().map(|one| as_str(*one)).collect::<Vec<_>>().join(", ") })
}

impl std::str::FromStr for State {
    type Err = WordError;

    fn from_str(given: &str) -> Result<State, WordError> {
        word(given, &[State::Inactive, State::Loaded, State::Launched], State::as_str)
    }
}

/// One unit with all that is known of it: `GET /units`, `GET /units/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// SHA-1 of its file's canonical form, 40 hex digits.
    pub hash: String,
    /// What the user asked for.
    pub desired_state: State,
    /// What has been reached: the least of all its placements; `inactive` without one.
    pub current_state: State,
    /// One more for each change of file or desired state and for each request to start. 0: it was destroyed, and is shown only
    /// because a machine has not let go of it yet.
    pub generation: u64,
    /// One more for each restart asked for.
    pub restarts: u64,
    /// Whether it runs on every machine that fits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub global: bool,
    /// Of a global unit: how many of the machines that are present meet what it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitting: Option<u64>,
    /// The first `Description=` of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it is, by machine ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<Placement>,
    /// Why it is nowhere although it is wanted (for a global unit: nowhere at all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// One unit on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placement {
    /// The machine's ID.
    pub machine: String,
    /// The machine's address, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Whether the machine is still meant to have the unit; `false` while it is being taken away.
    pub placed: bool,
    /// Whether the newest order has been carried out to the end there, well or not.
    pub done: bool,
    /// What the machine says, if it has said anything yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<UnitState>,
    /// Nothing is heard of the machine: nobody knows what the unit does there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
}

/// Nothing is heard of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lost {
    /// For how long, in milliseconds, as far as the daemon that answers knows: it counts from its own start at most.
    pub silent_ms: u64,
}

/// What a machine says of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitState {
    /// systemd's load state.
    pub load: String,
    /// systemd's active state.
    pub active: String,
    /// systemd's sub state.
    pub sub: String,
    /// systemd's result of the last run; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// The file that the machine has.
    pub hash: String,
    /// The newest generation that was carried out.
    pub generation: u64,
    /// The restart counter that was carried out.
    pub restarts: u64,
    /// How far the machine has taken it.
    pub reached: State,
    /// Why the order could not be carried out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// When `active` and `sub` last changed, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// Why a wanted unit has no machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// All of it on one line.
    pub summary: String,
    /// How many machines there are.
    pub machines: u64,
    /// Per constraint, how many machines it refuses and why. A machine may count in several.
    pub refusals: Vec<Refusal>,
}

/// One constraint that refuses machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The constraint as the user would write it (`MachineMetadata=disk=ssd`).
    pub constraint: String,
    /// What was found on these machines, to be read after the constraint (`has no disk`); empty if that says it all.
    pub reason: String,
    /// The machines it refuses, by ID.
    pub machines: Vec<String>,
}

/// `GET /units`: the units, by name; also those that were destroyed and that a machine has not let go of yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitList {
    /// The store's revision that this shows.
    pub revision: u64,
    /// The units.
    pub units: Vec<Unit>,
    /// There are more: ask again with `after=` this. Only with `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `GET /units/NAME/file`: a unit file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitFile {
    /// The unit.
    pub name: String,
    /// SHA-1 of the canonical form.
    pub hash: String,
    /// As the user wrote it, with comments.
    pub text: String,
    /// As fleet and systemd read it.
    pub canonical: String,
}

/// `POST /changes`: what shall be changed. Each change stands for itself: one that is refused does not hinder the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeRequest {
    /// The changes, at most [`CHANGES_MAX`]; a unit may occur once.
    pub changes: Vec<Change>,
}

/// One change of one unit. Several parts may be given at once: file, state, restart; `destroy` stands alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The unit.
    pub name: String,
    /// Its file, to create it, or (with `replace`) to replace another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Create the unit, if it does not exist, from the template in the cluster. Not together with `text`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_template: bool,
    /// Whether `text` may take the place of a different file. Without it a different file is refused (409).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// Whether mistakes in `[X-Fleet]` that the original ignored are warnings and not errors.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lenient: bool,
    /// How far the unit is to be taken. Absent: as before; `inactive` for a new unit. Asking for `launched` again is a
    /// request to start: it starts a unit that has failed, ended or was stopped by hand, and leaves a running one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<State>,
    /// Restart the unit where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
    /// Stop the unit, remove it from its machine and forget it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroy: bool,
    /// Only if the unit has this generation; 0: only if there is none. Else it is refused as `precondition-failed` (412).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// `PUT /units/NAME`: what the unit shall be. It is created, or its file is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitPut {
    /// Its file.
    pub text: String,
    /// How far it is to be taken. Absent: as before; `inactive` for a new unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<State>,
    /// As [`Change::lenient`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lenient: bool,
}

/// `PATCH /units/NAME`: one of the two; with neither nothing is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitPatch {
    /// As [`Change::desired_state`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<State>,
    /// As [`Change::restart`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
}

/// The answer to `PUT`, `PATCH` and `DELETE` of `/units/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitChanged {
    /// The store's revision after it: reads from the same daemon show at least this.
    pub revision: u64,
    /// What became of the unit; never `refused`, which is a [`Problem`].
    pub result: ChangeResult,
}

/// What became of the changes, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeResponse {
    /// The store's revision after the last change: reads from the same daemon show at least this.
    pub revision: u64,
    /// One result each.
    pub results: Vec<ChangeResult>,
}

/// What became of one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeResult {
    /// The unit.
    pub name: String,
    /// What happened.
    pub outcome: Outcome,
    /// The unit's generation afterwards; 0 if there is none.
    #[serde(default)]
    pub generation: u64,
    /// The unit's restart counter afterwards.
    #[serde(default)]
    pub restarts: u64,
    /// Warnings about its file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it was refused (`outcome` is `refused`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What happened to one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did not exist and does now.
    Created,
    /// Its file was replaced.
    Replaced,
    /// Its desired state was set, a start or restart was asked for.
    Changed,
    /// It was as wanted already.
    Unchanged,
    /// It does not exist any more.
    Destroyed,
    /// Nothing was done; see `problem`.
    Refused,
}

/// `POST /watch`: follow some units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WatchRequest {
    /// Their names; empty for all.
    #[serde(default)]
    pub units: Vec<String>,
    /// Begin with a picture that shows at least this revision.
    #[serde(default)]
    pub revision: u64,
}

/// One line of the answer to `POST /watch`: first one for each unit as it is, then one line for each change, as long as the
/// client listens. Several changes in short order may come as one. While nothing changes, a line without a name comes every
/// 5 s ([`HEARTBEAT_S`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WatchEvent {
    /// The store's revision that this shows.
    pub revision: u64,
    /// The unit's name; empty on the line that says that all units have been shown once, and on those that only show that the
    /// connection lives.
    pub name: String,
    /// The unit, or nothing if it does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// The answer to a change that has no other answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The store's revision after it.
    pub revision: u64,
}

/// `GET /units/NAME/status?machine=ID`: what `systemctl status` prints on the unit's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusText {
    /// The machine that was asked.
    pub machine: String,
    /// Its words.
    pub text: String,
    /// systemctl's exit code: 0 running, 3 not running, 4 unknown.
    pub exit_code: i32,
}

/// The query of `GET /units/NAME/journal`; the answer is plain text as journalctl prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JournalQuery {
    /// Which machine's; needed only for a unit that is on several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// How many of the last lines, at most [`JOURNAL_LINES_MAX`]. Default 10; all with `since`, `until` or `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
    /// Whether to go on with new lines as they come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// journalctl's output mode; default `short`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Only lines of the unit's present run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub this_run: bool,
    /// Only lines behind the one with this cursor (`__CURSOR` of the output mode `json`): to go on where a reader was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Only lines of this time or later, in systemd's words (`-1h`, `yesterday`, `2026-11-22 18:00`), by the machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only lines of this time or earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only lines since the unit was placed on the machine: what it said there in former times is left out. Not with `since`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub since_placed: bool,
    /// The time zone of times that are read and printed, as the tz database names it. Default: the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// An empty line, always between two lines, when nothing came for 5 s ([`HEARTBEAT_S`]): a reader that hears nothing for 15 s
    /// ([`SILENCE_LIMIT_S`]) knows that the connection is dead. Only with `follow`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heartbeat: bool,
    /// Another fleetd asks: what is not on a machine of the one that is asked is not sent on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
}

/// How long a stream is silent at most, in seconds: then something comes that says nothing but that the connection lives. The streams
/// are `GET /events`, `POST /watch`, and a followed journal with `heartbeat`. Proxies close what is silent for a minute.
pub const HEARTBEAT_S: u64 = 5;

/// How long a reader of such a stream waits until it takes the connection for dead, in seconds: a network that drops packets
/// silently ends no connection. Three heartbeats, so that a daemon or a network that is slow for a while is not lost.
pub const SILENCE_LIMIT_S: u64 = 3 * HEARTBEAT_S;

/// Most lines of a journal in one answer that does not follow.
pub const JOURNAL_LINES_MAX: u32 = 100_000;

/// `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
}
