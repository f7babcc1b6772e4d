//! Whether a unit has become what was asked for: a pure look at what the API shows of it.
//!
//! Nothing here waits. The shell in `commands::waiting` hands in each picture as it comes, and does what the verdict says.

use std::collections::BTreeSet;
use std::fmt;

use fleet_api::v2::{Brake, Lost, Placement, Refusal, State, Unit, UnitState, Waiting};

/// What a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// On its machine and not started (`load`).
    Loaded,
    /// The same, or on no machine at all (`stop`): a unit that waits for a machine runs nowhere.
    Stopped,
    /// Started, and running or finished well as systemd says (`start`, `restart`).
    Launched,
    /// On no machine any more (`unload`, `submit`).
    Unloaded,
    /// Gone, also from the last machine (`destroy`).
    Destroyed,
}

/// One unit's goal, with the counters that the answer to the change gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What is waited for.
    pub goal: Goal,
    /// The order that must have been carried out, or a newer one.
    pub generation: u64,
    /// The restart counter that must have been reached.
    pub restarts: u64,
}

/// How far a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as asked for.
    Reached,
    /// It will not get there by waiting.
    Failed(Failure),
    /// It may get there.
    Waiting(Why),
}

/// Why waiting is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It does not exist any more.
    Gone,
    /// Somebody has asked for something else meanwhile.
    Superseded {
        /// What is wanted of it now.
        desired: State,
    },
    /// A machine tried, and it did not work.
    State {
        /// The machine's ID.
        machine: String,
        /// Its address, if it says one.
        ip: Option<String>,
        /// What it says of the unit.
        state: Box<UnitState>,
    },
}

/// What is waited for, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No machine can take it; with the reasons.
    NoMachine(String),
    /// The engine has not looked at it yet.
    NotPlaced,
    /// A machine has not said anything of it yet.
    Silent {
        /// The machine's ID.
        machine: String,
    },
    /// Nothing is heard of its machine: nobody knows how it is there.
    Lost {
        /// The machine's ID.
        machine: String,
        /// For how long, in milliseconds.
        silent_ms: u64,
    },
    /// A machine is at work.
    Doing {
        /// The machine's ID.
        machine: String,
        /// systemd's active state.
        active: String,
        /// systemd's sub state.
        sub: String,
    },
    /// A machine that is not to have it any more still has it.
    Leaving {
        /// The machine's ID.
        machine: String,
        /// systemd's active and sub state, if known.
        doing: Option<String>,
    },
}

/// Judges `unit` (`None`: it does not exist) against what is expected of it.
pub fn judge(unit: Option<&Unit>, expected: &Expected) -> Verdict {
    match (expected.goal, unit) {
        (Goal::Destroyed, None) => Verdict::Reached,
        (Goal::Destroyed, Some(unit)) => judge_destroyed(unit),
        (Goal::Unloaded, None) => Verdict::Failed(Failure::Gone),
        (Goal::Unloaded, Some(unit)) => judge_unloaded(unit, expected),
        (Goal::Loaded | Goal::Stopped | Goal::Launched, None) => Verdict::Failed(Failure::Gone),
        (Goal::Loaded | Goal::Stopped | Goal::Launched, Some(unit)) => judge_placed(unit, expected),
    }
}

/// Whether the unit is still known to the cluster, and not only shown because a machine has not let go of it yet.
pub fn exists(unit: &Unit) -> bool {
    0 < unit.generation
}

fn judge_destroyed(unit: &Unit) -> Verdict {
    // Somebody made it anew meanwhile; what was to be destroyed is gone as soon as no machine is still taking it away.
    let remade = exists(unit);
    match unit.placements.iter().find(|placement| !placement.placed || !remade) {
        Some(placement) => Verdict::Waiting(leaving(placement)),
        None => Verdict::Reached,
    }
}

fn judge_unloaded(unit: &Unit, expected: &Expected) -> Verdict {
    if let Some(failure) = superseded(unit, expected, State::Inactive) {
        return Verdict::Failed(failure);
    }
    match unit.placements.first() {
        Some(placement) => Verdict::Waiting(leaving(placement)),
        None => Verdict::Reached,
    }
}

