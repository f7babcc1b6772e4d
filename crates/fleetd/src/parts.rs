//! What a daemon does between its store and its machines, wherever those come from: `daemon` brings the real ones, the
//! simulator its own. Which part is started when is written down here alone.

use std::sync::Arc;
use std::time::Duration;

use fleet_core::engine::EngineConfig;
use fleet_core::model::{MachineId, Revision};
use fleet_store::Store;
use fleet_store::registry::MachineRecord;
use fleet_systemd::UnitManager;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::BootClock;
use crate::leave::Departure;
use crate::presence::Presence;
use crate::view::SharedView;
use crate::{agent, engine, guard};

/// What of the configuration the parts go by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often everything is looked at anew although no watch has failed.
    pub resync: Duration,
    /// How long a machine stays present after its last sign of life.
    pub agent_ttl: Duration,
    /// How patient the engine is with machines that are lost.
    pub losses: EngineConfig,
    /// How long the lead outlives its leader's last sign of life.
    pub leader_ttl: Duration,
    /// Over how many slices a machine's units are spread; see [`fleet_core::agent::SLICES_DEFAULT`].
    pub n_slices: u32,
    /// By which the guard counts.
    pub boot_clock: BootClock,
}

/// Starts what keeps `view` up to date, and the engine, if this daemon may lead: as `leader_id`, the same after a restart of
/// the process. All of it ends with `parts`, and has nothing to undo.
pub fn serve_cluster(
    parts: &mut JoinSet<()>,
    store: Arc<dyn Store>,
    view: SharedView,
    settings: Settings,
    leader_id: Option<String>,
) {
    parts.spawn(view.clone().follow(Arc::clone(&store), settings.resync));
    if let Some(id) = leader_id {
        parts.spawn(async move {
            view.reached(Revision(0)).await;
            engine::run(store, view, id, settings.losses, settings.leader_ttl).await;
        });
    }
}

/// Makes one machine present, as `record` tells of it at any time, and drives its systemd, until dropped or gone.
pub async fn serve_machine(
    machine: MachineId,
    record: watch::Receiver<MachineRecord>,
    store: Arc<dyn Store>,
    manager: Arc<dyn UnitManager>,
    guard: guard::Site,
    settings: Settings,
    departure: Departure,
) {
    let Settings { agent_ttl, boot_clock, .. } = settings;
    let presence = Presence::announce(machine.clone(), record, agent_ttl, boot_clock, Arc::clone(&store)).await;
    let (admitted, granted) = (watch::Sender::new(None), watch::Sender::new(None));
    let post = guard::Post {
        unit_text: guard.unit_text,
        granted: granted.subscribe(),
        admitted: admitted.clone(),
        boot_clock,
    };
    let grants = guard::Grants { until: presence.until(), admitted: admitted.subscribe(), granted };
    let agent = agent::run(agent::Parts {
        machine,
        store,
        manager,
        seat: presence.seat(),
        guard: post,
        n_slices: settings.n_slices,
        resync: settings.resync,
        departure: departure.clone(),
    });
    tokio::join!(presence.keep(&departure), grants.keep(&*guard.permit), agent);
}
