//! The judge: sees the store and the machines from outside and says what may not be.
//!
//! It never asks the code under test. It reads the store's keys with `registry`, holds placements against
//! `fleet_core::check`, and takes the rest from the fake systemds and from what users were told.
//!
//! `store` judges each revision, with `brake` (machines that are lost all at once) and `needs` (metadata, `Replaces`);
//! `machine` judges each job that a daemon asks of its systemd, with `leaving`; `rest` how the cluster is once all trouble is
//! over.

mod brake;
mod leaving;
mod machine;
mod needs;
mod rest;
mod store;

use std::collections::BTreeMap;

use fleet_core::engine::EngineConfig;
use fleet_core::model::{MachineId, Placement, Revision};
use fleet_core::unit::UnitName;
use fleet_store::mem::Mem;
use fleet_store::registry::{Key, UnitRecord, View};
use fleet_store::{Store as _, StoreError, Watch};
use futures_util::FutureExt as _;

use crate::link::batch_text;
use crate::trace::Trace;
use crate::world::Who;
pub(crate) use machine::Job;

use leaving::Leaving;
use machine::Process;

/// What is known of one key of a kind, by revision: what stood there from then on.
type History<T> = Vec<(Revision, Option<T>)>;

/// See the module's documentation.
pub(crate) struct Judge {
    trace: Trace,
    mem: Mem,
    machines: Vec<MachineId>,
    watch: Box<dyn Watch>,
    view: View,
    /// Who wrote which revision; leases that ended have no author.
    authors: BTreeMap<Revision, Who>,
    leader: Option<Who>,
    /// By which the brake goes.
    losses: EngineConfig,
    /// When the brake came on last.
    braked_ms: u64,
    /// When it was last said of each machine whether it is drained, or leaves.
    drain_changed_ms: BTreeMap<MachineId, u64>,
    /// Since when each machine takes new units, of those that do.
    open_since_ms: BTreeMap<MachineId, u64>,
    /// Whether each machine has the disk that is asked for, and since when it is so.
    is_fast: BTreeMap<MachineId, (bool, u64)>,
    /// The machines whose daemons were told to stop.
    leaving: BTreeMap<usize, Leaving>,
    /// When each daemon last read all orders to its machine.
    read_orders: BTreeMap<Who, Revision>,
    /// Some daemon's watch has lost an event: who goes by the picture may do what was right a while ago.
    is_deaf: bool,
    presence: BTreeMap<MachineId, Presence>,
    /// Who announced each machine last.
    announced: BTreeMap<MachineId, Who>,
    orders: BTreeMap<(MachineId, UnitName), History<Placement>>,
    wishes: BTreeMap<UnitName, History<UnitRecord>>,
    processes: BTreeMap<(usize, UnitName), Process>,
    /// When a main process was last seen there, of those that ended.
    ran_until: BTreeMap<(usize, UnitName), Revision>,
    /// The newest revision that an idle cluster would not write.
    worked: Revision,
    violation: Option<String>,
}

/// When a machine's presence in the store began and ended last.
#[derive(Clone, Copy, Debug, Default)]
struct Presence {
    present: bool,
    /// It says that it leaves.
    leaving: bool,
    came_ms: u64,
    went_ms: u64,
}

impl Judge {
    /// One that sees everything from the beginning.
    ///
    /// # Errors
    /// Not on a new store.
    pub(crate) async fn new(
        trace: Trace,
        mem: Mem,
        machines: Vec<MachineId>,
        losses: EngineConfig,
    ) -> Result<Judge, StoreError> {
        let view = View::default();
        let watch = mem.watch(&Key::all(), Revision(2)).await?;
        Ok(Judge {
            trace,
            mem,
            machines,
            watch,
            view,
            authors: BTreeMap::new(),
            leader: None,
            losses,
            braked_ms: 0,
            open_since_ms: BTreeMap::new(),
            is_fast: BTreeMap::new(),
            leaving: BTreeMap::new(),
            read_orders: BTreeMap::new(),
            is_deaf: false,
            drain_changed_ms: BTreeMap::new(),
            presence: BTreeMap::new(),
            announced: BTreeMap::new(),
            orders: BTreeMap::new(),
            wishes: BTreeMap::new(),
            processes: BTreeMap::new(),
            ran_until: BTreeMap::new(),
            worked: Revision(0),
            violation: None,
        })
    }

    /// What may not be, if anything was found. The first counts: what follows may follow from it.
    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Notes a violation.
    pub(crate) fn object(&mut self, now_ms: u64, what: String) {
        self.trace.say("JUDGE", || what.clone());
        let (seconds, ms) = (now_ms / 1_000, now_ms % 1_000);
        self.violation.get_or_insert(format!("at {seconds}.{ms:03} s: {what}"));
    }

    /// A watch has lost an event without anybody noticing.
    pub(crate) fn goes_deaf(&mut self) {
        self.is_deaf = true;
    }

    /// Whether one has.
    pub(crate) fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// The store as it is.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The newest revision that an idle cluster would not write.
    pub(crate) fn worked(&self) -> Revision {
        self.worked
    }

    /// Who wrote a revision.
    pub(crate) fn wrote(&mut self, revision: Revision, who: Who) {
        self.authors.insert(revision, who);
    }

    /// Takes in what changed in the store since the last look.
    pub(crate) fn look_at_store(&mut self, now_ms: u64) {
        while let Some(batch) = self.watch.next().now_or_never() {
            match batch {
                Ok(batch) => {
                    self.trace.say("store", || format!("{}: {}", batch.revision.0, batch_text(&batch)));
                    self.take_in(now_ms, &batch);
                }
                // All watches were cut, the judge's too, which goes on where it was.
                Err(_) => self.watch_again(now_ms),
            }
        }
    }

    fn watch_again(&mut self, now_ms: u64) {
        let from = Revision(self.view.revision().0.max(1) + 1);
        match self.mem.watch(&Key::all(), from).now_or_never() {
            Some(Ok(watch)) => self.watch = watch,
            other => {
                let why = other.map(|watch| watch.err());
                self.object(now_ms, format!("the judge lost sight of the store: {why:?}"));
                self.watch = Box::new(Blind);
            }
        }
    }
}

/// A watch that shows nothing.
struct Blind;

#[async_trait::async_trait]
impl Watch for Blind {
    async fn next(&mut self) -> Result<fleet_store::Batch, StoreError> {
        std::future::pending().await
    }
}

/// Whether `holds` is true of anything that stood at or after `since`; before the first entry nothing stood.
fn stood_since<T>(history: Option<&History<T>>, since: Revision, holds: impl Fn(Option<&T>) -> bool) -> bool {
    let history = history.map(Vec::as_slice).unwrap_or_default();
    let at_since = history.iter().rev().find(|(at, _)| *at <= since).and_then(|(_, value)| value.as_ref());
    let after = history.iter().filter(|(at, _)| since < *at).map(|(_, value)| value.as_ref());
    std::iter::once(at_since).chain(after).any(holds)
}
