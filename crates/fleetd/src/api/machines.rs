//! Handlers of `/machines` and `/version`.

use axum::Json;
use axum::extract::{Path, State};
use fleet_api::v2;
use fleet_core::model::{DRAIN_MAX_DEFAULT, MachineId, Revision};
use fleet_store::registry::{CordonRecord, DrainRecord, GivenUpRecord, MetadataKey, ops};
use fleet_store::{Txn, TxnOutcome};

use super::body::Held;
use super::problem::{Refused, bad_request, problem, unavailable};
use super::units::body_of;
use super::{Api, convert};
use crate::clock;

/// Longest metadata value in bytes.
const METADATA_VALUE_MAX: usize = 4_096;

/// `GET /machines`.
pub async fn list(State(api): State<Api>) -> Json<v2::MachineList> {
    let view = api.view.read();
    let (revision, brake) = (view.revision().0, convert::brake(&view));
    Json(v2::MachineList { revision, brake, machines: convert::machines(&view) })
}

/// `POST /machines/ID/cordon`.
pub async fn cordon(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<v2::Changed>, Refused> {
    let machine = machine_of(&api, &id)?;
    commit(&api, ops::cordon(&machine, &CordonRecord { since: clock::now() })).await
}

/// `POST /machines/ID/uncordon`: also no longer drained.
pub async fn uncordon(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<v2::Changed>, Refused> {
    commit(&api, ops::uncordon(&machine_of(&api, &id)?)).await
}

/// `POST /machines/ID/drain`.
pub async fn drain(State(api): State<Api>, Path(id): Path<String>, body: Held) -> Result<Json<v2::Changed>, Refused> {
    let v2::DrainRequest { max_at_once } = body_of(&body)?;
    let max_at_once = max_at_once.unwrap_or(DRAIN_MAX_DEFAULT);
    if !(1..=v2::DRAIN_MAX).contains(&max_at_once) {
        let title = format!("max_at_once is {max_at_once}: from 1 to {} units may be on their way", v2::DRAIN_MAX);
        return Err(bad_request(title).into());
    }
    let machine = machine_of(&api, &id)?;
    commit(&api, ops::drain(&machine, &DrainRecord { since: clock::now(), max_at_once })).await
}

/// `GET /machines/ID/drain`.
pub async fn drain_progress(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<v2::DrainProgress>, Refused> {
    let machine = machine_of(&api, &id)?;
    Ok(Json(convert::drain(&api.view.read(), &machine)))
}

/// `POST /machines/ID/give-up`.
pub async fn give_up(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<v2::Changed>, Refused> {
    let machine = machine_of(&api, &id)?;
    let txn = ops::give_up(&machine, &GivenUpRecord { since: clock::now() });
    match api.store.commit(&txn).await.map_err(|err| unavailable(&err))? {
        TxnOutcome::Committed(revision) => {
            api.view.reached(revision).await;
            Ok(Json(v2::Changed { revision: revision.0 }))
        }
        TxnOutcome::Conflict(_) => {
            let mut problem = problem("machine-present", 409, format!("machine {machine} is present"));
            problem.hint = Some(
                "only a machine that is off can be given up; `fleetctl machine drain` empties one that is there, and one \
                 that is switched off is lost as soon as its agent_ttl is over"
                    .to_owned(),
            );
            Err(problem.into())
        }
    }
}

/// Writes what nothing can conflict with, and answers when the picture shows it.
async fn commit(api: &Api, txn: Txn) -> Result<Json<v2::Changed>, Refused> {
    let outcome = api.store.commit(&txn).await.map_err(|err| unavailable(&err))?;
    let (TxnOutcome::Committed(revision) | TxnOutcome::Conflict(revision)) = outcome;
    api.view.reached(revision).await;
    Ok(Json(v2::Changed { revision: revision.0 }))
}

/// `PATCH /machines/ID/metadata`. The ID may be the short one; the machine need not be present.
pub async fn patch_metadata(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Held,
) -> Result<Json<v2::Changed>, Refused> {
    let patch: v2::MetadataPatch = body_of(&body)?;
    let machine = machine_of(&api, &id)?;
    let mut changes = Vec::new();
    let set = patch.set.into_iter().map(|(key, value)| (key, Some(value)));
    for (key, value) in set.chain(patch.remove.into_iter().map(|key| (key, None))) {
        let key: MetadataKey =
            key.parse().map_err(|err: fleet_store::registry::MetadataKeyError| bad_request(err.to_string()))?;
        if value.as_ref().is_some_and(String::is_empty) {
            return Err(bad_request(format!("metadata {key} has an empty value: remove the key instead")).into());
        }
        changes.push((machine.clone(), key, value));
    }
    let revision = set_metadata(&api, &changes).await?;
    Ok(Json(v2::Changed { revision: revision.0 }))
}

/// What a machine's dynamic metadata shall say: the value of a key, or `None` for no such key.
pub type MetadataChange = (MachineId, MetadataKey, Option<String>);

/// Changes dynamic metadata, in order, as many at once as fit one transaction; gives the revision that shows it.
pub async fn set_metadata(api: &Api, changes: &[MetadataChange]) -> Result<Revision, v2::Problem> {
    for (_, key, value) in changes {
        if value.as_ref().is_some_and(|value| METADATA_VALUE_MAX < value.len()) {
            return Err(bad_request(format!("the value of metadata {key} is longer than {METADATA_VALUE_MAX} bytes")));
        }
    }
    let too_big = |err: ops::OpsError| bad_request(err.to_string());
    let each = changes.iter().map(|change| ops::set_metadata(std::slice::from_ref(change)));
    let each = each.collect::<Result<Vec<_>, _>>().map_err(too_big)?;
    let mut revision = Revision(0);
    for txn in ops::batch(None, each).map_err(too_big)? {
        let outcome = api.store.commit(&txn).await.map_err(|err| unavailable(&err))?;
        let (TxnOutcome::Committed(at) | TxnOutcome::Conflict(at)) = outcome;
        revision = at;
    }
    api.view.reached(revision).await;
    Ok(revision)
}

fn machine_of(api: &Api, id: &str) -> Result<MachineId, Refused> {
    let view = api.view.read();
    let known = convert::known_machines(&view).into_iter();
    let named: Vec<&MachineId> = known.filter(|machine| machine.is_named_by(id)).collect();
    match named[..] {
        [machine] => Ok(machine.clone()),
        [] => Err(problem("unknown-machine", 404, format!("there is no machine {id}")).into()),
        _ => Err(bad_request(format!("{id} names {} machines: give the whole ID", named.len())).into()),
    }
}

/// `GET /version`.
pub async fn version() -> Json<v2::Version> {
    Json(v2::Version { version: env!("CARGO_PKG_VERSION").to_owned() })
}
