//! Requests that a client may send again (`Idempotency-Key`): what came of the first one is kept in the store, in the same transaction
//! as its effects, so that every daemon knows it, also when the answer was lost, and after a restart.
//!
//! A request that needs several transactions keeps a piece with each. Whoever is asked again reads the pieces, and does what is
//! not in them yet. So each change takes effect once, and what is known of it is told again.

use std::time::Duration;

use fleet_api::v2::{self, ChangeResult, Problem};
use fleet_core::model::Revision;
use fleet_store::registry::ops::{self, Room};
use fleet_store::registry::{Key, RequestId, RequestRecord, Value as _, View};
use fleet_store::{LeaseId, StoreError, Txn, TxnOutcome};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Api;
use super::problem::{Kind, problem};
use super::write::{Checked, Decided, RACES_MAX, Settled, Slots, Told as _, check, failed, too_big};

/// How long what came of a request is kept at least; at most twice as long. Clients that repeat one do so within minutes.
///
/// Told to clients as [`v2::IDEMPOTENCY_KEPT_S`].
const KEPT: Duration = Duration::from_secs(v2::IDEMPOTENCY_KEPT_S);

/// Most pieces that are kept in the cluster at a time. Each takes about as much room as an answer.
const PIECES_MAX: usize = 20_000;

/// Most results in one piece that goes with no write.
const RESULTS_MAX: usize = 64;

/// Room that is left for a piece in each transaction, in bytes. What makes a piece longer, warnings and findings, is left out.
const PIECE_BYTES_MAX: usize = 128 << 10;

/// A request that a client may send again.
#[derive(Clone, Debug)]
pub struct Once {
    id: RequestId,
    asked: String,
}

/// The lease on which this daemon keeps what it answers, and until when. One lease serves many requests.
#[derive(Debug, Default)]
pub struct Keeping(tokio::sync::Mutex<Option<(LeaseId, Instant)>>);

impl Keeping {
    /// A lease that lives for [`KEPT`] at least.
    async fn lease(&self, api: &Api) -> Result<LeaseId, Problem> {
        let mut current = self.0.lock().await;
        match *current {
            Some((lease, until)) if Instant::now() < until => Ok(lease),
            Some(_) | None => {
                let until = Instant::now() + KEPT;
                let lease = api.store.grant(KEPT * 2).await.map_err(|err| failed(&err))?;
                *current = Some((lease, until));
                Ok(lease)
            }
        }
    }

    /// The lease is gone: the store was replaced, or lost it.
    async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

/// One result with its place in the request.
#[derive(Serialize, Deserialize)]
struct Kept {
    idx: usize,
    result: ChangeResult,
}

/// What is kept of a request, piece by piece, each with the revision at which it was written.
type Pieces = Vec<(Revision, String)>;

impl Once {
    pub fn new(word: &str, asked: String) -> Once {
        Once { id: RequestId::of_word(word), asked }
    }

    /// What came of the request, as far as it was carried out. The store itself is asked: this daemon's picture may be behind the
    /// daemon that was asked before.
    async fn pieces(&self, api: &Api) -> Result<Pieces, Problem> {
        let snapshot = api.store.read(&Key::pieces_of(&self.id)).await.map_err(|err| failed(&err))?;
        let mut pieces: Vec<(u32, (Revision, String))> = Vec::new();
        for kv in &snapshot.kvs {
            let Some(Key::Request(_, number)) = Key::parse(&kv.key) else { continue };
            let record = RequestRecord::decode(&kv.value)
                .map_err(|err| problem(Kind::Unreadable, format!("what is kept under {}: {err}", kv.key)))?;
            if record.asked != self.asked {
                let problem = problem(Kind::KeyReused, "this Idempotency-Key was used for another request");
                return Err(problem.about("Idempotency-Key").with_hint("give each request a key of its own"));
            }
            pieces.push((number, (kv.mod_revision, record.answer)));
        }
        pieces.sort_by_key(|(number, _)| *number);
        if pieces.is_empty() && PIECES_MAX <= api.view.read().n_requests() {
            let detail = format!("{PIECES_MAX} answers to requests with an Idempotency-Key are kept in the cluster");
            return Err(
                problem(Kind::TooMany, detail).with_hint("the oldest go in some minutes; or send it without one")
            );
        }
        Ok(pieces.into_iter().map(|(_, piece)| piece).collect())
    }

