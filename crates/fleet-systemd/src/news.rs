//! What is to be told to the one who drives a machine, merged so that it stays small however slowly it is taken.

use std::collections::BTreeSet;

use fleet_core::unit::UnitName;
use tokio::sync::{Notify, mpsc};

use crate::{ManagerEvent, UnitStatus};

/// The news not yet told. Not more than one entry for each unit of ours.
#[derive(Debug, Default)]
pub(crate) struct News {
    lost: bool,
    back: bool,
    changed: BTreeSet<UnitName>,
}

impl News {
    /// The connection is gone; what was to be told before is worth nothing now.
    pub(crate) fn lost(&mut self) {
        *self = News { lost: true, ..News::default() };
    }

    pub(crate) fn back(&mut self) {
        self.back = true;
    }

    pub(crate) fn changed(&mut self, name: &UnitName) {
        self.changed.insert(name.clone());
    }

    /// The unit is no longer ours.
    pub(crate) fn forget(&mut self, name: &UnitName) {
        self.changed.remove(name);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.lost && !self.back && self.changed.is_empty()
    }

    /// The next event; `now` says how a unit is at this moment.
    pub(crate) fn next(&mut self, now: impl FnOnce(&UnitName) -> Option<UnitStatus>) -> Option<ManagerEvent> {
        if std::mem::take(&mut self.lost) {
            return Some(ManagerEvent::Disconnected);
        }
        if std::mem::take(&mut self.back) {
            return Some(ManagerEvent::Connected);
        }
        let name = self.changed.pop_first()?;
        now(&name).map(ManagerEvent::Changed)
    }
}

/// Tells the news behind `is_quiet` and `next` whenever `bell` rings, at the pace at which they are taken. Ends when nobody
/// listens any more.
pub(crate) async fn tell(
    bell: &Notify,
    events: mpsc::Sender<ManagerEvent>,
    is_quiet: impl Fn() -> bool,
    next: impl Fn() -> Option<ManagerEvent>,
) {
    loop {
        bell.notified().await;
        while !is_quiet() {
            // First the room, then the news: so it is the newest state that is told.
            let Ok(room) = events.reserve().await else {
                return;
            };
            if let Some(event) = next() {
                room.send(event);
            }
        }
    }
}
