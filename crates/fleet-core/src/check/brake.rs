//! The brake, in its plainest form.

use std::collections::BTreeSet;

use super::rules::is_ordinary;
use crate::engine::EngineConfig;
use crate::model::{Absence, Cluster, MachineId};

/// The machines that the brake waits for; none if it is off. Whether it was on is in [`Cluster::brake`].
pub fn brake(cluster: &Cluster, config: &EngineConfig) -> BTreeSet<MachineId> {
    let mut lost = BTreeSet::new();
    for (id, orders) in &cluster.placements {
        let has_units = orders.iter().any(|(name, order)| {
            let is_wanted = super::rules::wanted(cluster, name).is_some();
            !order.is_leaving() && is_wanted && is_ordinary(cluster, name)
        });
        let absence = cluster.absent.get(id).copied().unwrap_or_default();
        let is_expected_back = matches!(absence, Absence::Held | Absence::StopHeld);
        if !cluster.machines.contains_key(id) && has_units && is_expected_back {
            lost.insert(id.clone());
        }
    }
    let n_machines = cluster.machines.len() + lost.len();
    let are_too_many = config.brake_min < lost.len() && n_machines as f64 * config.brake_share < lost.len() as f64;
    if cluster.brake.is_some() || are_too_many { lost } else { BTreeSet::new() }
}
