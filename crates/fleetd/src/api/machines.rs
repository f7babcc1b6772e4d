//! Handlers of `/machines` and `/version`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use fleet_api::v2;
use fleet_core::model::{DRAIN_MAX_DEFAULT, MachineId, Revision};
use fleet_store::registry::{CordonRecord, DrainRecord, GivenUpRecord, MetadataKey, View, ops};
use fleet_store::{Txn, TxnOutcome};

use super::extract::{Given, Segment};
use super::parameters::{IfMachine, Key, OfMachine};
use super::problem::{Kind, Refused, bad_request, problem, unavailable};
use super::terms::Terms;
use super::units::etag;
use super::write::too_big;
use super::{Api, convert, once};
use crate::clock;

/// Longest metadata value in bytes.
const METADATA_VALUE_MAX: usize = 4_096;

/// One machine.
#[utoipa::path(
    get,
    path = "/machines/{id}",
    tag = "machines",
    operation_id = "get_machine",
    params(OfMachine),
    responses(
        (
            status = 200,
            description = "The machine",
            body = v2::Machine,
            headers(
                ("ETag" = String, description = "The revision at which operators last said anything of it")
            )
        ),
        Refused
    )
)]
pub async fn one(State(api): State<Api>, Segment(id): Segment) -> Result<impl IntoResponse, Refused> {
    let machine = machine_of(&api, &id)?;
    let machine = convert::machine(&api.view.read(), &machine);
    Ok(([(header::ETAG, etag(machine.revision))], Json(machine)))
}

/// Nothing new is placed on the machine; what is there stays. Ends a drain.
#[utoipa::path(
    post,
    path = "/machines/{id}/cordon",
    tag = "machines",
    operation_id = "cordon",
    params(OfMachine, IfMachine, Key),
    responses((status = 200, description = "It is written", body = v2::Changed), Refused)
)]
pub async fn cordon(State(api): State<Api>, Segment(id): Segment, terms: Terms) -> Result<Json<v2::Changed>, Refused> {
    let machine = machine_of(&api, &id)?;
    say(&api, &machine, &terms, &[], |_| Ok(ops::cordon(&machine, &CordonRecord { since: clock::now() }))).await
}

/// The machine takes new units again, and is no longer drained.
#[utoipa::path(
    post,
    path = "/machines/{id}/uncordon",
    tag = "machines",
    operation_id = "uncordon",
    params(OfMachine, IfMachine, Key),
    responses((status = 200, description = "It is written", body = v2::Changed), Refused)
)]
pub async fn uncordon(
    State(api): State<Api>,
    Segment(id): Segment,
    terms: Terms,
) -> Result<Json<v2::Changed>, Refused> {
    let machine = machine_of(&api, &id)?;
    say(&api, &machine, &terms, &[], |_| Ok(ops::uncordon(&machine, clock::now()))).await
}

/// Moves away what may move, and places nothing new on the machine.
#[utoipa::path(
    post,
    path = "/machines/{id}/drain",
    tag = "machines",
    operation_id = "drain",
    params(OfMachine, IfMachine, Key),
    request_body = Option<v2::DrainRequest>,
    responses((status = 200, description = "It is written", body = v2::Changed), Refused)
)]
pub async fn drain(
    State(api): State<Api>,
    Segment(id): Segment,
    terms: Terms,
    body: Option<Given<v2::DrainRequest>>,
) -> Result<Json<v2::Changed>, Refused> {
    let (v2::DrainRequest { max_at_once }, bytes) =
        body.as_ref().map(|given| (given.value, &*given.bytes)).unwrap_or_default();
    let max_at_once = max_at_once.unwrap_or(DRAIN_MAX_DEFAULT);
    if !(1..=v2::DRAIN_MAX).contains(&max_at_once) {
        let detail = format!("max_at_once is {max_at_once}: from 1 to {} units may be on their way", v2::DRAIN_MAX);
        return Err(bad_request(detail).about("max_at_once").into());
    }
    let machine = machine_of(&api, &id)?;
    let record = || DrainRecord { since: clock::now(), max_at_once };
    say(&api, &machine, &terms, bytes, |_| Ok(ops::drain(&machine, &record()))).await
}

/// How far the machine is emptied.
#[utoipa::path(
    get,
    path = "/machines/{id}/drain",
    tag = "machines",
    operation_id = "get_drain",
    params(OfMachine),
    responses((status = 200, description = "What is still there", body = v2::DrainProgress), Refused)
)]
pub async fn drain_progress(State(api): State<Api>, Segment(id): Segment) -> Result<Json<v2::DrainProgress>, Refused> {
    let machine = machine_of(&api, &id)?;
    Ok(Json(convert::drain(&api.view.read(), &machine)))
}

/// Says that a machine which is lost is off and does not come back.
#[utoipa::path(
    post,
    path = "/machines/{id}/give-up",
    tag = "machines",
    operation_id = "give_up",
    params(OfMachine, IfMachine, Key),
    responses((status = 200, description = "It is written", body = v2::Changed), Refused)
)]
pub async fn give_up(State(api): State<Api>, Segment(id): Segment, terms: Terms) -> Result<Json<v2::Changed>, Refused> {
    let machine = machine_of(&api, &id)?;
    let decide = |view: &View| {
        if view.machines().contains_key(&machine) {
            return Err(present(&machine));
        }
        Ok(ops::give_up(&machine, &GivenUpRecord { since: clock::now() }))
    };
    say(&api, &machine, &terms, &[], decide).await
}

