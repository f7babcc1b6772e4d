//! The cluster as this daemon sees it: one picture, kept up to date by one watch, for the engine and the API alike.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use fleet_core::model::{MachineId, Revision, Timestamp};
use fleet_store::registry::{Key, View};
use fleet_store::{Store, StoreError};
use tokio::sync::{Notify, broadcast};

use crate::clock;
use crate::recent::{Recent, Since};

/// How many changes a listener may be behind before it is told to look at everything.
const NEWS_QUEUE: usize = 1_024;

/// First and longest pause after the store did not answer.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Pauses that double until something works again.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::up_to(PAUSE_MAX)
    }
}

impl Backoff {
    /// One whose pauses stop growing at `max`.
    pub fn up_to(max: Duration) -> Backoff {
        Backoff { next: PAUSE_FIRST.min(max), max }
    }

    /// Waits, longer each time.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.max);
    }

    /// It works.
    pub fn reset(&mut self) {
        self.next = PAUSE_FIRST.min(self.max);
    }
}

/// What changed in the picture.
#[derive(Clone, Debug)]
pub enum News {
    /// These keys.
    Changed(Arc<Vec<Key>>),
    /// Perhaps everything: there was a gap.
    Everything,
}

/// The cluster as records, and since when nothing is heard of machines that have orders and are not present.
///
/// That is counted from when this process saw a machine go, and for those that were away before, from its first look: the
/// store remembers nobody's end, and an age that is too low is better than one that is made up.
#[derive(Debug, Default)]
pub struct Picture {
    view: View,
    silent_since: BTreeMap<MachineId, Timestamp>,
    /// Where machines were when they were seen last, of all that are present or silent.
    addresses: BTreeMap<MachineId, String>,
}

impl Deref for Picture {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl Picture {
    /// Since when nothing is heard of the machine; `None` if it is present, or has no orders.
    pub fn silent_since(&self, id: &MachineId) -> Option<Timestamp> {
        self.silent_since.get(id).copied()
    }

    /// The address of a machine that is present or was seen before it went silent, if it says one.
    pub fn address(&self, id: &MachineId) -> Option<&str> {
        self.addresses.get(id).map(String::as_str).filter(|address| !address.is_empty())
    }

    /// Takes in what has changed: only the machines that it concerns are looked at, for all readers wait meanwhile.
    fn note(&mut self, news: &News, now: Timestamp) {
        let concerned: BTreeSet<MachineId> = match news {
            News::Changed(keys) => {
                let machine = |key: &Key| match key {
                    Key::Machine(id) | Key::Placement(id, _) => Some(id.clone()),
                    _ => None,
                };
                keys.iter().filter_map(machine).collect()
            }
            News::Everything => {
                let there = self.view.machines().keys().chain(self.view.cluster().placements.keys());
                there.chain(self.addresses.keys()).chain(self.silent_since.keys()).cloned().collect()
            }
        };
        for id in concerned {
            if let Some(entry) = self.view.machines().get(&id) {
                self.silent_since.remove(&id);
                self.addresses.insert(id, entry.record.public_ip.clone());
            } else if self.view.cluster().placements.contains_key(&id) {
                self.silent_since.entry(id).or_insert(now);
            } else {
                self.silent_since.remove(&id);
                self.addresses.remove(&id);
            }
        }
    }
}

/// The shared picture. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedView {
    picture: Arc<RwLock<Picture>>,
    news: broadcast::Sender<News>,
    /// Whether the store was read at all; wakes those who wait for a revision.
    ///
    /// Not a `watch`: that wakes its receivers in a random order, and equal happenings shall give an equal run.
    looked: Arc<AtomicBool>,
    moved: Arc<Notify>,
    looks: Arc<Looks>,
    recent: Arc<Mutex<Recent>>,
}

/// Looks at the whole store that were asked for.
#[derive(Debug, Default)]
struct Looks {
    wanted: AtomicU64,
    done: AtomicU64,
    asked: Notify,
}

/// A look at the whole store that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look(u64);

/// Hears of changes.
#[derive(Debug)]
pub struct Listener {
    view: SharedView,
    news: broadcast::Receiver<News>,
}

impl Default for SharedView {
    fn default() -> SharedView {
        SharedView::new()
    }
}

impl SharedView {
    /// An empty picture; [`SharedView::follow`] fills it.
    pub fn new() -> SharedView {
        SharedView {
            picture: Arc::default(),
            news: broadcast::Sender::new(NEWS_QUEUE),
            looked: Arc::default(),
            moved: Arc::default(),
            looks: Arc::default(),
            recent: Arc::default(),
        }
    }

    /// The picture as it is now. Do not hold it across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Picture> {
        // A poisoned lock means that taking in a change panicked; the picture is as whole as before it.
        self.picture.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the picture shows at least `revision`: 0 for the first look at the store, whatever that showed.
    pub async fn reached(&self, revision: Revision) {
        loop {
            // Made before the look, so that no wake-up is missed between the two.
            let moved = self.moved.notified();
            if self.looked.load(Ordering::Acquire) && revision <= self.read().revision() {
                return;
            }
            moved.await;
        }
    }

