//! Handlers of `/backup` and `/restore`: the store's own keys, out at one revision and back in.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fleet_api::backup::{
    Entry, FORMAT, Header, Reader, RestoreAction, RestoreQuery, Restored, RestoredKey, RestoredUnit, Writer,
};
use fleet_api::v2;
use fleet_core::model::{Generation, Revision};
use fleet_store::registry::ops::Room;
use fleet_store::registry::restore::{self, Saved, SavedKey, Step, StepChange};
use fleet_store::registry::{Key, LeaderRecord, View, ops};
use fleet_store::{Guard, KeyValue, LeaseId, Snapshot, Txn, TxnOutcome, Write};
use futures_util::stream;

use super::Api;
use super::body::Held;
use super::extract::Asked;
use super::problem::{Kind, Refused, bad_request, problem};
use super::write::failed;
use crate::clock;

/// Bytes of a backup that are made at once.
const PIECE_BYTES: usize = 256 << 10;

/// Findings about a backup that are told; a broken one has one for each key.
const ERRORS_MAX: usize = 20;

/// How long a restore holds the lead beyond its last sign of life: if this process dies, an engine goes on after that.
const LEAD_TTL: Duration = Duration::from_secs(30);

/// How often the lead is asked for, and how often steps are decided anew because somebody else wrote meanwhile.
const RACES_MAX: u32 = 20;

/// What the store holds, all of it as it is at one revision: a backup for `POST /restore`. Lines of JSON: a header, an entry for
/// each key, and a last line with a checksum.
#[utoipa::path(
    get,
    path = "/backup",
    tag = "cluster",
    operation_id = "get_backup",
    responses((status = 200, description = "The backup", body = String, content_type = "application/jsonl"), Refused)
)]
pub async fn backup(State(api): State<Api>) -> Result<Response, Refused> {
    let snapshot = api.store.read(&Key::all()).await.map_err(|err| failed(&err))?;
    let pieces = Pieces::of(snapshot);
    let stream = stream::iter(pieces.map(Ok::<_, Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(stream)).into_response())
}

/// The text of a backup, piece by piece.
struct Pieces {
    view: View,
    kvs: std::vec::IntoIter<KeyValue>,
    header: Option<Header>,
    /// Taken with the last piece.
    writer: Option<Writer>,
    left_out: Vec<String>,
}

impl Pieces {
    fn of(snapshot: Snapshot) -> Pieces {
        let header = Header {
            fleet_backup: FORMAT,
            revision: snapshot.revision.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            taken_ms: clock::now().0,
        };
        let view = View::from_snapshot(&snapshot);
        let kvs = snapshot.kvs.into_iter();
        Pieces { view, kvs, header: Some(header), writer: Some(Writer::default()), left_out: Vec::new() }
    }

    /// What a backup holds of a key; nothing for one that does not belong there.
    fn entry(&mut self, kv: &KeyValue) -> Option<Entry> {
        let key = Key::parse(&kv.key);
        let has_file = |unit: &_| self.view.file_of(unit).is_some();
        let is_readable = !self.view.unreadable().contains_key(&kv.key);
        let is_whole = match &key {
            Some(key) if !restore::is_kept(key) => return None,
            // Of a unit that was destroyed and is still being stopped: nobody wants that again.
            Some(Key::Placement(machine, unit)) if is_readable => {
                let order = self.view.placement(machine, unit)?;
                if !has_file(unit) || !self.view.files().contains_key(&order.hash) {
                    return None;
                }
                true
            }
            Some(Key::Unit(unit)) => is_readable && has_file(unit),
            Some(_) | None => is_readable,
        };
        let value = serde_json::from_slice(&kv.value).ok().filter(|_| is_whole);
        let Some(value) = value else {
            self.left_out.push(kv.key.clone());
            return None;
        };
        let generation = match &key {
            Some(Key::Unit(unit)) => self.view.cluster().units.get(unit).map(|unit| unit.generation.0),
            _ => None,
        };
        Some(Entry { key: kv.key.clone(), generation, value })
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut writer = self.writer.take()?;
        let mut piece = self.header.take().map_or_else(String::new, |header| writer.header(&header));
        while piece.len() < PIECE_BYTES {
            let Some(kv) = self.kvs.next() else {
                piece.push_str(&writer.trailer(std::mem::take(&mut self.left_out)));
                return Some(piece);
            };
            if let Some(entry) = self.entry(&kv) {
                piece.push_str(&writer.entry(&entry));
            }
        }
        self.writer = Some(writer);
        Some(piece)
    }
}

