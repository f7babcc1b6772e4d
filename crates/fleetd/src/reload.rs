//! SIGHUP: the configuration is read anew, and what of it can change while everything goes on does.
//!
//! No unit, no connection and no request is touched. What cannot be reloaded is said, and stays as it was at the start.

use std::collections::BTreeMap;

use fleet_core::model::MachineId;
use fleet_store::registry::MachineRecord;
use sd_notify::NotifyState;

use crate::api::Api;
use crate::config::{Config, ConfigError, MachineConfig, RELOADED};
use crate::leave::Served;
use crate::logging::Verbosity;

/// Reads the configuration from where it was read at the start.
pub type Read = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// What a reload changes, and what it compares with.
pub struct Reload {
    pub read: Read,
    /// What the parts were started with: it is still in force where it cannot be reloaded.
    pub started: Config,
    pub verbosity: Verbosity,
    pub api: Api,
    pub machines: BTreeMap<MachineId, Served>,
}

/// What a new configuration means for a running daemon.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Keys that differ from those at the start and are in force now.
    reloaded: Vec<&'static str>,
    /// Keys that differ from those at the start and are not in force before the next start.
    at_restart: Vec<&'static str>,
}

impl Reload {
    /// Reads and changes. A configuration that cannot be used changes nothing.
    pub fn carry_out(&self, record: impl Fn(&MachineConfig) -> MachineRecord) {
        // systemd waits for READY=1 from the first one on, and wants to know when it was sent.
        tell(&[Some(NotifyState::Reloading), NotifyState::monotonic_usec_now().ok()]);
        match (self.read)() {
            Ok(config) => self.change(&config, record),
            Err(err) => {
                let causes = std::iter::successors(std::error::Error::source(&err), |err| err.source());
                let causes: String = causes.map(|cause| format!(": {cause}")).collect();
                tracing::error!("the configuration cannot be used, so all stays as it was: {err}{causes}");
            }
        }
        tell(&[Some(NotifyState::Ready)]);
    }

    fn change(&self, config: &Config, record: impl Fn(&MachineConfig) -> MachineRecord) {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        self.verbosity.set(config.verbosity);
        self.api.set_limits(&config.api);
        for machine in &config.machines {
            if let Some(Served { record: known, .. }) = self.machines.get(&machine.id) {
                let new = record(machine);
                known.send_if_modified(|known| std::mem::replace(known, new.clone()) != new);
            }
        }
        let Outcome { reloaded, at_restart } = compare(&self.started, config);
        tracing::info!(reloaded = reloaded.join(" "), "the configuration was read anew");
        if !at_restart.is_empty() {
            tracing::warn!(
                "fleetd has to be started anew for {}; units go on running meanwhile",
                at_restart.join(", ")
            );
        }
    }
}

fn compare(started: &Config, new: &Config) -> Outcome {
    let mut outcome = Outcome::default();
    for key in started.values.differing(&new.values) {
        match RELOADED.contains(&key) {
            true => outcome.reloaded.push(key),
            false => outcome.at_restart.push(key),
        }
    }
    // The file may have changed, and its name not.
    let fixed = |machine: &MachineConfig| MachineConfig {
        public_ip: String::new(),
        metadata: BTreeMap::new(),
        ..machine.clone()
    };
    let same = started.machines.iter().map(fixed).eq(new.machines.iter().map(fixed));
    if !same && !outcome.at_restart.contains(&"machines_file") {
        outcome.at_restart.push("machines_file");
    }
    outcome
}

/// Nobody listens when systemd did not start us: no error.
fn tell(states: &[Option<NotifyState<'_>>]) {
    let states: Vec<NotifyState<'_>> = states.iter().flatten().cloned().collect();
    let _ = sd_notify::notify(&states);
}
