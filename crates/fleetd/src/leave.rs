//! Leaving the cluster at the end of the daemon (`leave_on_stop`): units go to other machines while they still run here, what
//! cannot is stopped, and the machines say that they are gone, so that nobody waits for them.
//!
//! Each step has a limit, because a store that is away, or a unit that does not stop, must not keep a machine from shutting
//! down. What was not done then is done as after a loss: by the leases and the graces of those who stay.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_core::model::MachineId;
use fleet_core::schedule::is_drained;
use fleet_store::registry::MachineRecord;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::view::SharedView;

/// The way of one machine out of the cluster, step by step; each is said once.
#[derive(Clone, Debug, Default)]
pub struct Departure {
    /// The agent is to stop and remove all that it has, whatever is ordered.
    pub unload: CancellationToken,
    /// Nothing of ours is on the machine any more.
    pub empty: CancellationToken,
    /// The machine's record is withdrawn.
    pub gone: CancellationToken,
}

/// One machine that this daemon serves.
pub struct Served {
    /// What is told of it.
    pub record: watch::Sender<MachineRecord>,
    /// Its way out.
    pub departure: Departure,
}

/// Takes the machines out of the cluster; each of the two steps that may take long takes `limit` at most.
pub async fn leave(view: &SharedView, machines: &BTreeMap<MachineId, Served>, limit: Duration) {
    tell_systemd_to_wait(limit);
    for served in machines.values() {
        served.record.send_modify(|record| record.leaving = true);
    }
    if tokio::time::timeout(limit, handed_over(view, machines)).await.is_err() {
        tracing::warn!("not all units that may run elsewhere do after {} s; they are stopped here", limit.as_secs());
    }
    tell_systemd_to_wait(limit);
    for served in machines.values() {
        served.departure.unload.cancel();
    }
    let gone = async {
        for served in machines.values() {
            served.departure.gone.cancelled().await;
        }
    };
    if tokio::time::timeout(limit, gone).await.is_err() {
        for (machine, served) in machines.iter().filter(|(_, served)| !served.departure.gone.is_cancelled()) {
            let what = if served.departure.empty.is_cancelled() { "is not withdrawn" } else { "still has units" };
            tracing::warn!(%machine, "the machine {what} after {} s; it will count as lost", limit.as_secs());
        }
    }
}

/// Waits until all that can has left the machines.
async fn handed_over(view: &SharedView, machines: &BTreeMap<MachineId, Served>) {
    let mut news = view.listen();
    let is_done =
        |picture: &crate::view::Picture| machines.keys().all(|machine| is_drained(picture.cluster(), machine));
    let mut done = news.look_anew(is_done);
    // The picture may have missed a machine that can take something: a watch may have lost an event without anybody noticing.
    // So it is believed only after another look at the store.
    let mut awaited = None;
    let mut has_looked = false;
    loop {
        match (done, has_looked) {
            (true, true) => return,
            (true, false) if awaited.is_none() => awaited = Some(view.ask_for_look()),
            (false, true) => awaited = None,
            (true | false, false) => (),
        }
        // Both of one picture: the look may come to its end at any time.
        let judged =
            |picture: &crate::view::Picture| (is_done(picture), awaited.is_some_and(|look| view.has_looked(look)));
        (done, has_looked) = news.next(|picture, _| judged(picture)).await;
    }
}

/// Nobody listens when systemd did not start us: no error.
fn tell_systemd_to_wait(limit: Duration) {
    // A little more, so that it is we who say that the limit is over.
    let limit = limit.saturating_add(Duration::from_secs(5));
    let micros = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::ExtendTimeoutUsec(micros)]);
}
