//! Handlers of `/machines` and `/version`.

use axum::Json;
use axum::extract::{Path, State};
use fleet_api::v2;
use fleet_core::model::{MachineId, Revision};
use fleet_store::TxnOutcome;
use fleet_store::registry::{MetadataKey, ops};

use super::body::Held;
use super::problem::{Refused, bad_request, problem, unavailable};
use super::units::body_of;
use super::{Api, convert};

/// Longest metadata value in bytes.
const METADATA_VALUE_MAX: usize = 4_096;

/// `GET /machines`.
pub async fn list(State(api): State<Api>) -> Json<v2::MachineList> {
    let view = api.view.read();
    Json(v2::MachineList { revision: view.revision().0, machines: convert::machines(&view) })
}

/// `PATCH /machines/ID/metadata`. The ID may be the short one of a machine that is present.
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
    let named: Vec<&MachineId> = view.machines().keys().filter(|machine| machine.is_named_by(id)).collect();
    match named[..] {
        [machine] => Ok(machine.clone()),
        [] => Err(problem("unknown-machine", 404, format!("machine {id} is not present")).into()),
        _ => Err(bad_request(format!("{id} names {} machines: give the whole ID", named.len())).into()),
    }
}

/// `GET /version`.
pub async fn version() -> Json<v2::Version> {
    Json(v2::Version { version: env!("CARGO_PKG_VERSION").to_owned() })
}
