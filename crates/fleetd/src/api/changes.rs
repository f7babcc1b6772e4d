//! `POST /changes`: what users want changed, checked and written.
//!
//! Each change stands for itself. All that can be written together is written together, so that units which need each
//! other reach the engine in one piece; a lost race is decided again on the newer picture.

use std::collections::BTreeSet;

use fleet_api::v2::{self, Outcome};
use fleet_core::model::{Revision, TargetState};
use fleet_core::unit::{self, Strictness, UnitName};
use fleet_store::registry::ops::{self, NewUnit, OpsError};
use fleet_store::registry::{TemplateRef, View};
use fleet_store::{StoreError, Txn, TxnOutcome};

use super::problem::{bad_request, problem, unavailable, unknown_unit};
use super::{Api, convert};
use crate::clock;

/// How often a change is decided anew when somebody else was faster, before the caller is told.
const RACES_MAX: u32 = 20;

/// What one wish comes to on a picture: what to tell, and the transaction that brings it about if one is needed.
pub type Decision<T> = Result<(T, Option<Txn>), v2::Problem>;

/// One result for each wish, once it is known.
pub type Slots<T> = Vec<Option<Result<T, v2::Problem>>>;

/// Decides and writes the wishes whose slots are open, until each has its result; gives the revision that shows all of them.
///
/// This is the only way in which users change units. `decide` is asked anew for a wish whose transaction lost a race; after
/// [`RACES_MAX`] of them its slot stays open.
///
/// # Errors
/// The store's: then what is written already stays written.
pub async fn write<T>(
    api: &Api,
    slots: &mut Slots<T>,
    decide: impl Fn(&View, usize) -> Decision<T>,
) -> Result<Revision, v2::Problem> {
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

/// A unit that others change all the time.
pub fn raced(name: &str) -> v2::Problem {
    problem("conflict", 409, format!("unit {name} keeps changing; try again"))
}

/// Carries out a request.
pub async fn carry_out(api: &Api, request: v2::ChangeRequest) -> Result<v2::ChangeResponse, v2::Problem> {
    if v2::CHANGES_MAX < request.changes.len() {
        let n = request.changes.len();
        return Err(problem("too-large", 413, format!("{n} changes are over the limit of {}", v2::CHANGES_MAX)));
    }
    let mut slots = check_names(&request.changes);
    let revision = write(api, &mut slots, |view, idx| decide(view, &request.changes[idx])).await?;
    let view = api.view.read();
    let result = |(change, slot): (&v2::Change, Option<Result<v2::ChangeResult, v2::Problem>>)| {
        let mut result = match slot.unwrap_or_else(|| Err(raced(&change.name))) {
            Ok(result) => result,
            Err(problem) => v2::ChangeResult { problem: Some(problem), ..result(&change.name, Outcome::Refused) },
        };
        // What the unit has come to.
        if let Some(unit) = view.cluster().units.get(result.name.as_str()) {
            (result.generation, result.restarts) = (unit.generation.0, unit.restarts);
        }
        result
    };
    let results = request.changes.iter().zip(slots).map(result).collect();
    Ok(v2::ChangeResponse { revision: revision.0, results })
}

/// Refuses what is wrong whatever the picture shows.
fn check_names(changes: &[v2::Change]) -> Slots<v2::ChangeResult> {
    let mut seen = BTreeSet::new();
    let mut slots = Vec::new();
    for change in changes {
        let is_first = seen.insert(change.name.as_str());
        let err = match change.name.parse::<UnitName>() {
            Err(err) => Some(problem("bad-unit-name", 400, err.to_string())),
            Ok(_) if !is_first => Some(bad_request(format!("unit {} occurs twice in one request", change.name))),
            Ok(_) => contradiction(change),
        };
        slots.push(err.map(Err));
    }
    slots
}

fn contradiction(change: &v2::Change) -> Option<v2::Problem> {
    let says_more = change.text.is_some() || change.from_template || change.desired_state.is_some();
    if change.destroy && (says_more || change.restart) {
        Some(bad_request(format!("unit {}: destroy stands alone", change.name)))
    } else if change.restart && says_more {
        Some(bad_request(format!("unit {}: restart stands alone", change.name)))
    } else if change.text.is_some() && change.from_template {
        Some(bad_request(format!("unit {}: either a text or a template", change.name)))
    } else {
        None
    }
}

/// Decides all open wishes on the picture as it is and writes them, as many as possible in one transaction.
async fn round<T>(
    api: &Api,
    slots: &mut Slots<T>,
    decide: &impl Fn(&View, usize) -> Decision<T>,
) -> Result<Revision, v2::Problem> {
    let mut decided: Vec<((usize, T), Txn)> = Vec::new();
    let mut revision;
    {
        let view = api.view.read();
        revision = view.revision();
        for (idx, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_none()) {
            match decide(&view, idx) {
                Ok((result, None)) => *slot = Some(Ok(result)),
                Ok((result, Some(txn))) => decided.push(((idx, result), txn)),
                Err(problem) => *slot = Some(Err(problem)),
            }
        }
    }
    let (results, txns): (Vec<_>, Vec<Txn>) = decided.into_iter().unzip();
    let batches = ops::pack(None, txns).map_err(|err| problem("too-large", 413, err.to_string()))?;
    let mut results = results.into_iter();
    for (batch, n_wishes) in batches {
        match api.store.commit(&batch).await {
            Ok(TxnOutcome::Committed(at)) => {
                revision = revision.max(at);
                for (idx, result) in results.by_ref().take(n_wishes) {
                    slots[idx] = Some(Ok(result));
                }
            }
            // Somebody was faster with one of them: what is left is decided again on the newer picture.
            Ok(TxnOutcome::Conflict(at)) => return Ok(revision.max(at)),
            Err(err @ StoreError::Unavailable(_)) => return Err(unavailable(&err)),
            Err(err) => return Err(problem("internal", 500, err.to_string())),
        }
    }
    Ok(revision)
}

/// What one change comes to on this picture.
pub fn decide(view: &View, change: &v2::Change) -> Decision<v2::ChangeResult> {
    // Only good names come here: whoever asks has checked them.
    let name: UnitName = change.name.parse().map_err(|_| bad_request(format!("bad name {}", change.name)))?;
    let exists = view.units().contains_key(&name);
    if change.destroy {
        let txn = ops::destroy(view, &name).map_err(|err| of_ops(&err))?;
        return Ok((result(&change.name, Outcome::Destroyed), Some(txn)));
    }
    if change.restart {
        return restart(view, &name);
    }
    if let Some(text) = &change.text {
        return put(view, &name, change, text);
    }
    if !exists && change.from_template {
        return from_template(view, &name, change);
    }
    match change.desired_state {
        Some(desired) => set_target(view, &name, convert::target(desired), Vec::new()),
        None if exists => Ok((result(&change.name, Outcome::Unchanged), None)),
        None => Err(unknown_unit(&change.name)),
    }
}

fn put(view: &View, name: &UnitName, change: &v2::Change, text: &str) -> Decision<v2::ChangeResult> {
    let strictness = if change.lenient { Strictness::Lenient } else { Strictness::Strict };
    let checked = unit::check(name, text, strictness).map_err(|findings| {
        let mut problem = problem("bad-unit-file", 400, format!("the file of unit {name} cannot be used"));
        problem.details = findings.iter().map(ToString::to_string).collect();
        problem.hint = findings.iter().find_map(|finding| finding.hint.clone());
        problem
    })?;
    let warnings: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
    let now = clock::now();
    let existing = view.units().get(name);
    let wanted = change.desired_state.map(convert::target);
    let target = wanted.or(existing.map(|unit| unit.target)).unwrap_or(TargetState::Inactive);
    let new = NewUnit { name, original: text, file: &checked.file, target, template: None };
    let (outcome, txn) = match existing {
        None => (Outcome::Created, ops::create_unit(view, &new, now)),
        Some(unit) if unit.hash == checked.file.hash() => {
            return match wanted {
                Some(target) => set_target(view, name, target, warnings),
                None => {
                    let same = result(&change.name, Outcome::Unchanged);
                    Ok((v2::ChangeResult { warnings, ..same }, None))
                }
            };
        }
        Some(_) if !change.replace => {
            let mut problem = problem("different-file", 409, format!("unit {name} exists with a different file"));
            problem.hint = Some("use --replace to put the new file in its place".to_owned());
            return Err(problem);
        }
        Some(_) => (Outcome::Replaced, ops::replace_unit(view, &new, now)),
    };
    written(name, outcome, txn, warnings)
}

fn from_template(view: &View, name: &UnitName, change: &v2::Change) -> Decision<v2::ChangeResult> {
    let template = name.template().ok_or_else(|| bad_request(format!("unit {name} is not an instance")))?;
    let missing = || problem("unknown-unit", 404, format!("template {template} does not exist"));
    let stored = view.file_of(&template).ok_or_else(missing)?;
    let target = change.desired_state.map_or(TargetState::Inactive, convert::target);
    let origin = TemplateRef { name: template.clone(), hash: stored.file.hash() };
    let new = NewUnit { name, original: &stored.record.original, file: &stored.file, target, template: Some(origin) };
    // The template was checked as any instance would be; what is lenient there is lenient here.
    let findings = unit::check(name, &stored.record.original, Strictness::Lenient);
    let warnings = findings.map_err(|findings| {
        let mut problem = problem("bad-unit-file", 400, format!("template {template} makes no unit {name}"));
        problem.details = findings.iter().map(ToString::to_string).collect();
        problem
    })?;
    let warnings = warnings.warnings.iter().map(ToString::to_string).collect();
    written(name, Outcome::Created, ops::create_unit(view, &new, clock::now()), warnings)
}

/// Asking for `launched` again is a request to start; any other state that is set already is no change.
fn set_target(view: &View, name: &UnitName, target: TargetState, warnings: Vec<String>) -> Decision<v2::ChangeResult> {
    let set = view.units().get(name).is_some_and(|unit| unit.target == target);
    if set && target != TargetState::Launched {
        let same = result(name.as_str(), Outcome::Unchanged);
        return Ok((v2::ChangeResult { warnings, ..same }, None));
    }
    written(name, Outcome::Changed, ops::set_target(view, name, target, clock::now()), warnings)
}

/// A unit that is not meant to run is started instead.
fn restart(view: &View, name: &UnitName) -> Decision<v2::ChangeResult> {
    let launched = view.units().get(name).is_some_and(|unit| unit.target == TargetState::Launched);
    let txn = match launched {
        true => ops::restart(view, name, clock::now()),
        false => ops::set_target(view, name, TargetState::Launched, clock::now()),
    };
    written(name, Outcome::Changed, txn, Vec::new())
}

fn written(
    name: &UnitName,
    outcome: Outcome,
    txn: Result<Txn, OpsError>,
    warnings: Vec<String>,
) -> Decision<v2::ChangeResult> {
    let txn = txn.map_err(|err| of_ops(&err))?;
    Ok((v2::ChangeResult { warnings, ..result(name.as_str(), outcome) }, Some(txn)))
}

/// A result whose counters are still to come: they are known once the change is part of the picture.
fn result(name: &str, outcome: Outcome) -> v2::ChangeResult {
    v2::ChangeResult { name: name.to_owned(), outcome, generation: 0, restarts: 0, warnings: Vec::new(), problem: None }
}

fn of_ops(err: &OpsError) -> v2::Problem {
    match err {
        OpsError::NoUnit { unit } => unknown_unit(unit.as_str()),
        OpsError::Template { unit } => {
            let mut problem = problem("bad-request", 400, err.to_string());
            problem.hint = unit::activation_problem(unit).and_then(|finding| finding.hint);
            problem
        }
        OpsError::TooBig(_) => problem("too-large", 413, err.to_string()),
        OpsError::Unreadable { key, .. } => {
            let mut problem = problem("unreadable", 500, err.to_string());
            problem.hint =
                Some(format!("the value of {key} was not written by this fleet; `fleetctl destroy` removes it"));
            problem
        }
        OpsError::UnitExists { .. } | OpsError::InactivePlacement { .. } => problem("internal", 500, err.to_string()),
    }
}
