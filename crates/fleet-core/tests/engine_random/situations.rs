//! Which situations a plan was about, so that a run can show that it met them all.

use fleet_core::check::{self, Violation};
use fleet_core::engine::{PlacementWrite, Plan};
use fleet_core::model::{Absence, Cluster, TargetState};
use fleet_core::unit::{Requirements, UnitName, WhenIsolated};

use super::{History, Seen, apply};

impl History {
    pub(super) fn note_situations(&self, plan: &Plan, seen: &mut Seen) {
        let requires = |name: &UnitName| self.store.units.get(name).map(|unit| &*unit.requirements);
        let is_global = |name: &UnitName| requires(name).is_some_and(|requires| requires.global);
        let was_placed = |name: &UnitName| self.store.placements.values().any(|units| units.contains_key(name));
        let mut after = self.store.clone();
        plan.groups.iter().for_each(|group| apply(&mut after, group));
        let after_brake = plan.brake.as_ref().map_or(self.store.brake.as_ref(), |write| write.brake());
        let same_machine = |a: &UnitName, b: &UnitName| {
            after.placements.values().any(|units| units.contains_key(a) && units.contains_key(b))
        };
        for group in &plan.groups {
            let puts = || group.writes.iter().filter(|write| write.is_put());
            let news = || puts().filter(|write| !was_placed(write.name()));
            let deletes = || group.writes.iter().filter(|write| !write.is_put());
            let moved: Vec<_> = puts().filter(|put| deletes().any(|delete| delete.name() == put.name())).collect();
            let replaced_by = |write: &PlacementWrite, replacer: &UnitName| {
                requires(replacer)
                    .is_some_and(|requires| requires.replaces.iter().any(|glob| glob.matches(write.name().as_str())))
            };
            seen.note("group of several placed", 1 < news().filter(|write| !is_global(write.name())).count());
            seen.note("unit moved", moved.iter().any(|write| !is_global(write.name())));
            seen.note("tied units moved", 1 < moved.iter().filter(|write| !is_global(write.name())).count());
            seen.note(
                "moved for a unit that comes",
                moved
                    .iter()
                    .any(|old| news().any(|new| new.machine() != old.machine() && replaced_by(old, new.name()))),
            );
            seen.note("order renewed in place", puts().any(|put| moved.is_empty() && was_placed(put.name())));
            seen.note("global unit placed", puts().any(|put| is_global(put.name())));
            seen.note("global unit removed", deletes().any(|delete| is_global(delete.name())));
            seen.note("unit that is gone removed", deletes().any(|delete| requires(delete.name()).is_none()));
            let is_lost = |write: &PlacementWrite| !self.store.machines.contains_key(write.machine());
            let keeps =
                |name: &UnitName| requires(name).is_some_and(|requires| requires.when_isolated == WhenIsolated::Keep);
            let was_leaving = |write: &PlacementWrite| {
                let order = self.store.placements.get(write.machine()).and_then(|units| units.get(write.name()));
                order.is_some_and(|order| order.is_leaving())
            };
            seen.note("removed from a lost machine", deletes().any(is_lost));
            seen.note("order renewed on a lost machine", puts().any(|put| put.places() && is_lost(put)));
            seen.note("placed elsewhere, leaving", puts().any(|put| !put.places()));
            seen.note("several leave together", 1 < puts().filter(|put| !put.places()).count());
            seen.note(
                "placed elsewhere, stopped there before",
                moved.iter().any(|put| !keeps(put.name()) && deletes().any(is_lost)),
            );
            let is_drained = |write: &PlacementWrite| {
                self.store.machines.get(write.machine()).is_some_and(|machine| machine.draining.is_some())
            };
            let is_stop = |write: &PlacementWrite| {
                matches!(write, PlacementWrite::Put { placement, .. } if placement.is_leaving()
                    && placement.target == TargetState::Loaded && !keeps(write.name()))
            };
            seen.note("drained, start first", puts().any(|put| is_drained(put) && !put.places() && !is_stop(put)));
            seen.note("drained, several together", 1 < puts().filter(|put| is_drained(put) && !put.places()).count());
            seen.note("drained, stop first", puts().any(|put| is_drained(put) && is_stop(put)));
            seen.note(
                "drained, start first with one that stops first",
                puts().any(is_stop) && puts().any(|put| !put.places() && !is_stop(put)),
            );
            seen.note(
                "placed when it had stopped",
                moved.iter().any(|put| !keeps(put.name()) && deletes().any(was_leaving)),
            );
            let ended = |delete: &&PlacementWrite| was_leaving(delete) && keeps(delete.name());
            seen.note("a leaving order ends", deletes().any(|delete| ended(&delete)));
            seen.note("a leaving order becomes a placement again", puts().any(|put| put.places() && was_leaving(put)));
            let news_with = |has: fn(&Requirements) -> bool| news().any(|put| requires(put.name()).is_some_and(has));
            seen.note("placed by MachineID", news_with(|requires| requires.machine_id.is_some()));
            seen.note("placed by metadata", news_with(|requires| !requires.metadata.is_empty()));
            seen.note("placed by two metadata keys", news_with(|requires| 1 < requires.metadata.len()));
            seen.note("placed with Conflicts", news_with(|requires| !requires.conflicts.is_empty()));
            seen.note("placed with Replaces", news_with(|requires| !requires.replaces.is_empty()));
            let to_its_leader = |put: &PlacementWrite| {
                requires(put.name()).is_some_and(|requires| {
                    !requires.global && requires.machine_of.iter().any(|peer| puts().all(|other| other.name() != peer))
                })
            };
            seen.note("follows a unit that is placed", news().any(to_its_leader));
            seen.note(
                "follows a global unit",
                news().any(|put| {
                    requires(put.name())
                        .is_some_and(|requires| !requires.global && requires.machine_of.iter().any(is_global))
                }),
            );
        }
        for (name, unit) in &self.store.units {
            let placed = after.placements.values().any(|units| units.contains_key(name));
            let ordinary = !unit.requirements.global;
            seen.note("unit waits", unit.target != TargetState::Inactive && ordinary && !placed);
            seen.note(
                "replacer and replaced stay together",
                placed
                    && ordinary
                    && self.store.units.iter().any(|(other, unit)| {
                        other != name
                            && !unit.requirements.global
                            && replaces(&self.store, name, other)
                            && !replaces(&self.store, other, name)
                            && same_machine(name, other)
                    }),
            );
            seen.note(
                "circular Replaces on one machine",
                ordinary
                    && self.store.units.iter().any(|(other, unit)| {
                        name < other
                            && !unit.requirements.global
                            && replaces(&self.store, name, other)
                            && replaces(&self.store, other, name)
                            && same_machine(name, other)
                    }),
            );
        }
        let released = |absence| self.store.absent.values().any(|have| *have == absence);
        seen.note("planned with one held", released(Absence::Held));
        seen.note("planned with one held for stop", released(Absence::StopHeld));
        seen.note("planned with one gone", released(Absence::Gone));
        seen.note("planned with one given up", released(Absence::GivenUp));
        seen.note("planned under the brake", self.engine.brake().is_some());
        seen.note("the brake is pulled", self.store.brake.is_none() && after_brake.is_some());
        seen.note(
            "the brake waits for others",
            self.store.brake.is_some() && plan.brake.is_some() && after_brake.is_some(),
        );
        seen.note("the brake ends", self.store.brake.is_some() && after_brake.is_none());
        seen.note("placed twice at first", check::invariants(&self.store).iter().any(Violation::is_wrong_always));
    }
}

fn replaces(cluster: &Cluster, replacer: &UnitName, replaced: &UnitName) -> bool {
    cluster.units[replacer].requirements.replaces.iter().any(|glob| glob.matches(replaced.as_str()))
}
