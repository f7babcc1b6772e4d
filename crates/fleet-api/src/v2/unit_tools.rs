//! What is asked of a unit's systemd on its machine: what it knows of the unit, and what it is to do with it at once. Neither changes
//! what is wanted of the unit.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;

/// Most lines of the journal in one status.
pub const STATUS_LINES_MAX: u32 = 10_000;

/// Most properties that one request can ask for by name. systemd knows fewer of any unit.
pub const PROPERTIES_MAX: usize = 500;

/// Longest name of a property or a signal, in bytes. systemd's longest have about 40.
pub const WORD_LEN_MAX: usize = 64;

/// The query of `GET /units/NAME/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatusQuery {
    /// Only on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// How many of the last lines of the journal, at most 10,000; default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 10_000)]
    pub lines: Option<u32>,
    /// As in [`JournalQuery`](super::JournalQuery).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
}

/// The query of `GET /units/NAME/properties`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PropertiesQuery {
    /// Only on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Only these, with commas between, as systemd names them: `MainPID,ActiveState`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(pattern = "^[A-Za-z0-9]{1,64}(,[A-Za-z0-9]{1,64})*$")]
    pub names: Option<String>,
    /// As in [`JournalQuery`](super::JournalQuery).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
}

/// `GET /units/NAME/properties`: what one machine's systemd knows of the unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitProperties {
    /// The machine that was asked.
    pub machine: String,
    /// The properties in the order in which systemctl shows them; one that has several values is there several times.
    pub properties: Vec<Property>,
    /// Why the machine could not be asked; then there are no properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// One property of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Property {
    /// As systemd names it.
    pub name: String,
    /// As `systemctl show` writes it.
    pub value: String,
}

/// `POST /units/NAME/act`: what the systemd of the unit's machine is to do at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActRequest {
    /// What.
    pub act: Act,
    /// Which signal, for `kill`: a name with or without `SIG`, or a number; default `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9+-]{1,64}$")]
    pub signal: Option<String>,
    /// To whom, for `kill`; default `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whom: Option<Whom>,
    /// Only on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// As in [`JournalQuery`](super::JournalQuery).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
}

/// What a unit's systemd can be told to do, besides starting and stopping, which are a matter of what is wanted of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// To send a signal to its processes.
    Kill,
    /// To have it read its configuration anew (`ExecReload=`).
    Reload,
    /// To forget that it has failed, and how often it was started.
    ResetFailed,
}

/// Which processes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Whom {
    /// The main process.
    Main,
    /// The control process: that of `ExecStartPre=`, `ExecReload=` and the like.
    Control,
    /// All.
    All,
}

impl Whom {
    /// The word on the wire, and systemd's.
    pub fn as_str(self) -> &'static str {
        match self {
            Whom::Main => "main",
            Whom::Control => "control",
            Whom::All => "all",
        }
    }
}

/// What came of an act on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acted {
    /// The machine.
    pub machine: String,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}