/// Makes the cluster what a backup holds. Everything is checked before anything is changed; units that are the same are left
/// alone.
#[utoipa::path(
    post,
    path = "/restore",
    tag = "cluster",
    operation_id = "restore",
    params(
        ("replace" = Option<bool>, Query, description = "Also if the cluster is not empty: what the backup lacks is destroyed"),
        ("dry_run" = Option<bool>, Query, description = "Only say what would be done")
    ),
    request_body(content = String, content_type = "application/jsonl", description = "The backup"),
    responses((status = 200, description = "What was done, or would be", body = Restored), Refused)
)]
pub async fn restore(
    State(api): State<Api>,
    Asked(query): Asked<RestoreQuery>,
    body: Held,
) -> Result<Json<Restored>, Refused> {
    let (header, saved) = read(&body)?;
    drop(body);
    let _turn = api.writing.lock().await;
    let (placements, shown) = {
        let view = api.view.read();
        if !query.replace && !restore::is_empty(&view) {
            let n = view.units().len();
            let problem = problem(Kind::NotEmpty, format!("the cluster is not empty: it has {n} units"));
            let hint = "`--replace` makes it what it was: what the backup does not have is destroyed";
            return Err(problem.with_hint(hint).into());
        }
        let placements = restore::has_no_placement(&view);
        (placements, show(&view, &saved, placements, header))
    };
    if query.dry_run {
        return Ok(Json(shown));
    }
    let lead = Lead::take(&api).await?;
    // Until then an engine may have placed something.
    let placements = placements && restore::has_no_placement(&api.view.read());
    let done = carry_out(&api, &saved, placements, &lead).await;
    lead.give_back(&api).await;
    let revision = done?;
    tracing::info!(backup = shown.backup.revision, revision = revision.0, "a backup was restored");
    Ok(Json(Restored { revision: revision.0, ..shown }))
}

/// Reads a backup and checks all of it.
fn read(body: &[u8]) -> Result<(Header, Saved), v2::Problem> {
    let broken = |err: fleet_api::backup::BackupError| {
        let mut problem = problem(Kind::BadBackup, "the backup cannot be used");
        problem.findings.push(err.to_string().into());
        problem
    };
    let mut reader = Reader::default();
    let mut keys = Vec::new();
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if let Some(Entry { key, generation, value }) = reader.line(line).map_err(broken)? {
            let value = serde_json::to_vec(&value).map_err(|err| bad_request(err.to_string()))?;
            keys.push(SavedKey { key, value, generation: generation.map(Generation) });
        }
    }
    let (header, _) = reader.end().map_err(broken)?;
    let saved = Saved::check(keys).map_err(|errors| {
        let mut problem = problem(Kind::BadBackup, format!("the backup cannot be used: {} findings", errors.len()));
        problem.findings = errors.iter().take(ERRORS_MAX).map(|err| err.to_string().into()).collect();
        problem
    })?;
    Ok((header, saved))
}

