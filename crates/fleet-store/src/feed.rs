//! Watches over a [`History`]: who waits for which keys, and from where.
//!
//! A watcher has no queue of its own. It remembers the first revision that it has not seen and that concerns it, and reads
//! it from the history that all share; so a slow one costs no memory, and one whose revision has fallen out of the
//! history is told so ([`StoreError::Compacted`]). One with nothing to see is never behind, however old.
//! A change wakes only those whose keys it touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::history::History;
use crate::{Batch, Change, Keys, Revision, StoreError, WATCHES_MAX, Watch};

/// The watches of one store. Shared by the store and its watchers.
#[derive(Debug)]
pub(crate) struct Feed {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    history: History,
    watchers: BTreeMap<u64, Watcher>,
    /// Who watches exactly this key.
    by_key: BTreeMap<String, BTreeSet<u64>>,
    /// Who watches the keys that start so.
    by_prefix: BTreeMap<String, BTreeSet<u64>>,
    last_id: u64,
    /// Set when the store is gone for good.
    closed: Option<StoreError>,
}

#[derive(Debug)]
struct Watcher {
    keys: Keys,
    from: Revision,
    /// The first revision not yet handed out that concerns it.
    pending: Option<Revision>,
    /// Why it is over, if it is.
    ended: Option<StoreError>,
    wake: Arc<Notify>,
}

impl Feed {
    /// A feed whose history begins after `revision`.
    pub(crate) fn after(revision: Revision) -> Feed {
        Feed {
            state: Mutex::new(State {
                history: History::after(revision),
                watchers: BTreeMap::new(),
                by_key: BTreeMap::new(),
                by_prefix: BTreeMap::new(),
                last_id: 0,
                closed: None,
            }),
        }
    }

    /// Starts a watch.
    pub(crate) fn watch(self: &Arc<Feed>, keys: &Keys, from: Revision) -> Result<FeedWatch, StoreError> {
        let mut state = self.lock();
        if let Some(err) = &state.closed {
            return Err(err.clone());
        }
        if WATCHES_MAX <= state.watchers.len() {
            return Err(StoreError::Full { what: "watches", limit: WATCHES_MAX });
        }
        if from < state.history.oldest() {
            return Err(StoreError::Compacted(state.history.oldest()));
        }
        state.last_id += 1;
        let id = state.last_id;
        let wake = Arc::new(Notify::new());
        let watcher = Watcher {
            keys: keys.clone(),
            from,
            pending: state.first_matching(keys, from),
            ended: None,
            wake: Arc::clone(&wake),
        };
        state.watchers.insert(id, watcher);
        state.index(keys).insert(id);
        Ok(FeedWatch { feed: Arc::clone(self), id, wake })
    }

    /// Makes a revision known, in order of revisions.
    pub(crate) fn publish(&self, batch: Batch) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut concerned = BTreeSet::new();
        for key in batch.changes.iter().map(Change::key) {
            concerned.extend(state.by_key.get(key).into_iter().flatten());
            let ends = key.char_indices().map(|(at, _)| at).chain([key.len()]);
            for prefix in ends.map(|end| &key[..end]) {
                concerned.extend(state.by_prefix.get(prefix).into_iter().flatten());
            }
        }
        for id in concerned {
            let Some(watcher) = state.watchers.get_mut(&id) else {
                continue;
            };
            if watcher.from <= batch.revision && watcher.pending.is_none() {
                watcher.pending = Some(batch.revision);
                watcher.wake.notify_one();
            }
        }
        state.history.push(Arc::new(batch));
    }

    /// Lets go of the history before `revision`.
    pub(crate) fn compact(&self, revision: Revision) {
        self.lock().history.compact(revision);
    }

    /// Ends all watches of now with `err`; new ones may begin.
    pub(crate) fn cut(&self, err: &StoreError) {
        for watcher in self.lock().watchers.values_mut() {
            watcher.ended.get_or_insert_with(|| err.clone());
            watcher.wake.notify_one();
        }
    }

    /// Ends all watches with `err` and begins the history anew after `revision`.
    pub(crate) fn restart(&self, revision: Revision, err: &StoreError) {
        self.cut(err);
        self.lock().history = History::after(revision);
    }

    /// Ends all watches with `err`, for good.
    pub(crate) fn close(&self, err: &StoreError) {
        self.lock().closed = Some(err.clone());
        self.cut(err);
    }

    /// What the watcher is to be told now, if anything.
    fn take(&self, id: u64) -> Option<Result<Batch, StoreError>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let watcher = state.watchers.get_mut(&id)?;
        if let Some(err) = &watcher.ended {
            return Some(Err(err.clone()));
        }
        let pending = watcher.pending?;
        if pending < state.history.oldest() {
            let err = StoreError::Compacted(state.history.oldest());
            watcher.ended = Some(err.clone());
            return Some(Err(err));
        }
        let mut batches = state.history.since(pending);
        let batch = batches.find_map(|batch| filter(batch, &watcher.keys));
        watcher.pending = batches.find(|batch| concerns(batch, &watcher.keys)).map(|batch| batch.revision);
        batch.map(Ok)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn first_matching(&self, keys: &Keys, from: Revision) -> Option<Revision> {
        let batch = self.history.since(from).find(|batch| concerns(batch, keys));
        batch.map(|batch| batch.revision)
    }

    fn index(&mut self, keys: &Keys) -> &mut BTreeSet<u64> {
        match keys {
            Keys::One(key) => self.by_key.entry(key.clone()).or_default(),
            Keys::Prefix(prefix) => self.by_prefix.entry(prefix.clone()).or_default(),
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(watcher) = self.watchers.remove(&id) else {
            return;
        };
        let (Keys::One(text) | Keys::Prefix(text)) = &watcher.keys;
        let index = match &watcher.keys {
            Keys::One(_) => &mut self.by_key,
            Keys::Prefix(_) => &mut self.by_prefix,
        };
        if let Some(ids) = index.get_mut(text) {
            ids.remove(&id);
            if ids.is_empty() {
                index.remove(text);
            }
        }
    }
}

fn concerns(batch: &Batch, keys: &Keys) -> bool {
    batch.changes.iter().any(|change| keys.contains(change.key()))
}

fn filter(batch: &Batch, keys: &Keys) -> Option<Batch> {
    let wanted = batch.changes.iter().filter(|change| keys.contains(change.key()));
    let changes: Vec<Change> = wanted.cloned().collect();
    (!changes.is_empty()).then_some(Batch { revision: batch.revision, changes })
}

/// One watch over a [`Feed`].
#[derive(Debug)]
pub(crate) struct FeedWatch {
    feed: Arc<Feed>,
    id: u64,
    wake: Arc<Notify>,
}

#[async_trait]
impl Watch for FeedWatch {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            if let Some(news) = self.feed.take(self.id) {
                return news;
            }
            // A wake-up between the look above and this wait is kept by `Notify`, so none is lost.
            self.wake.notified().await;
        }
    }
}

impl Drop for FeedWatch {
    fn drop(&mut self) {
        self.feed.lock().remove(self.id);
    }
}
