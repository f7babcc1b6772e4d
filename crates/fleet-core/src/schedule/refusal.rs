//! Why one machine cannot take one unit.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::MachineId;
use crate::unit::{Glob, UnitName};

/// One reason why one machine cannot take one unit. A machine may have several.
///
/// Printed it reads as the end of a sentence that begins with the machine: "m1 ... lacks disk=ssd (has disk=hdd)".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The unit's file asks for what no machine can ever be (only files accepted leniently do).
    Never {
        /// What that is, in words.
        reason: String,
    },
    /// `MachineID` names another machine.
    MachineId {
        /// What it names.
        wanted: String,
    },
    /// It is cordoned: nothing new is placed on it.
    Cordoned,
    /// It is drained: nothing new is placed on it, and what is there moves away.
    Draining,
    /// It still stops the copy of this global unit that it had, and that may not run twice.
    Stopping,
    /// `MachineMetadata` is not met.
    Metadata {
        /// The key.
        key: String,
        /// The values that would do.
        wanted: BTreeSet<String>,
        /// What the machine has; `None` if it lacks the key.
        have: Option<String>,
    },
    /// A unit there, or one of the group that is to be placed together, is kept apart by `Conflicts`.
    Conflict {
        /// The other unit.
        with: UnitName,
        /// The pattern that says so.
        pattern: Glob,
        /// Whose file the pattern is in: the unit's own or the other's.
        whose: UnitName,
    },
    /// A unit that `MachineOf` names is placed, but not there.
    PeerElsewhere {
        /// That unit.
        peer: UnitName,
        /// Where it is; `None` for a global unit, which is on several machines.
        on: Option<MachineId>,
    },
    /// A unit that `MachineOf` names is on no machine.
    PeerNotPlaced {
        /// That unit.
        peer: UnitName,
        /// Why it is on none.
        state: PeerState,
    },
    /// `Replaces` names a unit there that has no other machine to go to.
    WouldReplace {
        /// The unit there.
        unit: UnitName,
        /// The pattern that names it.
        pattern: Glob,
    },
    /// A unit there replaces this one.
    ReplacedBy {
        /// The unit there.
        unit: UnitName,
        /// Its pattern.
        pattern: Glob,
    },
    /// Another unit, which `MachineOf` ties to this one so that both are placed together, is refused.
    GroupMember {
        /// The other unit.
        member: UnitName,
        /// Why it is refused.
        refusal: Box<Refusal>,
    },
}

/// Why a unit that `MachineOf` names is on no machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerState {
    /// There is no unit of that name.
    Unknown,
    /// It is a template, which never is.
    Template,
    /// Nobody wants it placed.
    Inactive,
    /// It is global, and no machine fits it.
    Nowhere,
}

impl PeerState {
    /// The state as the rest of a sentence about the unit.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerState::Unknown => "there is no such unit",
            PeerState::Template => "it is a template",
            PeerState::Inactive => "it is inactive",
            PeerState::Nowhere => "no machine fits it",
        }
    }
}

impl Refusal {
    /// The constraint behind it, with its value: what refusals of several machines are counted by.
    pub fn constraint(&self) -> String {
        match self {
            Refusal::Never { .. } => "what can never be met".to_owned(),
            Refusal::MachineId { wanted } => format!("MachineID={wanted}"),
            Refusal::Cordoned => "cordoned".to_owned(),
            Refusal::Draining => "drained".to_owned(),
            Refusal::Stopping => "being stopped".to_owned(),
            Refusal::Metadata { key, wanted, .. } => format!("MachineMetadata={}", pairs(key, wanted)),
            Refusal::Conflict { pattern, .. } => format!("Conflicts={}", pattern.as_str()),
            Refusal::PeerElsewhere { peer, .. } | Refusal::PeerNotPlaced { peer, .. } => format!("MachineOf={peer}"),
            Refusal::WouldReplace { pattern, .. } | Refusal::ReplacedBy { pattern, .. } => {
                format!("Replaces={}", pattern.as_str())
            }
            Refusal::GroupMember { member, refusal } => format!("{} of {member}", refusal.constraint()),
        }
    }

    /// What was found on the machine, in a few words to be read after the constraint; empty if that says it all.
    pub fn finding(&self) -> String {
        match self {
            Refusal::Never { reason } => reason.clone(),
            Refusal::MachineId { .. } | Refusal::Cordoned | Refusal::Draining | Refusal::Stopping => String::new(),
            Refusal::Metadata { key, have: Some(have), .. } => format!("has {key}={have}"),
            Refusal::Metadata { key, have: None, .. } => format!("has no {key}"),
            Refusal::Conflict { with, whose, .. } if whose == with => format!("of {with}"),
            Refusal::Conflict { with, .. } => with.to_string(),
            Refusal::PeerElsewhere { on: Some(on), .. } => format!("it is on {on}"),
            Refusal::PeerElsewhere { on: None, .. } => "it is on other machines".to_owned(),
            Refusal::PeerNotPlaced { state, .. } => state.as_str().to_owned(),
            Refusal::WouldReplace { unit, .. } => format!("{unit} would have to go and fits nowhere else"),
            Refusal::ReplacedBy { unit, .. } => format!("by {unit}"),
            Refusal::GroupMember { refusal, .. } => refusal.finding(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Never { reason } => write!(f, "can never be what the file asks for: {reason}"),
            Refusal::MachineId { wanted } => write!(f, "is not {wanted}"),
            Refusal::Cordoned => f.write_str("is cordoned"),
            Refusal::Draining => f.write_str("is drained"),
            Refusal::Stopping => f.write_str("still stops the copy that it had"),
            Refusal::Metadata { key, wanted, have: Some(have) } => {
                write!(f, "lacks {} (has {key}={have})", pairs(key, wanted))
            }
            Refusal::Metadata { key, wanted, have: None } => write!(f, "lacks {} (has no {key})", pairs(key, wanted)),
            Refusal::Conflict { with, .. } => write!(f, "conflicts with {with}"),
            Refusal::PeerElsewhere { peer, on: Some(on) } => write!(f, "does not have {peer}, which is on {on}"),
            Refusal::PeerElsewhere { peer, on: None } => write!(f, "does not have {peer}"),
            Refusal::PeerNotPlaced { peer, state } => write!(f, "does not have {peer}: {}", state.as_str()),
            Refusal::WouldReplace { unit, .. } => write!(f, "has {unit}, which would have to go and fits nowhere else"),
            Refusal::ReplacedBy { unit, .. } => write!(f, "has {unit}, which replaces it"),
            Refusal::GroupMember { member, refusal } => write!(f, "cannot take {member} with it: {refusal}"),
        }
    }
}

/// `disk=nvme or disk=ssd`
fn pairs(key: &str, values: &BTreeSet<String>) -> String {
    let pairs: Vec<String> = values.iter().map(|value| format!("{key}={value}")).collect();
    pairs.join(" or ")
}
