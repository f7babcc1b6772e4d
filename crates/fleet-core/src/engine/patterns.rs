//! `Conflicts` and `Replaces` patterns, each matched against each name once, and counted on each machine.
//!
//! A unit knows which patterns it *has* and which patterns *match* its name. A machine counts both over the units
//! placed on it. Whether a unit conflicts with anything on a machine is then a few look-ups, in both directions,
//! however many units are there.

use std::collections::{BTreeMap, BTreeSet};

use super::slots::{Slot, Slots};
use crate::unit::Glob;

/// All patterns that some unit has, each text once.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    rows: Slots<Pattern>,
    by_text: BTreeMap<String, Slot>,
    /// By the literal text that every matching name starts with.
    by_prefix: BTreeMap<String, BTreeSet<Slot>>,
    /// How many different prefixes there are of each length.
    prefix_lens: BTreeMap<usize, usize>,
}

#[derive(Clone, Debug)]
struct Pattern {
    glob: Glob,
    prefix: String,
    /// How many times units name it.
    n_owners: usize,
}

impl Patterns {
    /// The pattern's slot, and whether it is new; one more owner.
    pub(super) fn acquire(&mut self, glob: &Glob) -> (Slot, bool) {
        if let Some(&slot) = self.by_text.get(glob.as_str()) {
            self.rows[slot].n_owners += 1;
            return (slot, false);
        }
        let prefix = glob.literal_prefix();
        let slot = self.rows.insert(Pattern { glob: glob.clone(), prefix: prefix.clone(), n_owners: 1 });
        self.by_text.insert(glob.as_str().to_owned(), slot);
        if !self.by_prefix.contains_key(&prefix) {
            *self.prefix_lens.entry(prefix.len()).or_default() += 1;
        }
        self.by_prefix.entry(prefix).or_default().insert(slot);
        (slot, true)
    }

    /// One owner less; the prefix of the pattern if that was the last one and the pattern is gone.
    pub(super) fn release(&mut self, slot: Slot) -> Option<String> {
        self.rows[slot].n_owners -= 1;
        if self.rows[slot].n_owners != 0 {
            return None;
        }
        let Pattern { glob, prefix, .. } = self.rows.remove(slot);
        self.by_text.remove(glob.as_str());
        let slots = self.by_prefix.get_mut(&prefix).expect("each pattern is filed by its prefix");
        slots.remove(&slot);
        if slots.is_empty() {
            self.by_prefix.remove(&prefix);
            let n_prefixes = self.prefix_lens.get_mut(&prefix.len()).expect("each prefix has its length counted");
            *n_prefixes -= 1;
            if *n_prefixes == 0 {
                self.prefix_lens.remove(&prefix.len());
            }
        }
        Some(prefix)
    }

    /// What every name that matches starts with.
    pub(super) fn prefix(&self, slot: Slot) -> &str {
        &self.rows[slot].prefix
    }

    /// All patterns that match the name, ascending.
    pub(super) fn matching(&self, name: &str) -> Vec<Slot> {
        let mut found = Vec::new();
        for &len in self.prefix_lens.keys() {
            let Some(prefix) = name.get(..len) else { continue };
            let slots = self.by_prefix.get(prefix).into_iter().flatten();
            found.extend(slots.filter(|&&slot| self.rows[slot].glob.matches(name)));
        }
        found.sort_unstable();
        found
    }
}

/// What one unit has to do with patterns.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// Its `Conflicts`.
    pub(super) conflicts: Vec<Slot>,
    /// Its `Replaces`; empty for a global unit, which replaces nothing.
    pub(super) replaces: Vec<Slot>,
    /// The patterns of whomever that match its name, ascending.
    pub(super) matched: Vec<Slot>,
}

impl Marks {
    /// Whether one of `patterns` matches the name that these marks belong to.
    pub(super) fn matched_by(&self, patterns: &[Slot]) -> bool {
        patterns.iter().any(|pattern| self.matched.binary_search(pattern).is_ok())
    }
}

/// The patterns of the units on one machine, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    conflicts: BTreeMap<Slot, u32>,
    replaces: BTreeMap<Slot, u32>,
    matched: BTreeMap<Slot, u32>,
}

impl Crowd {
    pub(super) fn add(&mut self, marks: &Marks) {
        let count = |counts: &mut BTreeMap<Slot, u32>, patterns: &[Slot]| {
            for &pattern in patterns {
                *counts.entry(pattern).or_default() += 1;
            }
        };
        count(&mut self.conflicts, &marks.conflicts);
        count(&mut self.replaces, &marks.replaces);
        count(&mut self.matched, &marks.matched);
    }

    pub(super) fn remove(&mut self, marks: &Marks) {
        let discount = |counts: &mut BTreeMap<Slot, u32>, patterns: &[Slot]| {
            for pattern in patterns {
                let n_units = counts.get_mut(pattern).expect("it was counted when the unit came");
                *n_units -= 1;
                if *n_units == 0 {
                    counts.remove(pattern);
                }
            }
        };
        discount(&mut self.conflicts, &marks.conflicts);
        discount(&mut self.replaces, &marks.replaces);
        discount(&mut self.matched, &marks.matched);
    }

    /// Whether a unit that is not in the crowd conflicts with one that is.
    pub(super) fn conflicts_with(&self, marks: &Marks) -> bool {
        has_any(&self.matched, &marks.conflicts) || has_any(&self.conflicts, &marks.matched)
    }

    /// Whether the crowd and the unit name each other in `Replaces` at all: if not, nobody needs to look closer.
    pub(super) fn may_replace(&self, marks: &Marks) -> bool {
        has_any(&self.matched, &marks.replaces) || has_any(&self.replaces, &marks.matched)
    }
}

fn has_any(counts: &BTreeMap<Slot, u32>, patterns: &[Slot]) -> bool {
    !counts.is_empty() && patterns.iter().any(|pattern| counts.contains_key(pattern))
}