/// A machine that is present cannot be given up.
pub fn present(machine: &MachineId) -> v2::Problem {
    let problem = problem(Kind::MachinePresent, format!("machine {machine} is present")).about(machine.to_string());
    problem.with_hint(
        "only a machine that is off can be given up; `fleetctl machine drain` empties one that is there, and one that is \
         switched off is lost as soon as its agent_ttl is over",
    )
}

/// Changes dynamic metadata, all at once. The machine need not be present.
#[utoipa::path(
    patch,
    path = "/machines/{id}/metadata",
    tag = "machines",
    operation_id = "patch_metadata",
    params(OfMachine, IfMachine, Key),
    request_body = v2::MetadataPatch,
    responses((status = 200, description = "It is written", body = v2::Changed), Refused)
)]
pub async fn patch_metadata(
    State(api): State<Api>,
    Segment(id): Segment,
    terms: Terms,
    Given { value: patch, bytes }: Given<v2::MetadataPatch>,
) -> Result<Json<v2::Changed>, Refused> {
    let machine = machine_of(&api, &id)?;
    let n_keys = patch.set.len() + patch.remove.len();
    if v2::METADATA_CHANGES_MAX < n_keys {
        let max = v2::METADATA_CHANGES_MAX;
        return Err(problem(Kind::TooLarge, format!("{n_keys} keys are over the limit of {max} at once")).into());
    }
    let mut changes = Vec::new();
    let set = patch.set.into_iter().map(|(key, value)| (key, Some(value)));
    for (key, value) in set.chain(patch.remove.into_iter().map(|key| (key, None))) {
        let key: MetadataKey = key
            .parse()
            .map_err(|err: fleet_store::registry::MetadataKeyError| bad_request(err.to_string()).about(&key))?;
        if value.as_ref().is_some_and(String::is_empty) {
            let problem = bad_request(format!("metadata {key} has an empty value: remove the key instead"));
            return Err(problem.about(key.as_str()).into());
        }
        changes.push((machine.clone(), key, value));
    }
    check_values(&changes)?;
    let decide = |_: &View| ops::set_metadata(&changes, clock::now()).map_err(|err| too_big(&err));
    say(&api, &machine, &terms, &bytes, decide).await
}

/// Writes what an operator says of a machine, on the terms of the request.
async fn say(
    api: &Api,
    machine: &MachineId,
    terms: &Terms,
    body: &[u8],
    decide: impl Fn(&View) -> Result<Txn, v2::Problem>,
) -> Result<Json<v2::Changed>, Refused> {
    let decide = |view: &View| {
        let guard = terms.condition.as_ref().map(|_| ops::machine_as_seen(view, machine));
        let there = convert::revision(view, machine);
        let txn = match &terms.condition {
            Some(condition) if !condition.holds(Some(there)) => {
                Err(condition.failed("machine", &machine.to_string(), Some(there)))
            }
            Some(_) | None => decide(view),
        };
        let (told, mut txn) = match txn {
            Ok(txn) => (Ok(()), txn),
            Err(problem) => (Err(problem), Txn::default()),
        };
        txn.guards.extend(guard);
        (told, txn)
    };
    let revision = once::write_one(api, terms.once(body).as_ref(), decide).await?;
    Ok(Json(v2::Changed { revision: revision.0 }))
}

/// What a machine's dynamic metadata shall say: the value of a key, or `None` for no such key.
pub type MetadataChange = (MachineId, MetadataKey, Option<String>);

/// Changes dynamic metadata, in order, as many at once as fit one transaction; gives the revision that shows it.
pub async fn set_metadata(api: &Api, changes: &[MetadataChange]) -> Result<Revision, v2::Problem> {
    check_values(changes)?;
    let too_big = |err: ops::OpsError| bad_request(err.to_string());
    let now = clock::now();
    let each = changes.iter().map(|change| ops::set_metadata(std::slice::from_ref(change), now));
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

fn check_values(changes: &[MetadataChange]) -> Result<(), v2::Problem> {
    for (_, key, value) in changes {
        if value.as_ref().is_some_and(|value| METADATA_VALUE_MAX < value.len()) {
            let detail = format!("the value of metadata {key} is longer than {METADATA_VALUE_MAX} bytes");
            return Err(bad_request(detail).about(key.as_str()));
        }
    }
    Ok(())
}

/// The machine that an ID, the short one too, means.
pub fn machine_of(api: &Api, id: &str) -> Result<MachineId, Refused> {
    let view = api.view.read();
    let known = convert::known_machines(&view).into_iter();
    let named: Vec<&MachineId> = known.filter(|machine| machine.is_named_by(id)).collect();
    match named[..] {
        [machine] => Ok(machine.clone()),
        [] => Err(problem(Kind::UnknownMachine, format!("there is no machine {id}")).about(id).into()),
        _ => Err(bad_request(format!("{id} names {} machines: give the whole ID", named.len())).into()),
    }
}

/// The daemon's version.
#[utoipa::path(
    get,
    path = "/version",
    tag = "cluster",
    operation_id = "get_version",
    responses((status = 200, description = "The version", body = v2::Version), Refused)
)]
pub async fn version() -> Json<v2::Version> {
    Json(v2::Version { version: env!("CARGO_PKG_VERSION").to_owned() })
}
