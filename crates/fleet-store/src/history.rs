//! The changes of the last revisions, from which watches are fed. Bounded; what falls out is compacted.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Batch, Change, Revision};

/// Most revisions kept. A watcher that falls further behind has to read everything anew.
pub const HISTORY_BATCHES_MAX: usize = 10_000;

/// Most bytes of keys and values kept, for revisions that carry large values.
pub const HISTORY_BYTES_MAX: usize = 32 << 20;

/// Revisions from [`History::oldest`] to the present, none left out.
#[derive(Clone, Debug)]
pub struct History {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    oldest: Revision,
}

impl History {
    /// A history that begins after `revision`: all before, and that one, is gone.
    #[must_use]
    pub fn after(revision: Revision) -> History {
        History { batches: VecDeque::new(), bytes: 0, oldest: Revision(revision.0 + 1) }
    }

    /// The oldest revision a watch can begin from.
    #[must_use]
    pub fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Takes in the next revision, and lets the oldest go when a limit is passed.
    pub fn push(&mut self, batch: Arc<Batch>) {
        self.bytes += size(&batch);
        self.batches.push_back(batch);
        while HISTORY_BATCHES_MAX < self.batches.len() || HISTORY_BYTES_MAX < self.bytes {
            self.pop();
        }
    }

    /// Lets go of everything before `revision`.
    pub fn compact(&mut self, revision: Revision) {
        while self.batches.front().is_some_and(|batch| batch.revision < revision) {
            self.pop();
        }
        self.oldest = self.oldest.max(revision);
    }

    /// The batches of revision `from` and later that are kept.
    pub fn since(&self, from: Revision) -> impl Iterator<Item = &Arc<Batch>> {
        let start = self.batches.partition_point(|batch| batch.revision < from);
        self.batches.range(start..)
    }

    fn pop(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= size(&batch);
            self.oldest = Revision(batch.revision.0 + 1);
        }
    }
}

fn size(batch: &Batch) -> usize {
    let one = |change: &Change| match change {
        Change::Put(kv) => kv.key.len() + kv.value.len(),
        Change::Delete { key, .. } => key.len(),
    };
    batch.changes.iter().map(one).sum()
}
