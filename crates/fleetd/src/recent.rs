//! What has changed in the store lately, as far back as memory is given for it: for those who were away for a moment.

use std::collections::VecDeque;
use std::sync::Arc;

use fleet_core::model::Revision;
use fleet_store::registry::Key;
use fleet_store::{Batch, Change};

/// Most batches that are kept.
const BATCHES_MAX: usize = 8_192;

/// Most bytes of keys and values in them.
const BYTES_MAX: usize = 8 << 20;

/// Most batches that are handed out at once.
const AT_ONCE: usize = 64;

/// The last changes, in order.
#[derive(Debug, Default)]
pub struct Recent {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    /// All that changed after this revision is here.
    begin: Revision,
    /// The newest revision that was seen.
    end: Revision,
}

/// What has changed after a revision.
#[derive(Debug)]
pub enum Since {
    /// The next batches, and the revision up to which this is all. There may be none, if nothing that is told has changed.
    Batches(Vec<Arc<Batch>>, Revision),
    /// That is too long ago, or not of this store: go on from this revision.
    Forgotten(Revision),
}

impl Recent {
    /// A full look was taken at that revision: what was before it is not known in single steps.
    pub fn begin_anew(&mut self, at: Revision) {
        *self = Recent { begin: at, end: at, ..Recent::default() };
    }

    /// The next batch. Files and what is kept of requests are not told: they say nothing of how the cluster is.
    pub fn add(&mut self, mut batch: Batch) {
        self.end = self.end.max(batch.revision);
        batch
            .changes
            .retain(|change| !matches!(Key::parse(change.key()), None | Some(Key::File(_) | Key::Request(..))));
        if batch.changes.is_empty() {
            return;
        }
        self.bytes += bytes(&batch);
        self.batches.push_back(Arc::new(batch));
        while BATCHES_MAX < self.batches.len() || BYTES_MAX < self.bytes {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.bytes -= bytes(&oldest);
            self.begin = oldest.revision;
        }
    }

    /// What came after a revision; `None` if nothing did.
    pub fn since(&self, revision: Revision) -> Option<Since> {
        if revision < self.begin || self.end < revision {
            return Some(Since::Forgotten(self.end));
        }
        if revision == self.end {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.revision <= revision);
        let batches: Vec<Arc<Batch>> = self.batches.iter().skip(first).take(AT_ONCE).cloned().collect();
        let upto = match batches.last() {
            Some(last) if batches.len() == AT_ONCE => last.revision,
            Some(_) | None => self.end,
        };
        Some(Since::Batches(batches, upto))
    }
}

fn bytes(batch: &Batch) -> usize {
    let size = |change: &Change| match change {
        Change::Put(kv) => kv.key.len() + kv.value.len(),
        Change::Delete { key, .. } => key.len(),
    };
    batch.changes.iter().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(revision: u64, key: &str) -> Batch {
        let revision = Revision(revision);
        Batch { revision, changes: vec![Change::Delete { key: key.to_owned(), revision }] }
    }

    fn told(recent: &Recent, revision: u64) -> String {
        match recent.since(Revision(revision)) {
            None => "nothing".to_owned(),
            Some(Since::Forgotten(at)) => format!("forgotten at {}", at.0),
            Some(Since::Batches(batches, upto)) => {
                let revisions: Vec<String> = batches.iter().map(|batch| batch.revision.0.to_string()).collect();
                format!("{} upto {}", revisions.join(" "), upto.0)
            }
        }
    }

    #[test]
    fn what_came_after() {
        let mut recent = Recent::default();
        recent.begin_anew(Revision(10));
        assert_eq!(told(&recent, 10), "nothing");
        recent.add(batch(12, "brake"));
        recent.add(batch(13, "files/0123456789012345678901234567890123456789"));
        assert_eq!(told(&recent, 10), "12 upto 13");
        assert_eq!(told(&recent, 12), " upto 13");
        assert_eq!(told(&recent, 13), "nothing");
        assert_eq!(told(&recent, 9), "forgotten at 13");
        // Of a store that was put back since.
        assert_eq!(told(&recent, 14), "forgotten at 13");
        recent.begin_anew(Revision(20));
        assert_eq!(told(&recent, 13), "forgotten at 20");
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        let n = BATCHES_MAX as u64 + 100;
        (1..=n).for_each(|revision| recent.add(batch(revision, "brake")));
        assert_eq!(recent.batches.len(), BATCHES_MAX);
        assert_eq!(told(&recent, 99), format!("forgotten at {n}"));
        let first: Vec<String> = (101..=100 + AT_ONCE as u64).map(|revision| revision.to_string()).collect();
        assert_eq!(told(&recent, 100), format!("{} upto {}", first.join(" "), 100 + AT_ONCE));
        let long = "x".repeat(1 << 20);
        (n + 1..=n + 20).for_each(|revision| recent.add(batch(revision, &format!("metadata/{long}/k"))));
        assert!(recent.bytes <= BYTES_MAX, "{}", recent.bytes);
    }
}
