//! The one way in which users change units: decide on the picture, write with guards, decide again if somebody was faster.

use axum::http::StatusCode;
use fleet_api::v2::{ChangeResult, Outcome, Problem};
use fleet_core::model::Revision;
use fleet_store::registry::View;
use fleet_store::registry::ops::{self, OpsError, Room};
use fleet_store::{Guard, StoreError, TXN_OPS_MAX, Txn, TxnOutcome};

use super::Api;
use super::problem::{Kind, problem, unavailable};

/// How often a change is decided anew when somebody else was faster, before the caller is told.
pub const RACES_MAX: u32 = 20;

/// What one wish comes to on a picture: what to tell, and the transaction that brings it about if one is needed. One without
/// writes says on what the answer rests: then the store is asked whether that holds.
pub type Decision<T> = Result<(T, Option<Txn>), Problem>;

/// What one wish comes to, with nothing left that would be told from the picture alone: the picture may be behind what users
/// were told by another daemon, and an answer from it (it is so already, there is no such unit) would undo that in silence.
///
/// A transaction without writes says on what the answer rests; an empty one, that it rests on the request alone.
pub type Settled<T> = (Result<T, Problem>, Txn);

/// Refusals that say what is wrong with the request, whatever there is in the cluster.
const OF_THE_REQUEST: [Kind; 4] = [Kind::BadRequest, Kind::BadUnitName, Kind::BadUnitFile, Kind::TooLarge];

/// Lets what needs no write rest on what was `seen`.
pub fn settle<T>(decided: Decision<T>, seen: impl FnOnce() -> Vec<Guard>) -> Settled<T> {
    let resting = |seen: Vec<Guard>| Txn { guards: seen, writes: Vec::new() };
    match decided {
        Ok((told, Some(txn))) => (Ok(told), txn),
        Ok((told, None)) => (Ok(told), resting(seen())),
        Err(problem) if OF_THE_REQUEST.iter().any(|kind| problem.is(*kind)) => (Err(problem), Txn::default()),
        Err(problem) => (Err(problem), resting(seen())),
    }
}

/// One result for each wish, once it is known.
pub type Slots<T> = Vec<Option<Result<T, Problem>>>;

/// What is told of a wish.
pub trait Told {
    /// Its transaction was committed at that revision.
    fn committed(&mut self, at: Revision);
}

impl Told for StatusCode {
    fn committed(&mut self, _: Revision) {}
}

impl Told for ChangeResult {
    /// A unit's generations count from the revision at which it was created.
    fn committed(&mut self, at: Revision) {
        if self.outcome == Outcome::Created {
            self.generation = at.0;
        }
    }
}

/// Decides and writes the wishes whose slots are open, until each has its result; gives the revision that shows all of them.
///
/// `decide` is asked anew for a wish whose transaction lost a race; after [`RACES_MAX`] of them its slot stays open.
///
/// # Errors
/// The store's: then what is written already stays written.
pub async fn write<T: Told>(
    api: &Api,
    slots: &mut Slots<T>,
    decide: impl Fn(&View, usize) -> Settled<T>,
) -> Result<Revision, Problem> {
    // One writer at a time in this daemon: they would only get into each other's way.
    let _turn = api.writing.lock().await;
    let mut revision = api.view.read().revision();
    for _ in 0..RACES_MAX {
        if slots.iter().all(Option::is_some) {
            break;
        }
        revision = round(api, slots, &decide).await?.max(revision);
        api.view.reached(revision).await;
    }
    Ok(revision)
}

/// Decides all open wishes on the picture as it is and writes them, as many as possible in one transaction.
async fn round<T: Told>(
    api: &Api,
    slots: &mut Slots<T>,
    decide: &impl Fn(&View, usize) -> Settled<T>,
) -> Result<Revision, Problem> {
    let mut decided = Decided { revision: Revision(0), writes: Vec::new(), checks: Vec::new() };
    {
        let view = api.view.read();
        decided.revision = view.revision();
        for (idx, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_none()) {
            *slot = decided.add(idx, decide(&view, idx));
        }
    }
    let Decided { mut revision, writes, checks } = decided;
    match check(api, checks).await? {
        Checked::Hold(held) => held.into_iter().for_each(|(idx, told)| slots[idx] = Some(told)),
        Checked::Moved(at) => return Ok(revision.max(at)),
    }
    let (results, txns): (Vec<_>, Vec<Txn>) = writes.into_iter().map(|(idx, told, txn)| ((idx, told), txn)).unzip();
    let batches = ops::pack(None, Room::default(), txns).map_err(|err| too_big(&err))?;
    let mut results = results.into_iter();
    for (batch, n_wishes) in batches {
        match api.store.commit(&batch).await.map_err(|err| failed(&err))? {
            TxnOutcome::Committed(at) => {
                revision = revision.max(at);
                for (idx, mut told) in results.by_ref().take(n_wishes) {
                    told.committed(at);
                    slots[idx] = Some(Ok(told));
                }
            }
            // Somebody was faster with one of them: what is left is decided again on the newer picture.
            TxnOutcome::Conflict(at) => return Ok(revision.max(at)),
        }
    }
    Ok(revision)
}

/// What the open wishes come to on one picture.
pub struct Decided<T> {
    pub revision: Revision,
    pub writes: Vec<(usize, T, Txn)>,
    /// What is told only if these guards hold.
    pub checks: Vec<(usize, Result<T, Problem>, Vec<Guard>)>,
}

impl<T> Decided<T> {
    /// Takes in what a wish comes to; what can be told already, because it rests on nothing in the store.
    pub fn add(&mut self, idx: usize, (told, txn): Settled<T>) -> Option<Result<T, Problem>> {
        match told {
            told if txn == Txn::default() => return Some(told),
            Ok(told) if !txn.writes.is_empty() => self.writes.push((idx, told, txn)),
            told => self.checks.push((idx, told, txn.guards)),
        }
        None
    }
}

/// Whether what was decided still rests on what it was decided on.
pub enum Checked<T> {
    /// It does.
    Hold(Vec<(usize, Result<T, Problem>)>),
    /// Something has moved on; the store is at that revision.
    Moved(Revision),
}

/// Asks the store whether the guards hold, by transactions that write nothing.
pub async fn check<T>(api: &Api, checks: Vec<(usize, Result<T, Problem>, Vec<Guard>)>) -> Result<Checked<T>, Problem> {
    let (mut held, mut guards) = (Vec::new(), Vec::new());
    for (idx, told, needs) in checks {
        held.push((idx, told));
        guards.extend(needs);
    }
    for guards in guards.chunks(TXN_OPS_MAX) {
        let txn = Txn { guards: guards.to_vec(), writes: Vec::new() };
        if let TxnOutcome::Conflict(at) = api.store.commit(&txn).await.map_err(|err| failed(&err))? {
            return Ok(Checked::Moved(at));
        }
    }
    Ok(Checked::Hold(held))
}

/// A transaction that did not come about.
pub fn failed(err: &StoreError) -> Problem {
    match err {
        StoreError::Unavailable(_) | StoreError::Rewound { .. } => unavailable(err),
        err => problem(Kind::Internal, err.to_string()),
    }
}

/// A wish that is too large for one transaction.
pub fn too_big(err: &OpsError) -> Problem {
    problem(Kind::TooLarge, err.to_string())
}
