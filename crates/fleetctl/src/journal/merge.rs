//! Puts entries of several journals in the order of time.

use std::collections::BTreeMap;

use super::Entry;

/// How long an entry is held back, in milliseconds, for older ones of other machines to arrive. A person does not notice, and
/// machines whose clocks agree are further apart only when one of them is in trouble.
pub const HOLD_MS: u64 = 100;

/// Entries that are held back. `S` says where one comes from.
#[derive(Debug)]
pub struct Merge<S> {
    hold_ms: u64,
    /// By their time, then in the order in which they came; with when they came.
    held: BTreeMap<(u64, u64), (u64, S, Entry)>,
    n_taken: u64,
}

impl<S> Merge<S> {
    /// Nothing yet. Entries are held back for `hold_ms`: [`HOLD_MS`], or 0 where all come from one journal.
    pub fn new(hold_ms: u64) -> Merge<S> {
        Merge { hold_ms, held: BTreeMap::new(), n_taken: 0 }
    }

    /// From now on entries are held back for so long, also those that are here.
    pub fn hold(&mut self, hold_ms: u64) {
        self.hold_ms = hold_ms;
    }

    /// Takes an entry that came at `now_ms`, by any clock that only goes forward.
    pub fn take(&mut self, now_ms: u64, source: S, entry: Entry) {
        self.held.insert((entry.at_us, self.n_taken), (now_ms, source, entry));
        self.n_taken += 1;
    }

    /// Those that were held for long enough, and all that are older than they, in the order of time.
    pub fn due(&mut self, now_ms: u64) -> Vec<(S, Entry)> {
        let is_due = |(_, (came_ms, ..)): &(&(u64, u64), &(u64, S, Entry))| came_ms + self.hold_ms <= now_ms;
        let Some(last) = self.held.iter().rfind(is_due).map(|(key, _)| *key) else { return Vec::new() };
        let later = self.held.split_off(&(last.0, last.1 + 1));
        let due = std::mem::replace(&mut self.held, later);
        due.into_values().map(|(_, source, entry)| (source, entry)).collect()
    }

    /// All that is left.
    pub fn rest(&mut self) -> Vec<(S, Entry)> {
        std::mem::take(&mut self.held).into_values().map(|(_, source, entry)| (source, entry)).collect()
    }

    /// When there is something due, if there is anything.
    pub fn next_ms(&self) -> Option<u64> {
        self.held.values().map(|(came_ms, ..)| came_ms + self.hold_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_us: u64) -> Entry {
        Entry::read(&format!(r#"{{"__REALTIME_TIMESTAMP":"{at_us}"}}"#)).expect("an entry")
    }

    fn times<S>(entries: Vec<(S, Entry)>) -> Vec<u64> {
        entries.into_iter().map(|(_, entry)| entry.at_us).collect()
    }

    #[test]
    fn entries_wait_for_older_ones() {
        let mut merge = Merge::new(HOLD_MS);
        assert_eq!(merge.next_ms(), None);
        merge.take(1_000, 'a', entry(20));
        merge.take(1_050, 'b', entry(10));
        merge.take(1_060, 'a', entry(30));
        assert_eq!(merge.next_ms(), Some(1_000 + HOLD_MS));
        assert_eq!(times(merge.due(1_000 + HOLD_MS - 1)), [0; 0]);
        // The older one came later and goes first, with the one that is due; the newest waits for its own time.
        assert_eq!(times(merge.due(1_000 + HOLD_MS)), [10, 20]);
        assert_eq!(merge.next_ms(), Some(1_060 + HOLD_MS));
        // Too late to be put in order: at least it is not lost.
        merge.take(1_070, 'b', entry(5));
        assert_eq!(times(merge.rest()), [5, 30]);
        assert_eq!(merge.next_ms(), None);
    }

    #[test]
    fn a_second_journal_makes_those_of_the_first_wait() {
        let mut merge = Merge::new(0);
        merge.take(5, 'a', entry(20));
        merge.hold(HOLD_MS);
        merge.take(6, 'b', entry(10));
        assert_eq!(times(merge.due(5)), [0; 0]);
        assert_eq!(times(merge.due(5 + HOLD_MS)), [10, 20]);
        merge.take(300, 'a', entry(30));
        merge.hold(0);
        assert_eq!(merge.next_ms(), Some(300));
        assert_eq!(times(merge.due(300)), [30]);
    }

    #[test]
    fn equal_times_keep_the_order_in_which_they_came() {
        let mut merge = Merge::new(HOLD_MS);
        for source in ['a', 'b', 'a'] {
            merge.take(0, source, entry(7));
        }
        let order: Vec<char> = merge.due(HOLD_MS).into_iter().map(|(source, _)| source).collect();
        assert_eq!(order, ['a', 'b', 'a']);
    }
}
