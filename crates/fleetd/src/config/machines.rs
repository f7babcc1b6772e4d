//! The machines that one `fleetd` serves: itself, or those of a machines file (a cluster on one box).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use fleet_core::model::{MachineId, MachineIdError};
use serde::Deserialize;

/// Most machines that one `fleetd` serves.
pub const MACHINES_MAX: usize = 1_000;

/// The folder in `units_directory` for the machine's guard. systemd does not look at such names.
pub const GUARD_FOLDER: &str = ".guard";

/// One machine to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Its identity.
    pub id: MachineId,
    /// Its address as shown to users; may be empty.
    pub public_ip: String,
    /// Its static metadata.
    pub metadata: BTreeMap<String, String>,
    /// Where its systemd listens.
    pub systemd: SystemdAt,
    /// Where fleet keeps its unit files.
    pub units_directory: PathBuf,
    /// Where its systemd looks for unit files.
    pub unit_directory: PathBuf,
    /// The guard's folder ([`MachineConfig::guard_folder`]) as unit files on that machine name it.
    pub guard_folder_there: String,
    /// What is put before `systemctl` and `journalctl` to run them on that machine.
    pub enter: Vec<String>,
    /// Whether it is a user's systemd (`systemctl --user`).
    pub user: bool,
}

impl MachineConfig {
    /// Where the machine's guard is told until when it may stand, as this process sees it.
    pub fn guard_folder(&self) -> PathBuf {
        self.units_directory.join(GUARD_FOLDER)
    }
}

/// The ways to a systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemdAt {
    /// The system bus.
    System,
    /// The user bus.
    User,
    /// A manager's private socket.
    Socket(PathBuf),
}

/// Why a machines file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MachinesError {
    #[error("cannot read machines_file {path}")]
    Read {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("machines_file {path} cannot be understood")]
    Parse {
        path: PathBuf,
        #[source]
        err: Box<toml::de::Error>,
    },
    #[error("machines_file {path}, machine {number}")]
    Id {
        path: PathBuf,
        number: usize,
        #[source]
        err: MachineIdError,
    },
    #[error("machines_file {path} names machine {id} twice")]
    Twice { path: PathBuf, id: MachineId },
    #[error("machines_file {path} names {n} machines: up to {MACHINES_MAX} are served")]
    Number { path: PathBuf, n: usize },
    #[error("machines_file {path} names no machine: write `machine = []` to serve only the API")]
    None { path: PathBuf },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Nothing at all is a mistake; an empty list is meant.
    #[serde(default)]
    machine: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    /// For people who read the file; the machine's ID is what counts.
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default)]
    public_ip: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    systemd_socket: PathBuf,
    unit_directory: PathBuf,
    #[serde(default)]
    enter: Vec<String>,
    #[serde(default)]
    systemd_user: bool,
}

/// Reads a machines file: TOML with one `[[machine]]` table each.
pub fn read(path: &Path) -> Result<Vec<MachineConfig>, MachinesError> {
    let owned = || path.to_owned();
    let text = std::fs::read_to_string(path).map_err(|err| MachinesError::Read { path: owned(), err })?;
    let file: File = toml::from_str(&text).map_err(|err| MachinesError::Parse { path: owned(), err: Box::new(err) })?;
    let entries = file.machine.ok_or_else(|| MachinesError::None { path: owned() })?;
    let n = entries.len();
    if MACHINES_MAX < n {
        return Err(MachinesError::Number { path: owned(), n });
    }
    let mut ids = BTreeSet::new();
    let mut machines = Vec::new();
    for (idx, entry) in entries.into_iter().enumerate() {
        let id =
            MachineId::from_str(&entry.id).map_err(|err| MachinesError::Id { path: owned(), number: idx + 1, err })?;
        if !ids.insert(id.clone()) {
            return Err(MachinesError::Twice { path: owned(), id });
        }
        machines.push(MachineConfig {
            id,
            public_ip: entry.public_ip,
            metadata: entry.metadata,
            systemd: SystemdAt::Socket(entry.systemd_socket),
            units_directory: entry.unit_directory.clone(),
            unit_directory: entry.unit_directory,
            // The machine sees that directory elsewhere than we do, but it is the one where its systemd looks.
            guard_folder_there: format!(
                "%t/systemd/{}/{GUARD_FOLDER}",
                if entry.systemd_user { "user" } else { "system" }
            ),
            enter: entry.enter,
            user: entry.systemd_user,
        });
    }
    Ok(machines)
}