fn judge_placed(unit: &Unit, expected: &Expected) -> Verdict {
    let desired = if expected.goal == Goal::Launched { State::Launched } else { State::Loaded };
    if let Some(failure) = superseded(unit, expected, desired) {
        return Verdict::Failed(failure);
    }
    let mut waiting = None;
    let mut n_placed = 0;
    // Where a global unit is lost it will be when its machine is back: that is nothing to wait for.
    let counts = |placement: &&Placement| placement.placed && !(unit.global && placement.lost.is_some());
    for placement in unit.placements.iter().filter(counts) {
        n_placed += 1;
        match judge_one(placement, expected, &unit.name) {
            Verdict::Reached => (),
            failed @ Verdict::Failed(_) => return failed,
            Verdict::Waiting(why) => waiting = waiting.or(Some(why)),
        }
    }
    match (n_placed, waiting) {
        (0, _) if expected.goal == Goal::Stopped && unit.placements.is_empty() => Verdict::Reached,
        (0, _) => Verdict::Waiting(match (unit.waiting.as_ref().and_then(no_machine), unit.placements.first()) {
            (Some(reasons), _) => Why::NoMachine(reasons),
            (None, Some(placement)) => leaving(placement),
            (None, None) => Why::NotPlaced,
        }),
        (_, Some(why)) => Verdict::Waiting(why),
        (_, None) => Verdict::Reached,
    }
}

/// Why no machine can take the unit, on one line; nothing if one can, and the engine is only not that far yet.
pub fn no_machine(waiting: &Waiting) -> Option<String> {
    if waiting.machines == 0 {
        return Some("there is no machine".to_owned());
    }
    let refusing: BTreeSet<&str> =
        waiting.refusals.iter().flat_map(|refusal| &refusal.machines).map(String::as_str).collect();
    let all_refuse = waiting.machines <= refusing.len() as u64;
    all_refuse.then(|| waiting.refusals.iter().map(refusal).collect::<Vec<String>>().join("; "))
}

/// How many machines one constraint refuses, and what was found on them: `2 machines: MachineMetadata=disk=ssd (has no disk)`.
pub fn refusal(refusal: &Refusal) -> String {
    let n = n_machines(refusal.machines.len());
    if refusal.reason.is_empty() {
        format!("{n}: {}", refusal.constraint)
    } else {
        format!("{n}: {} ({})", refusal.constraint, refusal.reason)
    }
}

/// The brake, loudly.
pub fn brake(brake: &Brake) -> String {
    let lost: Vec<String> = brake.lost.iter().map(|id| short_id(id)).collect();
    format!(
        "WARNING: the brake is on: {} lost at once, and nothing is moved until each is back or is given up with \
         `fleetctl machine give-up ID`: {}",
        n_machines(lost.len()),
        lost.join(" ")
    )
}

/// A time in its largest unit, rounded down: `35s`, `12min`, `3h`, `2d`.
pub fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}min", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// On how many machines a global unit has been taken as far as it is to be, and how many fit; `None` for other units.
pub fn share(unit: &Unit) -> Option<(usize, u64)> {
    let is_there = |placement: &&Placement| {
        let reached = placement.state.as_ref().map(|state| state.reached);
        placement.placed && placement.lost.is_none() && reached.is_some_and(|reached| unit.desired_state <= reached)
    };
    Some((unit.placements.iter().filter(is_there).count(), unit.fitting?))
}

/// `1 machine`, `2 machines`.
pub fn n_machines(n: usize) -> String {
    if n == 1 { "1 machine".to_owned() } else { format!("{n} machines") }
}

/// The unit on one machine.
fn judge_one(placement: &Placement, expected: &Expected, name: &str) -> Verdict {
    let machine = || placement.machine.clone();
    if let Some(Lost { silent_ms }) = placement.lost {
        return Verdict::Waiting(Why::Lost { machine: machine(), silent_ms });
    }
    let Some(state) = &placement.state else {
        return Verdict::Waiting(Why::Silent { machine: machine() });
    };
    let doing =
        || Verdict::Waiting(Why::Doing { machine: machine(), active: state.active.clone(), sub: state.sub.clone() });
    // What is said of an older order says nothing of ours: neither its error nor its `failed`.
    if state.generation < expected.generation || state.restarts < expected.restarts {
        return doing();
    }
    let failed = || {
        Verdict::Failed(Failure::State { machine: machine(), ip: placement.ip.clone(), state: Box::new(state.clone()) })
    };
    if !state.error.is_empty() {
        return failed();
    }
    match expected.goal {
        Goal::Launched => match systemd_says(state, name) {
            Said::Well => Verdict::Reached,
            Said::Badly => failed(),
            Said::NotYet => doing(),
        },
        Goal::Loaded | Goal::Stopped if state.reached != State::Loaded || state.active == "deactivating" => doing(),
        Goal::Loaded if state.load != "loaded" => failed(),
        Goal::Loaded | Goal::Stopped | Goal::Unloaded | Goal::Destroyed => Verdict::Reached,
    }
}