    /// Waits until something has changed after `revision`, and gives what is kept of it.
    pub async fn since(&self, revision: Revision) -> Since {
        loop {
            let moved = self.moved.notified();
            if self.looked.load(Ordering::Acquire)
                && let Some(since) = self.recent().since(revision)
            {
                return since;
            }
            moved.await;
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look at the whole store: a watch that lost an event shows the picture without it, and goes on. `Everything`
    /// is told when it is done.
    pub fn ask_for_look(&self) -> Look {
        let look = Look(self.looks.wanted.fetch_add(1, Ordering::AcqRel) + 1);
        self.looks.asked.notify_one();
        look
    }

    /// Whether the picture comes from a look that was begun after this one had been asked for.
    pub fn has_looked(&self, look: Look) -> bool {
        look.0 <= self.looks.done.load(Ordering::Acquire)
    }

    /// Hears of all changes from now on.
    pub fn listen(&self) -> Listener {
        Listener { view: self.clone(), news: self.news.subscribe() }
    }

    /// Keeps the picture up to date for as long as the process lives.
    pub async fn follow(self, store: Arc<dyn Store>, resync: Duration) {
        let mut backoff = Backoff::default();
        loop {
            if let Err(err) = self.follow_once(&*store, resync, &mut backoff).await {
                tracing::warn!(error = %err, "lost sight of the store; units go on running, and all is looked at anew");
                backoff.pause().await;
            }
        }
    }

    async fn follow_once(&self, store: &dyn Store, resync: Duration, backoff: &mut Backoff) -> Result<(), StoreError> {
        let wanted = self.looks.wanted.load(Ordering::Acquire);
        let snapshot = store.read(&Key::all()).await?;
        self.update(|view| {
            view.resync(&snapshot);
            self.recent().begin_anew(snapshot.revision);
            self.looks.done.store(wanted, Ordering::Release);
            Some(News::Everything)
        });
        let mut watch = store.watch(&Key::all(), Revision(snapshot.revision.0 + 1)).await?;
        let due = tokio::time::Instant::now() + resync;
        loop {
            let batch = tokio::select! {
                biased;
                () = self.looks.asked.notified() => {
                    // The look that was just done may have been begun after it was asked for.
                    if self.looks.wanted.load(Ordering::Acquire) == self.looks.done.load(Ordering::Acquire) {
                        continue;
                    }
                    return Ok(());
                }
                () = tokio::time::sleep_until(due) => return Ok(()),
                batch = watch.next() => batch?,
            };
            backoff.reset();
            self.update(|view| {
                let keys = view.apply(&batch);
                self.recent().add(batch);
                (!keys.is_empty()).then(|| News::Changed(Arc::new(keys)))
            });
        }
    }

    /// Changes the picture and tells of it under one lock, so that who holds the lock has all news up to its revision.
    fn update(&self, change: impl FnOnce(&mut View) -> Option<News>) {
        let mut picture = self.picture.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(news) = change(&mut picture.view) {
            picture.note(&news, clock::now());
            // No listener is no error.
            let _ = self.news.send(news);
        }
        self.looked.store(true, Ordering::Release);
        self.moved.notify_waiters();
    }
}

/// Which keys changed up to a picture.
#[derive(Debug, PartialEq, Eq)]
pub enum Changes {
    /// These.
    Keys(BTreeSet<Key>),
    /// Perhaps all.
    Everything,
}

impl Listener {
    /// Waits for news, then shows the picture together with all that changed up to it since the last call.
    pub async fn next<T>(&mut self, look: impl FnOnce(&Picture, Changes) -> T) -> T {
        let mut changes = Changes::Keys(BTreeSet::new());
        match self.news.recv().await {
            Ok(news) => changes.add(news),
            Err(broadcast::error::RecvError::Lagged(_)) => changes = Changes::Everything,
            // Not before the process ends: `view` holds a sender.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
        let view = self.view.read();
        loop {
            match self.news.try_recv() {
                Ok(news) => changes.add(news),
                Err(broadcast::error::TryRecvError::Lagged(_)) => changes = Changes::Everything,
                Err(_) => return look(&view, changes),
            }
        }
    }

    /// Drops what has been heard so far and shows the picture as it is.
    pub fn look_anew<T>(&mut self, look: impl FnOnce(&Picture) -> T) -> T {
        let view = self.view.read();
        self.news = self.news.resubscribe();
        look(&view)
    }
}

impl Changes {
    fn add(&mut self, news: News) {
        match (&mut *self, news) {
            (Changes::Everything, _) => (),
            (changes, News::Everything) => *changes = Changes::Everything,
            (Changes::Keys(keys), News::Changed(more)) => keys.extend(more.iter().cloned()),
        }
    }
}
