//! What may not be at any revision of the store.

use std::collections::BTreeSet;

use fleet_core::check::{self, Violation};
use fleet_core::model::{Brake, MachineId, Placement, Revision, TargetState, UnitState};
use fleet_core::unit::UnitName;
use fleet_store::registry::{Key, UnitRecord, Value as _, View};
use fleet_store::{Batch, Change};

use super::{Judge, stood_since};
use crate::units::{Family, heir_of};
use crate::world::Who;

/// How long a machine may be back, or a change of metadata old, before a plan that does not know of it yet is wrong.
///
/// Milliseconds. A request under way takes up to 3 s, news as long, and the engine may have waited for its last write.
pub(super) const LAG_MS: u64 = 15_000;

/// How long a machine has to be absent before anything of it moves. Source: `docs/placement.md`.
pub(super) const GRACE_MS: u64 = 10_000;

/// A machine as it was before a revision.
struct Taken<'a> {
    unit: &'a UnitName,
    machine: &'a MachineId,
    order: &'a Placement,
    /// The machines that certainly counted as lost, all at once.
    lost: &'a BTreeSet<MachineId>,
    brake: Option<&'a Brake>,
}

impl Judge {
    /// Judges one revision.
    pub(super) fn take_in(&mut self, now_ms: u64, batch: &Batch) {
        let author = self.authors.remove(&batch.revision);
        if !batch.changes.iter().all(|change| is_noise(change, &self.view)) {
            self.worked = batch.revision;
        }
        let keys: Vec<Key> = batch.changes.iter().filter_map(|change| Key::parse(change.key())).collect();
        let writes_orders = keys.iter().any(|key| matches!(key, Key::Placement(..) | Key::Brake));
        if writes_orders && (author.is_none() || author != self.leader) {
            let author = author.map_or("nobody".to_owned(), |who| who.to_string());
            let leader = self.leader.map_or("nobody leads".to_owned(), |who| format!("{who} leads"));
            self.object(now_ms, format!("revision {}: {author} writes orders, and {leader}", batch.revision.0));
        }
        let before: Vec<(MachineId, UnitName, Placement)> = keys
            .iter()
            .filter_map(|key| {
                let Key::Placement(machine, unit) = key else { return None };
                Some((machine.clone(), unit.clone(), self.view.placement(machine, unit)?.clone()))
            })
            .collect();
        let (brake, lost) = (self.view.cluster().brake.clone(), self.surely_lost(now_ms));
        self.view.apply(batch);
        for change in &batch.changes {
            self.note(now_ms, batch.revision, change, author);
        }
        if keys.contains(&Key::Leader) {
            self.leader = author.filter(|_| self.view.leader().is_some());
        }
        self.note_openings(now_ms);
        for (machine, unit, order) in &before {
            let taken = Taken { unit, machine, order, lost: &lost, brake: brake.as_ref() };
            self.judge_taken_away(now_ms, batch.revision, &taken);
        }
        if writes_orders {
            self.judge_orders(now_ms, batch.revision, &keys);
            let is_new = |(machine, unit): &(MachineId, UnitName)| {
                let had = before.iter().any(|(on, name, order)| on == machine && name == unit && !order.is_leaving());
                !had && self.view.placement(machine, unit).is_some_and(|order| !order.is_leaving())
            };
            let new: Vec<(MachineId, UnitName)> = keys
                .iter()
                .filter_map(|key| match key {
                    Key::Placement(machine, unit) => Some((machine.clone(), unit.clone())),
                    _ => None,
                })
                .filter(is_new)
                .collect();
            self.judge_needs(now_ms, batch.revision, &new);
        }
        if keys.contains(&Key::Brake) {
            self.judge_brake(now_ms, batch.revision, brake.as_ref());
        }
        for key in &keys {
            self.judge_state(now_ms, batch, key);
        }
    }

    /// Keeps the histories.
    fn note(&mut self, now_ms: u64, revision: Revision, change: &Change, author: Option<Who>) {
        match Key::parse(change.key()) {
            Some(Key::Placement(machine, unit)) => {
                let order = self.view.placement(&machine, &unit).cloned();
                self.orders.entry((machine, unit)).or_default().push((revision, order));
            }
            Some(Key::Unit(unit)) => {
                let wish = self.view.units().get(&unit).cloned();
                self.wishes.entry(unit).or_default().push((revision, wish));
            }
            Some(Key::Drain(machine)) => {
                self.drain_changed_ms.insert(machine, now_ms);
            }
            Some(Key::Machine(machine)) => {
                let present = self.view.machines().contains_key(&machine);
                let presence = self.presence.entry(machine.clone()).or_default();
                let leaves = self.view.machines().get(&machine).is_some_and(|entry| entry.record.leaving);
                if std::mem::replace(&mut presence.leaving, leaves) != leaves {
                    self.drain_changed_ms.insert(machine.clone(), now_ms);
                }
                if present && !presence.present {
                    presence.came_ms = now_ms;
                } else if !present && presence.present {
                    presence.went_ms = now_ms;
                }
                presence.present = present;
                if let (true, Some(author)) = (present, author) {
                    self.announced.insert(machine.clone(), author);
                }
                self.note_disk(now_ms, &machine);
                if let (false, Some(author)) = (present, author) {
                    self.judge_withdrawal(now_ms, revision, &machine, author);
                }
            }
            Some(Key::Metadata(machine, _)) => self.note_disk(now_ms, &machine),
            _ => (),
        }
    }

