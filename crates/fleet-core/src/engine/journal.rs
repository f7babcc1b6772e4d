//! From what was touched while planning to a plan: which writes, and which of them belong together.

use std::collections::BTreeMap;

use super::picture::Picture;
use super::slots::Slot;
use super::{Plan, PlanGroup};
use crate::model::Placement;

/// What placements were before planning touched them.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// Unit, machine, and what was there; the first entry of a unit and machine counts.
    entries: Vec<(Slot, Slot, Option<Placement>)>,
}

/// One write, still by slots.
#[derive(Clone, Copy)]
struct Write {
    unit: Slot,
    machine: Slot,
    is_put: bool,
    /// It places the unit there; otherwise the unit goes, or leaves.
    comes: bool,
}

impl Journal {
    pub(super) fn note(&mut self, unit: Slot, machine: Slot, before: Option<Placement>) {
        self.entries.push((unit, machine, before));
    }

    /// The writes that make the picture of what was before.
    pub(super) fn into_plan(mut self, picture: &Picture) -> Plan {
        // The sort is stable, so the first entry of a unit and machine stays the first.
        self.entries.sort_by(|a, b| {
            let key = |entry: &(Slot, Slot, _)| (&picture.units[entry.0].name, picture.machines[entry.1].label);
            key(a).cmp(&key(b))
        });
        self.entries.dedup_by_key(|(unit, machine, _)| (*unit, *machine));
        let changed = self.entries.iter().filter_map(|(unit, machine, before)| {
            let now = picture.machines[*machine].units.get(unit);
            let (is_put, comes) = (now.is_some(), now.is_some_and(|order| !order.is_leaving()));
            (now != before.as_ref()).then_some(Write { unit: *unit, machine: *machine, is_put, comes })
        });
        let writes: Vec<Write> = changed.collect();
        let mut ties = Ties::new(writes.len());
        tie_moves(picture, &writes, &mut ties);
        tie_exchanges(picture, &writes, &mut ties);
        tie_peers(picture, &writes, &mut ties);
        grouped(picture, &writes, &mut ties)
    }
}

/// A unit that goes and comes: never twice, never lost.
fn tie_moves(picture: &Picture, writes: &[Write], ties: &mut Ties) {
    let mut start = 0;
    for unit_writes in writes.chunk_by(|a, b| a.unit == b.unit) {
        if !picture.units[unit_writes[0].unit].is_global()
            && let Some(put) = unit_writes.iter().position(|write| write.is_put)
        {
            for idx in 0..unit_writes.len() {
                ties.join(start + put, start + idx);
            }
        }
        start += unit_writes.len();
    }
}

/// A unit that comes to a machine, and one that goes because the two cannot be there together.
fn tie_exchanges(picture: &Picture, writes: &[Write], ties: &mut Ties) {
    let mut going: BTreeMap<Slot, Vec<usize>> = BTreeMap::new();
    for (idx, write) in writes.iter().enumerate().filter(|(_, write)| !write.comes) {
        going.entry(write.machine).or_default().push(idx);
    }
    if going.is_empty() {
        return;
    }
    for (coming, write) in writes.iter().enumerate().filter(|(_, write)| write.comes) {
        let comes = &picture.units[write.unit].marks;
        for &gone in going.get(&write.machine).into_iter().flatten() {
            let goes = &picture.units[writes[gone].unit].marks;
            let keeps_off = goes.matched_by(&comes.conflicts)
                || goes.matched_by(&comes.replaces)
                || comes.matched_by(&goes.conflicts)
                || comes.matched_by(&goes.replaces);
            if keeps_off {
                ties.join(coming, gone);
            }
        }
    }
}

/// Units that `MachineOf` ties come together and go together.
fn tie_peers(picture: &Picture, writes: &[Write], ties: &mut Ties) {
    let has_peers = |write: &Write| !picture.units[write.unit].peers.is_empty();
    if !writes.iter().any(has_peers) {
        return;
    }
    let by_place: BTreeMap<(Slot, Slot), usize> =
        writes.iter().enumerate().map(|(idx, write)| ((write.unit, write.machine), idx)).collect();
    for (idx, write) in writes.iter().enumerate() {
        for &peer in &picture.units[write.unit].peers {
            if let Some(&peer_idx) = by_place.get(&(peer, write.machine))
                && writes[peer_idx].comes == write.comes
            {
                ties.join(idx, peer_idx);
            }
        }
    }
}

fn grouped(picture: &Picture, writes: &[Write], ties: &mut Ties) -> Plan {
    const NO_GROUP: usize = usize::MAX;
    let mut group_of_root = vec![NO_GROUP; writes.len()];
    let mut groups: Vec<(bool, PlanGroup)> = Vec::with_capacity(writes.len());
    for (idx, write) in writes.iter().enumerate() {
        let root = ties.root(idx);
        if group_of_root[root] == NO_GROUP {
            group_of_root[root] = groups.len();
            groups.push((false, PlanGroup::default()));
        }
        let (has_put, group) = &mut groups[group_of_root[root]];
        *has_put |= write.is_put;
        group.writes.push(picture.write(write.unit, write.machine));
    }
    // Both sorts are stable: within their halves the order of names stays.
    groups.sort_by_key(|(has_put, _)| *has_put);
    let finish = |(_, mut group): (bool, PlanGroup)| {
        group.writes.sort_by_key(|write| (write.is_put(), write.places()));
        group
    };
    Plan { brake: None, groups: groups.into_iter().map(finish).collect() }
}

/// Disjoint sets of writes.
struct Ties {
    parents: Vec<usize>,
}

impl Ties {
    fn new(len: usize) -> Ties {
        Ties { parents: (0..len).collect() }
    }

    fn root(&mut self, mut idx: usize) -> usize {
        while self.parents[idx] != idx {
            self.parents[idx] = self.parents[self.parents[idx]];
            idx = self.parents[idx];
        }
        idx
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a] = b;
    }
}