/// What systemd makes of a start that was carried out to the end.
enum Said {
    Well,
    Badly,
    NotYet,
}

fn systemd_says(state: &UnitState, name: &str) -> Said {
    match state.active.as_str() {
        // `refreshing` is of newer systemds.
        "active" | "reloading" | "refreshing" => Said::Well,
        "failed" => Said::Badly,
        // Waiting to be tried again after a failure: the start that was asked for did not work.
        "activating" if state.sub.starts_with("auto-restart") && !ended_well(state) => Said::Badly,
        "inactive" if name.ends_with(".service") && ended_well(state) => Said::Well,
        "inactive" => Said::Badly,
        _ => Said::NotYet,
    }
}

/// Whether the unit's last run ended well: `exec-condition` is a start that was rightly skipped, as systemctl sees it.
fn ended_well(state: &UnitState) -> bool {
    state.load == "loaded" && matches!(state.result.as_str(), "" | "success" | "exec-condition")
}

fn superseded(unit: &Unit, expected: &Expected, desired: State) -> Option<Failure> {
    if !exists(unit) {
        return Some(Failure::Gone);
    }
    (unit.desired_state != desired && expected.generation < unit.generation)
        .then_some(Failure::Superseded { desired: unit.desired_state })
}

fn leaving(placement: &Placement) -> Why {
    let doing = placement.state.as_ref().map(|state| format!("{} ({})", state.active, state.sub));
    Why::Leaving { machine: placement.machine.clone(), doing }
}

/// How many characters of a machine ID people see.
pub const SHORT_ID_LEN: usize = 8;

/// The short form of a machine ID: its first characters, and dots. Always with dots, as in the original.
pub fn short_id(machine: &str) -> String {
    let head: String = machine.chars().take(SHORT_ID_LEN).collect();
    format!("{head}...")
}

/// `ID8.../IP`, or without the address if there is none.
pub fn legend(machine: &str, ip: Option<&str>) -> String {
    match ip {
        Some(ip) => format!("{}/{ip}", short_id(machine)),
        None => short_id(machine),
    }
}

impl Why {
    /// The whole sentence for the unit `name`.
    pub fn sentence(&self, name: &str) -> String {
        match self {
            Why::NoMachine(summary) => format!("{name}: no machine can take it: {summary}"),
            other => format!("waiting for {name}: {other}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NoMachine(summary) => write!(f, "no machine can take it: {summary}"),
            Why::NotPlaced => f.write_str("no word from the engine yet"),
            Why::Silent { machine } => write!(f, "no word from {} yet", short_id(machine)),
            Why::Lost { machine, silent_ms } => {
                write!(f, "{} is lost, no news for {}", short_id(machine), age(*silent_ms))
            }
            Why::Doing { machine, active, sub } => {
                write!(f, "{active} ({sub}) on {}", short_id(machine))?;
                // It looks as if all were well; what is missing is the end of systemd's job.
                if active == "active" { f.write_str(", the order is not done yet") } else { Ok(()) }
            }
            Why::Leaving { machine, doing: Some(doing) } => write!(f, "{doing}, leaving {}", short_id(machine)),
            Why::Leaving { machine, doing: None } => write!(f, "leaving {}", short_id(machine)),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Gone => f.write_str("was destroyed meanwhile"),
            Failure::Superseded { desired } => {
                write!(f, "was asked to be {} meanwhile, by somebody else", desired.as_str())
            }
            Failure::State { machine, ip, state } => {
                let (active, sub) = (&state.active, &state.sub);
                write!(f, "failed on {}: {active} ({sub})", legend(machine, ip.as_deref()))?;
                if !matches!(state.load.as_str(), "" | "loaded") {
                    write!(f, ", Load: {}", state.load)?;
                }
                if !state.result.is_empty() {
                    write!(f, ", Result: {}", state.result)?;
                }
                if !state.error.is_empty() {
                    write!(f, ", {}", state.error)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Goal::Loaded | Goal::Stopped => "to report state loaded",
            Goal::Launched => "to report state launched",
            Goal::Unloaded => "to report state inactive",
            Goal::Destroyed => "to be gone",
        })
    }
}

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;
