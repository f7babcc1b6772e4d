//! API v1: the wire types of the original, which its clients and libraries know.
//!
//! Paths are under `/fleet/v1` and, for old clients, `/v1-alpha`. Fields are in alphabetical order, and what is empty is left
//! out, so an empty list of units is `{}`. What each of it means is in `docs/api-v1.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The path under which all of this lies.
pub const PREFIX: &str = "/fleet/v1";

/// The same under the name it had before.
pub const PREFIX_OLD: &str = "/v1-alpha";

/// A unit: its file, what is wanted of it and what has become of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Unit {
    /// `inactive`, `loaded` or `launched`: how far the unit's machine has taken it. Ignored in requests.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current_state: String,
    /// `inactive`, `loaded` or `launched`: how far it is to be taken.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub desired_state: String,
    /// The whole ID of the machine it is placed on; empty for a global unit and for one that waits. Ignored in requests.
    #[serde(rename = "machineID", skip_serializing_if = "String::is_empty")]
    pub machine_id: String,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its file, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<UnitOption>,
}

/// One line of a unit file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitOption {
    /// What stands before the `=`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The section, without its brackets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub section: String,
    /// What stands after the `=`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// `GET /units`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UnitPage {
    /// What to ask for the next page with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// By name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<Unit>,
}

/// What systemd says of one unit on one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UnitState {
    /// SHA-1 of the unit file that the machine has, 40 hex digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// The machine's whole ID.
    #[serde(rename = "machineID", skip_serializing_if = "String::is_empty")]
    pub machine_id: String,
    /// The unit's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// systemd's active state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub systemd_active_state: String,
    /// systemd's load state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub systemd_load_state: String,
    /// systemd's sub state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub systemd_sub_state: String,
}

/// `GET /state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UnitStatePage {
    /// What to ask for the next page with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// By unit, then machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<UnitState>,
}

/// A machine that is present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Machine {
    /// Its whole ID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// What units can ask for; a value may be empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Its address, if it says one.
    #[serde(rename = "primaryIP", skip_serializing_if = "String::is_empty")]
    pub primary_ip: String,
}

/// `GET /machines`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MachinePage {
    /// By ID.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machine>,
    /// What to ask for the next page with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// The body of every refusal and failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What it was.
    pub error: ErrorText,
}

/// What an [`Error`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorText {
    /// The HTTP status.
    pub code: u16,
    /// In words; may be empty.
    pub message: String,
}