/// What a restore onto this picture does.
fn show(view: &View, saved: &Saved, placements: bool, backup: Header) -> Restored {
    let steps = restore::steps(view, saved, placements, view.revision(), clock::now());
    let mut units = Vec::new();
    let mut keys = Vec::new();
    let mut changed = std::collections::BTreeSet::new();
    for Step { key, change, .. } in steps {
        match key {
            Key::Unit(unit) => {
                let action = match change {
                    StepChange::Create => RestoreAction::Create,
                    StepChange::Change => RestoreAction::Change,
                    StepChange::Remove => RestoreAction::Destroy,
                };
                units.push(RestoredUnit { name: unit.to_string(), action });
                changed.insert(unit);
            }
            key => keys.push(RestoredKey { key: key.to_string(), removed: change == StepChange::Remove }),
        }
    }
    let kept = saved.units().keys().filter(|unit| !changed.contains(*unit));
    units.extend(kept.map(|unit| RestoredUnit { name: unit.to_string(), action: RestoreAction::Keep }));
    units.sort_by(|a, b| a.name.cmp(&b.name));
    let back =
        saved.back(view).map(|machine| format!("machine {machine} was given up and is back: it is not given up"));
    Restored { revision: view.revision().0, backup, units, keys, notes: back.collect() }
}

/// The lead, held so that no engine acts on a part of what is being restored.
struct Lead {
    lease: LeaseId,
    fence: Guard,
}

impl Lead {
    /// Takes the lead from whoever has it.
    async fn take(api: &Api) -> Result<Lead, v2::Problem> {
        let lease = api.store.grant(LEAD_TTL).await.map_err(|err| failed(&err))?;
        let id = "restore".to_owned();
        let record = LeaderRecord { id, version: env!("CARGO_PKG_VERSION").to_owned(), since: clock::now() };
        for _ in 0..RACES_MAX {
            let leader = api.view.read().leader().map(|(_, since)| since);
            if let Some(since) = leader {
                let writes = vec![Write::Delete { key: Key::Leader.to_string() }];
                commit(api, &Txn { guards: vec![ops::fence(since)], writes }).await?;
            }
            if let TxnOutcome::Committed(since) = commit(api, &ops::take_lead(&record, lease)).await? {
                return Ok(Lead { lease, fence: ops::fence(since) });
            }
        }
        Err(problem(Kind::Conflict, "an engine takes the lead again and again; try again"))
    }

    /// Lets the engines stand for leader again. If that cannot be said, the lease says it when it ends.
    async fn give_back(self, api: &Api) {
        if let Err(err) = api.store.revoke(self.lease).await {
            tracing::warn!(error = %err, "cannot give the lead back; engines wait until its lease ends");
        }
    }
}

/// Writes step by step, each time as many as fit one transaction, until nothing is left; gives the last revision.
async fn carry_out(api: &Api, saved: &Saved, placements: bool, lead: &Lead) -> Result<Revision, v2::Problem> {
    let mut races = 0;
    loop {
        let (first, revision) = {
            let view = api.view.read();
            let next = Revision(view.revision().0 + 1);
            let steps = restore::steps(&view, saved, placements, next, clock::now());
            // So many, that the first transaction is surely full.
            let groups = steps.into_iter().map(|step| step.txn).take(fleet_store::TXN_OPS_MAX);
            let packed = ops::pack(Some(&lead.fence), Room::default(), groups);
            let packed = packed.map_err(|err| problem(Kind::TooLarge, err.to_string()))?;
            (packed.into_iter().next(), view.revision())
        };
        let Some((txn, _)) = first else { return Ok(revision) };
        // Long restores outlive the first time of the lease.
        api.store.keep_alive(lead.lease).await.map_err(|err| failed(&err))?;
        match commit(api, &txn).await? {
            TxnOutcome::Committed(_) => races = 0,
            TxnOutcome::Conflict(_) if races < RACES_MAX => races += 1,
            TxnOutcome::Conflict(_) => {
                let problem = problem(Kind::Conflict, "others change the cluster all the time; a part is restored");
                return Err(problem.with_hint("restore it again, with `--replace`"));
            }
        }
    }
}

/// Writes, and waits until the picture shows it.
async fn commit(api: &Api, txn: &Txn) -> Result<TxnOutcome, v2::Problem> {
    let outcome = api.store.commit(txn).await.map_err(|err| failed(&err))?;
    let (TxnOutcome::Committed(at) | TxnOutcome::Conflict(at)) = outcome;
    api.view.reached(at).await;
    Ok(outcome)
}