    /// What is wanted and could stay where it is, stays.
    fn judge_taken_away(&mut self, now_ms: u64, at: Revision, taken: &Taken<'_>) {
        let Taken { unit, machine, order, lost, brake } = *taken;
        let now = self.view.placement(machine, unit);
        let stays = now.is_some_and(|now| now.is_leaving() == order.is_leaving());
        let is_wanted = self.view.units().get(unit).is_some_and(|wish| wish.target != TargetState::Inactive);
        let family = Family::of(unit);
        if stays || order.is_leaving() || !is_wanted || !(family.stays_put() || family == Family::Picky) {
            return;
        }
        // The engine may have seen that nobody wanted it, and not yet that somebody wants it again.
        let ordered_at = self.ordered_at(machine, unit, order);
        let unwanted = |wish: Option<&UnitRecord>| wish.is_none_or(|wish| wish.target == TargetState::Inactive);
        if stood_since(self.wishes.get(unit), ordered_at, unwanted) || self.view.given_up().contains_key(machine) {
            return;
        }
        let presence = self.presence.get(machine).copied().unwrap_or_default();
        let makes_room = heir_of(unit).is_some_and(|heir| self.view.placement(machine, &heir).is_some());
        let lacks_disk = family == Family::Picky && !self.is_fast_for(now_ms, machine, LAG_MS);
        // It may have gone a moment ago.
        let seemed_present = presence.present || now_ms.saturating_sub(presence.went_ms) < LAG_MS;
        if seemed_present && (makes_room || lacks_disk) {
            return;
        }
        let is_braked = brake.is_some() && self.view.cluster().brake.is_some();
        // Or that it was drained, and not yet that it is not any more.
        let drain_changed = self.drain_changed_ms.get(machine).is_some_and(|at_ms| now_ms - at_ms < LAG_MS);
        if !is_braked && (drain_changed || presence.leaving || self.view.drained().contains_key(machine)) {
            return;
        }
        if let Some(why) = self.may_not_be_moved(machine, presence.present, brake, lost) {
            self.object(now_ms, format!("revision {}: {unit} is taken away from {machine}, and {why}", at.0));
            return;
        }
        let (back_ms, is_back) = if presence.present { (presence.came_ms, true) } else { (now_ms, false) };
        let away_ms = back_ms.saturating_sub(presence.went_ms);
        let here_ms = now_ms - back_ms;
        if (is_back && LAG_MS < here_ms) || away_ms < GRACE_MS {
            let what = format!("{unit} is taken away from {machine}");
            let why = format!("which was away for {away_ms} ms and is present since {here_ms} ms");
            self.object(now_ms, format!("revision {}: {what}, {why}", at.0));
        }
    }

    /// When the order was first given.
    fn ordered_at(&self, machine: &MachineId, unit: &UnitName, order: &Placement) -> Revision {
        let history = self.orders.get(&(machine.clone(), unit.clone()));
        let given = history.into_iter().flatten().rev().take_while(|(_, stood)| {
            // An order is given once for each generation; the one that took it away is the newest entry.
            stood.as_ref().is_none_or(|stood| stood.generation == order.generation)
        });
        given.last().map(|(at, _)| *at).unwrap_or_default()
    }

    /// No order may break what the unit or its neighbors ask for.
    fn judge_orders(&mut self, now_ms: u64, at: Revision, keys: &[Key]) {
        let written: BTreeSet<(&MachineId, &UnitName)> = keys
            .iter()
            .filter_map(|key| match key {
                Key::Placement(machine, unit) => Some((machine, unit)),
                _ => None,
            })
            .filter(|(machine, unit)| self.view.placement(machine, unit).is_some_and(|order| !order.is_leaving()))
            .collect();
        let is_new = |unit: &UnitName, machine: &MachineId| written.contains(&(machine, unit));
        let wrong = check::invariants(self.view.cluster()).into_iter().find(|violation| match violation {
            // A global unit that is destroyed is not known to have been one.
            Violation::PlacedTwice { unit, .. } => Family::of(unit) != Family::Everywhere,
            Violation::Conflict { unit, with, machine } => is_new(unit, machine) || is_new(with, machine),
            Violation::PeerMissing { unit, machine, .. } => is_new(unit, machine),
            // The metadata may have changed a moment ago, and what a user or a machine does takes its time to be seen.
            _ => false,
        });
        if let Some(wrong) = wrong {
            self.object(now_ms, format!("revision {}: {wrong}", at.0));
        }
    }

    /// A machine's states live and die with its presence.
    fn judge_state(&mut self, now_ms: u64, batch: &Batch, key: &Key) {
        let Key::State(machine, unit) = key else { return };
        let put = batch.changes.iter().find_map(|change| match change {
            Change::Put(kv) if kv.key == key.to_string() => Some(kv),
            _ => None,
        });
        let Some(put) = put else { return };
        if put.lease.is_none() {
            self.object(
                now_ms,
                format!("the state of {unit} on {machine} is on no lease, and would outlive the machine"),
            );
        }
    }
}

/// Whether a change is one that an idle cluster may make: unused files are collected when all is looked at anew, and units
/// that come and go by themselves are told of.
fn is_noise(change: &Change, before: &View) -> bool {
    match (Key::parse(change.key()), change) {
        (Some(Key::File(_)), Change::Delete { .. }) => true,
        // Also, the old order of one that was moved goes when the new one is up for once.
        (Some(Key::State(_, unit) | Key::Placement(_, unit)), _) if !Family::of(&unit).runs_on() => true,
        // systemd forgets the result of what ended well; that is seen when all is looked at anew.
        (Some(Key::State(machine, unit)), Change::Put(kv)) => {
            let told = before.states().get(&machine).and_then(|units| units.get(&unit));
            told.zip(UnitState::decode(&kv.value).ok()).is_some_and(|(told, new)| {
                UnitState { result: new.result.clone(), since: new.since, ..told.clone() } == new
            })
        }
        _ => false,
    }
}
