//! The keys of the registry, typed.

use std::fmt;
use std::str::FromStr;

use fleet_core::model::MachineId;
use fleet_core::unit::{UnitHash, UnitName};

use crate::Keys;

const UNITS: &str = "units/";
const FILES: &str = "files/";
const MACHINES: &str = "machines/";
const METADATA: &str = "metadata/";
const CORDON: &str = "cordon/";
const DRAIN: &str = "drain/";
const GIVEN_UP: &str = "given-up/";
const OPERATORS: &str = "operators/";
const REQUESTS: &str = "requests/";
const BRAKE: &str = "brake";
const PLACEMENTS: &str = "placements/";
const STATES: &str = "states/";
const LEADER: &str = "leader";

/// A key of the registry. `Display` is the key in the store; [`Key::parse`] reads it back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `units/NAME`: what is wanted of a unit. Written by the API.
    Unit(UnitName),
    /// `files/HASH`: a unit file, shared by all units with that hash. Written by the API.
    File(UnitHash),
    /// `machines/ID`: a machine that is present, on its lease. Written by its agent.
    Machine(MachineId),
    /// `metadata/ID/KEY`: dynamic metadata, laid over what the machine says itself. Written by the API.
    Metadata(MachineId, MetadataKey),
    /// `cordon/ID`: nothing new is placed on the machine. Written by the API; survives the machine's absence.
    Cordon(MachineId),
    /// `drain/ID`: the same, and what is there moves away. Written by the API; survives the machine's absence.
    Drain(MachineId),
    /// `given-up/ID`: the machine is off and does not come back. Written by the API; ends when it comes back all the same.
    GivenUp(MachineId),
    /// `operators/ID`: when operators last said anything of the machine (metadata, cordon, drain, given up), so that it can be told
    /// whether they have since. Written with each of these, by the API; never deleted.
    Operators(MachineId),
    /// `requests/ID/N`: what came of a request that may be sent again, in pieces counted from 0. Written with its effects, by the
    /// API, on a lease that ends when nobody sends it again any more.
    Request(RequestId, u32),
    /// `placements/ID/NAME`: the order to one machine about one unit. Written by the leader.
    Placement(MachineId, UnitName),
    /// `states/ID/NAME`: what systemd says there, on the machine's lease. Written by its agent.
    State(MachineId, UnitName),
    /// `leader`: the engine that leads, on its lease.
    Leader,
    /// `brake`: so many machines are lost that nothing is moved. Written by the leader.
    Brake,
}

impl Key {
    /// Reads a key; `None` for one that this version of fleet does not know.
    #[must_use]
    pub fn parse(key: &str) -> Option<Key> {
        fn pair<A: FromStr, B: FromStr>(rest: &str) -> Option<(A, B)> {
            let (first, second) = rest.split_once('/')?;
            Some((first.parse().ok()?, second.parse().ok()?))
        }
        if key == LEADER {
            return Some(Key::Leader);
        }
        if key == BRAKE {
            return Some(Key::Brake);
        }
        let (folder, rest) = key.split_at(key.find('/')? + 1);
        match folder {
            UNITS => rest.parse().ok().map(Key::Unit),
            // A hash can be written in capitals too; only the form that `Display` gives is the key.
            FILES => rest.parse().ok().map(Key::File).filter(|parsed| parsed.to_string() == key),
            MACHINES => rest.parse().ok().map(Key::Machine),
            METADATA => pair(rest).map(|(machine, name)| Key::Metadata(machine, name)),
            CORDON => rest.parse().ok().map(Key::Cordon),
            DRAIN => rest.parse().ok().map(Key::Drain),
            GIVEN_UP => rest.parse().ok().map(Key::GivenUp),
            OPERATORS => rest.parse().ok().map(Key::Operators),
            // One way to write each number: `00` would be another key.
            REQUESTS => pair(rest)
                .map(|(request, piece)| Key::Request(request, piece))
                .filter(|parsed| parsed.to_string() == key),
            PLACEMENTS => pair(rest).map(|(machine, unit)| Key::Placement(machine, unit)),
            STATES => pair(rest).map(|(machine, unit)| Key::State(machine, unit)),
            _ => None,
        }
    }

