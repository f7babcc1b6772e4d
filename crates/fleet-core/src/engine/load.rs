//! The machines by load: all of them, and those with each metadata pair that some unit asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::slots::{Slot, Slots};

/// Where a machine stands: how many units are placed on it, its place in the order of machine IDs, its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) load: usize,
    pub(super) label: u64,
    pub(super) machine: Slot,
}

#[derive(Clone, Debug, Default)]
pub(super) struct LoadIndex {
    all: BTreeSet<Rank>,
    pairs: Slots<Pair>,
    /// Metadata key, then value.
    by_pair: BTreeMap<String, BTreeMap<String, Slot>>,
}

#[derive(Clone, Debug)]
struct Pair {
    key: String,
    value: String,
    n_askers: usize,
    machines: BTreeSet<Rank>,
}

impl LoadIndex {
    /// The pair's slot, and whether it is new (then [`LoadIndex::enroll`] each machine that has it); one more asker.
    pub(super) fn acquire(&mut self, key: &str, value: &str) -> (Slot, bool) {
        if let Some(&pair) = self.by_pair.get(key).and_then(|values| values.get(value)) {
            self.pairs[pair].n_askers += 1;
            return (pair, false);
        }
        let row = Pair { key: key.to_owned(), value: value.to_owned(), n_askers: 1, machines: BTreeSet::new() };
        let pair = self.pairs.insert(row);
        self.by_pair.entry(key.to_owned()).or_default().insert(value.to_owned(), pair);
        (pair, true)
    }

    /// The machine at `rank` has the pair.
    pub(super) fn enroll(&mut self, pair: Slot, rank: Rank) {
        self.pairs[pair].machines.insert(rank);
    }

    /// One unit less asks for the pair. The slots of the machines that had it in their list, if nobody asks any more.
    pub(super) fn release(&mut self, pair: Slot) -> Vec<Slot> {
        self.pairs[pair].n_askers -= 1;
        if self.pairs[pair].n_askers != 0 {
            return Vec::new();
        }
        let Pair { key, value, machines, .. } = self.pairs.remove(pair);
        if let Some(values) = self.by_pair.get_mut(&key) {
            values.remove(&value);
            if values.is_empty() {
                self.by_pair.remove(&key);
            }
        }
        machines.into_iter().map(|rank| rank.machine).collect()
    }

    /// The pairs of that metadata that somebody asks for.
    pub(super) fn pairs_of(&self, metadata: &BTreeMap<String, String>) -> Vec<Slot> {
        metadata.iter().filter_map(|(key, value)| self.by_pair.get(key)?.get(value).copied()).collect()
    }

    pub(super) fn insert(&mut self, rank: Rank, pairs: &[Slot]) {
        self.all.insert(rank);
        for &pair in pairs {
            self.pairs[pair].machines.insert(rank);
        }
    }

    pub(super) fn remove(&mut self, rank: Rank, pairs: &[Slot]) {
        self.all.remove(&rank);
        for &pair in pairs {
            self.pairs[pair].machines.remove(&rank);
        }
    }

    /// How many machines there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many machines have one of the pairs.
    pub(super) fn n_with(&self, pairs: &[Slot]) -> usize {
        pairs.iter().map(|&pair| self.pairs[pair].machines.len()).sum()
    }

    /// All machines, least loaded first, then by ID.
    pub(super) fn by_load(&self) -> impl Iterator<Item = Slot> {
        self.all.iter().map(|rank| rank.machine)
    }

    /// The machines with one of the pairs (values of one key, so that no machine has two), in the same order.
    pub(super) fn by_load_with(&self, pairs: &[Slot]) -> impl Iterator<Item = Slot> {
        let mut walks: Vec<_> = pairs.iter().map(|&pair| self.pairs[pair].machines.iter().peekable()).collect();
        std::iter::from_fn(move || {
            let heads = walks.iter_mut().enumerate().filter_map(|(idx, walk)| walk.peek().map(|rank| (**rank, idx)));
            let (rank, idx) = heads.min()?;
            walks[idx].next();
            Some(rank.machine)
        })
    }
}