    /// Adds the next piece to the transaction that brings it about.
    fn keep(&self, txn: &mut Txn, n_pieces: usize, answer: String, lease: LeaseId) {
        let number = u32::try_from(n_pieces).unwrap_or(u32::MAX);
        let piece = ops::keep_request(&self.id, number, &RequestRecord { asked: self.asked.clone(), answer }, lease);
        txn.guards.extend(piece.guards);
        txn.writes.extend(piece.writes);
    }
}

/// As [`super::write::write`], each wish once, whoever carries it out.
///
/// # Errors
/// The store's; [`Kind::KeyReused`].
pub async fn write(
    api: &Api,
    once: &Once,
    slots: &mut Slots<ChangeResult>,
    decide: impl Fn(&View, usize) -> Settled<ChangeResult>,
) -> Result<Revision, Problem> {
    let _turn = api.writing.lock().await;
    let mut revision = Revision(0);
    for _ in 0..RACES_MAX {
        let pieces = once.pieces(api).await?;
        for (at, answer) in &pieces {
            let kept: Vec<Kept> = serde_json::from_str(answer)
                .map_err(|err| problem(Kind::Unreadable, format!("what is kept of this request: {err}")))?;
            for Kept { idx, mut result } in kept {
                result.committed(*at);
                if let Some(slot) = slots.get_mut(idx) {
                    *slot = Some(Ok(result));
                }
            }
            revision = revision.max(*at);
        }
        if slots.iter().all(Option::is_some) {
            break;
        }
        revision = revision.max(round(api, once, pieces.len(), slots, &decide).await?);
        api.view.reached(revision).await;
    }
    // What another daemon has written is to be seen here too.
    api.view.reached(revision).await;
    Ok(revision)
}

async fn round(
    api: &Api,
    once: &Once,
    mut n_pieces: usize,
    slots: &mut Slots<ChangeResult>,
    decide: &impl Fn(&View, usize) -> Settled<ChangeResult>,
) -> Result<Revision, Problem> {
    let mut decided = Decided { revision: Revision(0), writes: Vec::new(), checks: Vec::new() };
    let mut plain: Vec<(usize, ChangeResult)> = Vec::new();
    {
        let view = api.view.read();
        decided.revision = view.revision();
        for (idx, _) in slots.iter().enumerate().filter(|(_, slot)| slot.is_none()) {
            plain.extend(decided.add(idx, decide(&view, idx)).map(|told| (idx, kept(told))));
        }
    }
    let Decided { mut revision, writes, checks } = decided;
    match check(api, checks).await? {
        Checked::Hold(held) => plain.extend(held.into_iter().map(|(idx, told)| (idx, kept(told)))),
        Checked::Moved(at) => return Ok(revision.max(at)),
    }
    let (mut results, txns): (Vec<_>, Vec<Txn>) = writes.into_iter().map(|(idx, told, txn)| ((idx, told), txn)).unzip();
    let room = Room { ops: 1, bytes: PIECE_BYTES_MAX };
    let mut batches = Vec::new();
    for (txn, n_results) in ops::pack(None, room, txns).map_err(|err| too_big(&err))? {
        let rest = results.split_off(n_results.min(results.len()));
        batches.push((txn, std::mem::replace(&mut results, rest)));
    }
    while !plain.is_empty() {
        let rest = plain.split_off(RESULTS_MAX.min(plain.len()));
        batches.push((Txn::default(), std::mem::replace(&mut plain, rest)));
    }
    let lease = api.keeping.lease(api).await?;
    for (mut txn, results) in batches {
        once.keep(&mut txn, n_pieces, piece(&results), lease);
        match api.store.commit(&txn).await {
            Ok(TxnOutcome::Committed(at)) => {
                revision = revision.max(at);
                n_pieces += 1;
                for (idx, mut told) in results {
                    told.committed(at);
                    slots[idx] = Some(Ok(told));
                }
            }
            // Somebody was faster, perhaps with this very request.
            Ok(TxnOutcome::Conflict(at)) => return Ok(revision.max(at)),
            Err(StoreError::NoLease(_)) => {
                api.keeping.forget().await;
                return Ok(revision);
            }
            Err(err) => return Err(failed(&err)),
        }
    }
    Ok(revision)
}

fn piece(results: &[(usize, ChangeResult)]) -> String {
    let kept = |brief: bool| {
        let kept = results.iter().map(|(idx, result)| {
            let mut result = result.clone();
            if brief {
                result.warnings.clear();
                result.problem.iter_mut().for_each(|problem| problem.findings.clear());
            }
            Kept { idx: *idx, result }
        });
        // Wire types of strings and numbers always have a JSON form.
        serde_json::to_string(&kept.collect::<Vec<_>>()).unwrap_or_default()
    };
    let whole = kept(false);
    if whole.len() <= PIECE_BYTES_MAX / 2 { whole } else { kept(true) }
}

/// A refusal is kept as well: a request that was refused is not carried out when it comes again.
fn kept(told: Result<ChangeResult, Problem>) -> ChangeResult {
    // Whoever tells it knows which unit it is about.
    told.unwrap_or_else(|problem| super::changes::refused("", problem))
}

/// Writes one transaction that answers with a revision, once. `decide` gives the transaction on the picture as it is; one
/// without writes asks only whether its guards hold, and then the problem is the answer.
///
/// # Errors
/// The problem that was decided; the store's; [`Kind::KeyReused`]; [`Kind::Conflict`] after [`RACES_MAX`] lost races.
pub async fn write_one(
    api: &Api,
    once: Option<&Once>,
    decide: impl Fn(&View) -> (Result<(), Problem>, Txn),
) -> Result<Revision, Problem> {
    for _ in 0..RACES_MAX {
        let pieces = match once {
            Some(once) => once.pieces(api).await?,
            None => Pieces::new(),
        };
        if let Some((at, answer)) = pieces.first() {
            let kept: Option<Problem> = serde_json::from_str(answer)
                .map_err(|err| problem(Kind::Unreadable, format!("what is kept of this request: {err}")))?;
            api.view.reached(*at).await;
            return kept.map_or(Ok(*at), Err);
        }
        let (told, mut txn) = decide(&api.view.read());
        if let Some(once) = once {
            let answer = serde_json::to_string(&told.as_ref().err()).unwrap_or_default();
            once.keep(&mut txn, 0, answer, api.keeping.lease(api).await?);
        }
        match api.store.commit(&txn).await {
            Ok(TxnOutcome::Committed(at)) => {
                api.view.reached(at).await;
                return told.map(|()| at);
            }
            Ok(TxnOutcome::Conflict(at)) => api.view.reached(at).await,
            Err(StoreError::NoLease(_)) => api.keeping.forget().await,
            Err(err) => return Err(failed(&err)),
        }
    }
    Err(problem(Kind::Conflict, "others keep changing the same; try again"))
}
