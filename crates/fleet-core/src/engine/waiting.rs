//! Wanted units without a placement, group by group.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::moves::Move;
use super::patterns::Crowd;
use super::picture::{Kind, Picture, Waiting};
use super::slots::Slot;
use crate::model::MachineId;
use crate::schedule::fits_alone;
use crate::unit::UnitName;

/// Where a group is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// On all machines: the group is new, or changed, or depends on what other units could do.
    All,
    /// On the machines where something has become possible: all others refused it, and nothing has changed there.
    Freed,
}

/// What one machine says to one group.
enum Verdict {
    Able,
    Refuses,
    /// Able, as soon as those units (there, replaced by members of the group) have moved away.
    AfterMoves(Vec<Slot>),
}

/// What became of one group.
struct Outcome {
    placed: bool,
    moved: Vec<Move>,
    /// See [`Waiting::depends_on_others`].
    depends_on_others: bool,
}

impl Picture {
    /// Places what can be placed, by the first name of each group.
    pub(super) fn place_waiting(&mut self, freed: &mut BTreeSet<Slot>) {
        let (new, settled): (Vec<Slot>, Vec<Slot>) =
            std::mem::take(&mut self.dirty.units).into_iter().partition(|&unit| self.waits(unit));
        for unit in settled {
            self.waiting.remove(&self.units[unit].name);
        }
        let firsts = new.into_iter().map(|unit| self.first_of_group(unit));
        let mut work: BTreeMap<UnitName, (Slot, Scope)> =
            firsts.map(|first| (self.units[first].name.clone(), (first, Scope::All))).collect();
        if !freed.is_empty() {
            self.retry_after(Bound::Unbounded, &mut work);
        }
        let mut next_round = BTreeSet::new();
        while let Some((name, (first, scope))) = work.pop_first() {
            let group = self.waiting_group(first);
            let outcome = self.try_group(&group, scope, freed);
            if outcome.placed {
                if !self.waiting.is_empty() {
                    for &unit in &group {
                        self.waiting.remove(&self.units[unit].name);
                    }
                }
            } else {
                for &unit in &group {
                    let waiting = Waiting { unit, depends_on_others: outcome.depends_on_others };
                    self.waiting.insert(self.units[unit].name.clone(), waiting);
                }
            }
            if outcome.moved.is_empty() {
                continue;
            }
            for moved in &outcome.moved {
                self.note_move(moved, freed);
            }
            self.retry_after(Bound::Excluded(&name), &mut work);
            for unit in std::mem::take(&mut self.dirty.units) {
                if self.waits(unit) {
                    let first = self.first_of_group(unit);
                    let first_name = &self.units[first].name;
                    if name < *first_name {
                        work.insert(first_name.clone(), (first, Scope::All));
                    } else {
                        next_round.insert(unit);
                    }
                }
            }
        }
        self.dirty.units = next_round;
    }

    /// Adds the groups that wait and come after that name: a machine has been freed.
    fn retry_after(&self, after: Bound<&UnitName>, work: &mut BTreeMap<UnitName, (Slot, Scope)>) {
        for (name, waiting) in self.waiting.range::<UnitName, _>((after, Bound::Unbounded)) {
            if !self.waits(waiting.unit) || self.first_of_group(waiting.unit) != waiting.unit {
                continue;
            }
            let scope = if waiting.depends_on_others { Scope::All } else { Scope::Freed };
            work.entry(name.clone()).or_insert((waiting.unit, scope));
        }
    }

    /// The units that have to be placed together with this one.
    fn waiting_group(&self, unit: Slot) -> BTreeSet<Slot> {
        self.component(unit, |other| self.waits(other))
    }

    fn first_of_group(&self, unit: Slot) -> Slot {
        let by_name = |member: &Slot| &self.units[*member].name;
        self.waiting_group(unit).into_iter().min_by_key(by_name).expect("the unit itself is in its group")
    }