    /// Everything in the registry.
    #[must_use]
    pub fn all() -> Keys {
        Keys::Prefix(String::new())
    }

    /// The orders to one machine: all that its agent watches.
    #[must_use]
    pub fn placements_of(machine: &MachineId) -> Keys {
        Keys::Prefix(format!("{PLACEMENTS}{machine}/"))
    }

    /// What one machine has reported.
    #[must_use]
    pub fn states_of(machine: &MachineId) -> Keys {
        Keys::Prefix(format!("{STATES}{machine}/"))
    }

    /// What came of one request, piece by piece.
    #[must_use]
    pub fn pieces_of(request: &RequestId) -> Keys {
        Keys::Prefix(format!("{REQUESTS}{request}/"))
    }

    /// This key alone.
    #[must_use]
    pub fn one(&self) -> Keys {
        Keys::One(self.to_string())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Unit(unit) => write!(f, "{UNITS}{unit}"),
            Key::File(hash) => write!(f, "{FILES}{hash}"),
            Key::Machine(machine) => write!(f, "{MACHINES}{machine}"),
            Key::Metadata(machine, name) => write!(f, "{METADATA}{machine}/{name}"),
            Key::Cordon(machine) => write!(f, "{CORDON}{machine}"),
            Key::Drain(machine) => write!(f, "{DRAIN}{machine}"),
            Key::GivenUp(machine) => write!(f, "{GIVEN_UP}{machine}"),
            Key::Operators(machine) => write!(f, "{OPERATORS}{machine}"),
            Key::Request(request, piece) => write!(f, "{REQUESTS}{request}/{piece}"),
            Key::Placement(machine, unit) => write!(f, "{PLACEMENTS}{machine}/{unit}"),
            Key::State(machine, unit) => write!(f, "{STATES}{machine}/{unit}"),
            Key::Leader => f.write_str(LEADER),
            Key::Brake => f.write_str(BRAKE),
        }
    }
}

/// Which request a client may send again: the SHA-1 of the word that the client gave it, so that any word can stand in a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(String); // Invariant: 40 hex digits, small.

/// Why a text is no [`RequestId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no request: it has 40 digits of 0-9 and a-f")]
pub struct RequestIdError {
    /// What was given.
    pub given: String,
}

impl RequestId {
    /// The one that goes with a client's word.
    #[must_use]
    pub fn of_word(word: &str) -> RequestId {
        RequestId(UnitHash::of_canonical(word).to_string())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(given: &str) -> Result<RequestId, RequestIdError> {
        let is_small = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match given.len() == 40 && given.bytes().all(is_small) {
            true => Ok(RequestId(given.to_owned())),
            false => Err(RequestIdError { given: given.to_owned() }),
        }
    }
}

/// The name of one piece of dynamic metadata.
///
/// Static metadata, which a machine says of itself, may have any name; a dynamic one stands in a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataKey(String); // Invariant: accepted by `MetadataKey::from_str`.

/// Longest [`MetadataKey`] in bytes.
pub const METADATA_KEY_LEN_MAX: usize = 255;

/// Why a text is no metadata key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is no metadata key: it has 1 to {METADATA_KEY_LEN_MAX} letters, digits, `_`, `.` and `-`, and is not `.` or `..`"
)]
pub struct MetadataKeyError {
    /// What was given.
    pub given: String,
}

impl MetadataKey {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MetadataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MetadataKey {
    type Err = MetadataKeyError;

    /// The alphabet is that of the original's API (`[A-Za-z0-9_.-]+`); `.` and `..` escaped its folder and are refused.
    fn from_str(given: &str) -> Result<MetadataKey, MetadataKeyError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let sized = (1..=METADATA_KEY_LEN_MAX).contains(&given.len());
        if sized && given.bytes().all(legal) && given != "." && given != ".." {
            Ok(MetadataKey(given.to_owned()))
        } else {
            Err(MetadataKeyError { given: given.to_owned() })
        }
    }
}
