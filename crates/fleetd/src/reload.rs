//! SIGHUP: the configuration is read anew, and what of it can change while everything goes on does.
//!
//! No unit, no connection and no request is touched. What cannot be reloaded is said, and stays as it was at the start.

use std::collections::BTreeMap;

use fleet_api::tls::TlsError;
use fleet_core::model::MachineId;
use fleet_store::registry::MachineRecord;
use sd_notify::NotifyState;

use crate::api::Api;
use crate::config::{Config, ConfigError, MachineConfig, RELOADED};
use crate::leave::Served;
use crate::logging::Verbosity;
use crate::tls::Sides;

/// The keys by which TLS is switched on and off.
const TLS_KEYS: [&str; 3] = ["api_certfile", "api_keyfile", "api_cafile"];

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
            Ok(config) => match self.tls(&config) {
                Ok(tls) => self.change(&config, tls, record),
                Err(err) => refuse(&err),
            },
            Err(err) => refuse(&err),
        }
        tell(&[Some(NotifyState::Ready)]);
    }

    /// What TLS is done with from now on: what the files say now, whether or not their names are new. Whether TLS is done at all
    /// is settled at the start, for the machines' records say so.
    fn tls(&self, config: &Config) -> Result<Option<Sides>, TlsError> {
        match (&self.started.tls, &config.tls) {
            (Some(_), Some(files)) => Sides::load(files).map(Some),
            (Some(_), None) | (None, _) => Ok(None),
        }
    }

    fn change(&self, config: &Config, tls: Option<Sides>, record: impl Fn(&MachineConfig) -> MachineRecord) {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        self.verbosity.set(config.verbosity);
        self.api.set_limits(&config.api);
        if tls.is_some() {
            self.api.set_tls(tls);
        }
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
        let is_tls = |config: &Config| config.tls.is_some();
        let waits = TLS_KEYS.contains(&key) && is_tls(started) != is_tls(new);
        match RELOADED.contains(&key) && !waits {
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

fn refuse(err: &dyn std::error::Error) {
    let causes = std::iter::successors(err.source(), |err| err.source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    tracing::error!("the configuration cannot be used, so all stays as it was: {err}{causes}");
}

/// Nobody listens when systemd did not start us: no error.
fn tell(states: &[Option<NotifyState<'_>>]) {
    let states: Vec<NotifyState<'_>> = states.iter().flatten().cloned().collect();
    let _ = sd_notify::notify(&states);
}