    fn try_group(&mut self, group: &BTreeSet<Slot>, scope: Scope, freed: &BTreeSet<Slot>) -> Outcome {
        let mut outcome = Outcome { placed: false, moved: Vec::new(), depends_on_others: false };
        if self.is_at_odds(group) || group.iter().any(|&unit| self.stops_somewhere(unit)) {
            return outcome;
        }
        if !self.has_turn(group) {
            outcome.depends_on_others = true;
            return outcome;
        }
        let replaces = group.iter().any(|&unit| !self.units[unit].marks.replaces.is_empty());
        let dirty = self.dirty.machines.clone();
        let machine = match scope {
            Scope::All if !replaces => self.candidates(group).find(|&machine| self.is_able(machine, group)),
            Scope::All => {
                let machines: Vec<Slot> = self.candidates(group).collect();
                self.find_with_moves(&machines, group, &mut outcome)
            }
            Scope::Freed => {
                let machines = self.sorted_by_load(freed.iter().copied());
                self.find_with_moves(&machines, group, &mut outcome)
            }
        };
        let Some(machine) = machine else { return outcome };
        if group.iter().any(|&unit| self.must_stop_first(unit)) {
            // There is a place, so it can begin. Whether there is still one when it has stopped is another question then.
            let moved = std::mem::take(&mut outcome.moved);
            self.undo_moves(&moved, dirty);
            for &unit in group {
                while let Some(&old) = self.units[unit].on.first() {
                    self.leave(unit, old);
                }
            }
        } else {
            outcome.placed = true;
            for &unit in group {
                while let Some(&old) = self.units[unit].on.first() {
                    self.leave(unit, old);
                }
                let order = self.units[unit].order();
                self.place(unit, machine, order);
            }
        }
        outcome
    }

    /// Whether the unit may not run twice and is stopping on some machine.
    fn stops_somewhere(&self, unit: Slot) -> bool {
        self.units[unit].leaving.iter().any(|&machine| self.is_stopping(unit, machine))
    }

    /// Whether it is the group's turn to leave: on each drained machine that it is on there is room for it among those that
    /// are on their way, or nothing is on its way.
    fn has_turn(&self, group: &BTreeSet<Slot>) -> bool {
        let mut n_from: BTreeMap<Slot, usize> = BTreeMap::new();
        for machine in group.iter().flat_map(|unit| &self.units[*unit].on) {
            *n_from.entry(*machine).or_default() += 1;
        }
        n_from.into_iter().all(|(machine, n)| match self.drain_of(machine) {
            Some(drain) => {
                let n_on_the_way = self.n_on_the_way(machine);
                n_on_the_way == 0 || n_on_the_way + n <= drain.max_at_once as usize
            }
            None => true,
        })
    }

    /// How many units have left the machine and have not been seen to elsewhere. One that cannot run where it came to does
    /// not keep the others waiting.
    fn n_on_the_way(&self, machine: Slot) -> usize {
        let orders = self.machines[machine].units.iter();
        let is_wanted = |unit: Slot| self.units[unit].kind == Kind::Ordinary;
        orders.filter(|(unit, order)| order.is_leaving() && is_wanted(**unit) && !self.is_done(**unit)).count()
    }

    /// Whether the group can be nowhere: two members conflict, or one waits for a unit that is on no machine.
    fn is_at_odds(&self, group: &BTreeSet<Slot>) -> bool {
        let mut crowd = Crowd::default();
        for &unit in group {
            let marks = &self.units[unit].marks;
            if 1 < group.len() && crowd.conflicts_with(marks) {
                return true;
            }
            crowd.add(marks);
        }
        let is_placed = |peer: Slot| group.contains(&peer) || !self.units[peer].on.is_empty();
        !group.iter().all(|&unit| self.has_peers_among(unit, is_placed))
    }

    fn is_able(&self, machine: Slot, group: &BTreeSet<Slot>) -> bool {
        matches!(self.verdict(machine, group), Verdict::Able)
    }

    fn verdict(&self, machine: Slot, group: &BTreeSet<Slot>) -> Verdict {
        let host = &self.machines[machine];
        let Some(present) = host.open() else { return Verdict::Refuses };
        let able = group.iter().all(|&unit| {
            let row = &self.units[unit];
            fits_alone(row.requirements(), &host.id, present)
                && !self.conflicts_on(unit, machine)
                && self.has_peers_among(unit, |peer| group.contains(&peer) || self.is_on(peer, machine))
                && !self.is_replaced_on(unit, machine)
        });
        if !able {
            return Verdict::Refuses;
        }
        let mut replacers: Vec<Slot> =
            group.iter().copied().filter(|&unit| !self.units[unit].marks.replaces.is_empty()).collect();
        replacers.sort_by_key(|&unit| &self.units[unit].name);
        let to_move: Vec<Slot> = replacers.into_iter().flat_map(|unit| self.replaced_by(unit, machine)).collect();
        if to_move.is_empty() { Verdict::Able } else { Verdict::AfterMoves(to_move) }
    }

    /// The first machine that is able, if need be after moves, which are then made.
    fn find_with_moves(&mut self, machines: &[Slot], group: &BTreeSet<Slot>, outcome: &mut Outcome) -> Option<Slot> {
        for &machine in machines {
            match self.verdict(machine, group) {
                Verdict::Able => return Some(machine),
                Verdict::Refuses => (),
                Verdict::AfterMoves(units) => {
                    let dirty = self.dirty.machines.clone();
                    let (moved, all) = self.move_all(machine, &units);
                    let has_peers =
                        |unit| self.has_peers_among(unit, |peer| group.contains(&peer) || self.is_on(peer, machine));
                    if all && group.iter().all(|&unit| has_peers(unit)) {
                        outcome.moved = moved;
                        return Some(machine);
                    }
                    self.undo_moves(&moved, dirty);
                    outcome.depends_on_others = true;
                }
            }
        }
        None
    }

    /// Takes moves back that were made as a trial, with what they marked: or the next round would try the same.
    fn undo_moves(&mut self, moved: &[Move], dirty: BTreeSet<Slot>) {
        for step in moved.iter().rev() {
            self.undo_move(step);
        }
        self.dirty.machines = dirty;
    }

    /// Moves the units away, each with what is tied to it; the moves that were made, and whether these are all.
    fn move_all(&mut self, machine: Slot, units: &[Slot]) -> (Vec<Move>, bool) {
        let mut moved = Vec::new();
        for &unit in units {
            if !self.is_on(unit, machine) {
                continue; // It went with another one.
            }
            let group = self.tied_group(machine, unit);
            match self.move_away(machine, group) {
                Some(step) => moved.push(step),
                None => return (moved, false),
            }
        }
        (moved, true)
    }

    /// Machines that could take the group, least loaded first, then by ID: by the narrowest thing that it requires.
    /// Some of them may refuse it; those left out do.
    pub(super) fn candidates<'a>(&'a self, group: &BTreeSet<Slot>) -> Box<dyn Iterator<Item = Slot> + 'a> {
        let mut narrowest: Option<&[Slot]> = None;
        for &unit in group {
            let row = &self.units[unit];
            if let Some(wanted) = &row.requirements().machine_id {
                return Box::new(self.sorted_by_load(self.machines_named(wanted).into_iter()).into_iter());
            }
            let outside = |peer: &&Slot| !group.contains(peer);
            let mut peers = row.peers.iter().filter(outside);
            if let Some(&peer) = peers.find(|peer| self.units[**peer].kind == Kind::Ordinary) {
                return Box::new(self.sorted_by_load(self.units[peer].on.iter().copied()).into_iter());
            }
            for pairs in &row.pairs {
                if narrowest.is_none_or(|least| self.load.n_with(pairs) < self.load.n_with(least)) {
                    narrowest = Some(pairs);
                }
            }
        }
        match narrowest {
            Some(pairs) => Box::new(self.load.by_load_with(pairs)),
            None => Box::new(self.load.by_load()),
        }
    }

    fn sorted_by_load(&self, machines: impl Iterator<Item = Slot>) -> Vec<Slot> {
        let mut machines: Vec<Slot> = machines.collect();
        machines.sort_by_key(|&machine| self.machines[machine].rank(machine));
        machines
    }

    /// The machines that `MachineID=wanted` names: one, or several that share the short form.
    fn machines_named(&self, wanted: &str) -> Vec<Slot> {
        let Ok(from) = wanted.parse::<MachineId>() else { return Vec::new() };
        self.machine_slots
            .range(from..)
            .take_while(|(id, _)| id.as_str().starts_with(wanted))
            .filter(|(id, _)| id.is_named_by(wanted))
            .map(|(_, &slot)| slot)
            .collect()
    }
}
