//! `POST /changes`: what users want changed, checked and decided.
//!
//! Each change stands for itself. All that can be written together is written together, so that units which need each
//! other reach the engine in one piece; a lost race is decided again on the newer picture.

use std::collections::BTreeSet;

use fleet_api::v2::{self, Outcome};
use fleet_core::model::TargetState;
use fleet_core::unit::{self, Strictness, UnitName};
use fleet_store::registry::ops::{self, NewUnit, OpsError};
use fleet_store::registry::{TemplateRef, View};
use fleet_store::{Guard, Txn};

use super::once::{self, Once};
use super::problem::{Kind, bad_request, problem, unknown_unit};
use super::terms::Condition;
use super::write::{self, Decision, Settled, Slots};
use super::{Api, convert};
use crate::clock;

/// A unit that others change all the time.
pub fn raced(name: &str) -> v2::Problem {
    problem(Kind::Conflict, format!("unit {name} keeps changing; try again")).about(name)
}

/// A change, and on what it depends.
#[derive(Clone, Debug)]
pub struct Wish {
    pub change: v2::Change,
    pub condition: Option<Condition>,
}

impl From<v2::Change> for Wish {
    fn from(change: v2::Change) -> Wish {
        Wish { condition: change.generation.map(Condition::of_generation), change }
    }
}

/// Carries out a request; each change once, if the request is one that may come again.
pub async fn carry_out(api: &Api, wishes: &[Wish], once: Option<&Once>) -> Result<v2::ChangeResponse, v2::Problem> {
    if v2::CHANGES_MAX < wishes.len() {
        let n = wishes.len();
        return Err(problem(Kind::TooLarge, format!("{n} changes are over the limit of {}", v2::CHANGES_MAX)));
    }
    let mut slots = check_names(wishes);
    let decide = |view: &View, idx: usize| settled(view, &wishes[idx].change, decide_wish(view, &wishes[idx]));
    let revision = match once {
        Some(once) => once::write(api, once, &mut slots, decide).await?,
        None => write::write(api, &mut slots, decide).await?,
    };
    Ok(v2::ChangeResponse { revision: revision.0, results: results(wishes, slots) })
}

/// What each change would come to if all were carried out on this picture, one after the other as they would be written: the
/// picture is changed as the store would be.
pub fn rehearse(view: &mut View, wishes: &[Wish]) -> Vec<v2::ChangeResult> {
    let mut slots = check_names(wishes);
    for (wish, slot) in wishes.iter().zip(&mut slots).filter(|(_, slot)| slot.is_none()) {
        let decided = decide_wish(view, wish).map(|(result, txn)| {
            if let Some(txn) = txn {
                view.rehearse(&txn);
            }
            result
        });
        *slot = Some(decided);
    }
    results(wishes, slots)
}

fn results(wishes: &[Wish], slots: Slots<v2::ChangeResult>) -> Vec<v2::ChangeResult> {
    let result = |(wish, slot): (&Wish, Option<Result<v2::ChangeResult, v2::Problem>>)| {
        let name = &wish.change.name;
        let told = slot.unwrap_or_else(|| Err(raced(name))).unwrap_or_else(|problem| refused(name, problem));
        v2::ChangeResult { name: name.clone(), ..told }
    };
    wishes.iter().zip(slots).map(result).collect()
}

/// Refuses what is wrong whatever the picture shows.
fn check_names(wishes: &[Wish]) -> Slots<v2::ChangeResult> {
    let mut seen = BTreeSet::new();
    let mut slots = Vec::new();
    for Wish { change, .. } in wishes {
        let is_first = seen.insert(change.name.as_str());
        let err = match change.name.parse::<UnitName>() {
            Err(err) => Some(problem(Kind::BadUnitName, err.to_string()).about(&change.name)),
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

/// What one change comes to, with what it rests on if nothing is written: the unit as it was seen, and its template.
pub fn settled<T>(view: &View, change: &v2::Change, decided: Decision<T>) -> Settled<T> {
    let seen = || match name_of(change) {
        Ok(name) => seen(view, &name, change),
        Err(_) => Vec::new(),
    };
    write::settle(decided, seen)
}

fn seen(view: &View, name: &UnitName, change: &v2::Change) -> Vec<Guard> {
    let template = name.template().filter(|_| change.from_template);
    std::iter::once(name).chain(&template).map(|name| ops::unit_as_seen(view, name)).collect()
}

/// What one wish comes to on this picture. Whether a condition holds is said by the store: this picture may be behind.
fn decide_wish(view: &View, wish: &Wish) -> Decision<v2::ChangeResult> {
    let Wish { change, condition: Some(condition) } = wish else {
        return decide(view, &wish.change);
    };
    let name = name_of(change)?;
    let there = view.cluster().units.get(&name).map(|unit| unit.generation.0);
    let decided = match condition.holds(there) {
        true => decide(view, change),
        false => Err(condition.failed("unit", &change.name, there)),
    };
    let check = Txn { guards: vec![ops::unit_as_seen(view, &name)], writes: Vec::new() };
    Ok(match decided {
        Ok((result, Some(txn))) => (result, Some(txn)),
        Ok((result, None)) => (result, Some(check)),
        Err(problem) => (refused(&change.name, problem), Some(check)),
    })
}

/// What one change comes to on this picture.
pub fn decide(view: &View, change: &v2::Change) -> Decision<v2::ChangeResult> {
    let name = name_of(change)?;
    let exists = view.units().contains_key(&name);
    if change.destroy {
        let txn = ops::destroy(view, &name).map_err(|err| of_ops(&err))?;
        return Ok((result(&change.name, Outcome::Destroyed, (0, 0)), Some(txn)));
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
        None if exists => Ok((result(&change.name, Outcome::Unchanged, counters(view, &name)), None)),
        None => Err(unknown_unit(&change.name)),
    }
}

fn put(view: &View, name: &UnitName, change: &v2::Change, text: &str) -> Decision<v2::ChangeResult> {
    let strictness = if change.lenient { Strictness::Lenient } else { Strictness::Strict };
    let checked = unit::check(name, text, strictness)
        .map_err(|findings| bad_file(name, format!("the file of unit {name} cannot be used"), &findings))?;
    let warnings: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
    let now = clock::now();
    let existing = view.units().get(name);
    let wanted = change.desired_state.map(convert::target);
    let target = wanted.or(existing.map(|unit| unit.target)).unwrap_or(TargetState::Inactive);
    let new = NewUnit { name, original: text, file: &checked.file, target, template: None };
    let (generation, restarts) = counters(view, name);
    match existing {
        // Its first generation is known when it is written.
        None => written(result(name.as_str(), Outcome::Created, (0, 0)), ops::create_unit(view, &new, now), warnings),
        Some(unit) if unit.hash == checked.file.hash() => match wanted {
            Some(target) => set_target(view, name, target, warnings),
            None => {
                let same = result(&change.name, Outcome::Unchanged, counters(view, name));
                Ok((v2::ChangeResult { warnings, ..same }, None))
            }
        },
        Some(_) if !change.replace => {
            let problem = problem(Kind::DifferentFile, format!("unit {name} exists with a different file"));
            Err(problem.about(name.as_str()).with_hint("use --replace to put the new file in its place"))
        }
        Some(_) => {
            let replaced = result(name.as_str(), Outcome::Replaced, (generation + 1, restarts));
            written(replaced, ops::replace_unit(view, &new, now), warnings)
        }
    }
}

fn bad_file(name: &UnitName, detail: String, findings: &[unit::Problem]) -> v2::Problem {
    let finding = |found: &unit::Problem| v2::Finding { line: found.line, message: found.message.clone() };
    v2::Problem {
        findings: findings.iter().map(finding).collect(),
        hint: findings.iter().find_map(|found| found.hint.clone()),
        ..problem(Kind::BadUnitFile, detail).about(name.as_str())
    }
}

fn from_template(view: &View, name: &UnitName, change: &v2::Change) -> Decision<v2::ChangeResult> {
    let template = name.template().ok_or_else(|| bad_request(format!("unit {name} is not an instance")))?;
    let missing = || problem(Kind::UnknownUnit, format!("template {template} does not exist")).about(template.as_str());
    let stored = view.file_of(&template).ok_or_else(missing)?;
    let target = change.desired_state.map_or(TargetState::Inactive, convert::target);
    let origin = TemplateRef { name: template.clone(), hash: stored.file.hash() };
    let new = NewUnit { name, original: &stored.record.original, file: &stored.file, target, template: Some(origin) };
    // The template was checked as any instance would be; what is lenient there is lenient here.
    let findings = unit::check(name, &stored.record.original, Strictness::Lenient);
    let warnings =
        findings.map_err(|findings| bad_file(name, format!("template {template} makes no unit {name}"), &findings))?;
    let warnings = warnings.warnings.iter().map(ToString::to_string).collect();
    let created = result(name.as_str(), Outcome::Created, (0, 0));
    let (result, txn) = written(created, ops::create_unit(view, &new, clock::now()), warnings)?;
    // The unit has the file that its template has: not the one from before another daemon gave it another.
    let is_seen = ops::unit_as_seen(view, &template);
    Ok((result, txn.map(|txn| Txn { guards: txn.guards.into_iter().chain([is_seen]).collect(), ..txn })))
}

/// Asking for `launched` again is a request to start; any other state that is set already is no change.
fn set_target(view: &View, name: &UnitName, target: TargetState, warnings: Vec<String>) -> Decision<v2::ChangeResult> {
    let set = view.units().get(name).is_some_and(|unit| unit.target == target);
    if set && target != TargetState::Launched {
        let same = result(name.as_str(), Outcome::Unchanged, counters(view, name));
        return Ok((v2::ChangeResult { warnings, ..same }, None));
    }
    let (generation, restarts) = counters(view, name);
    let changed = result(name.as_str(), Outcome::Changed, (generation + 1, restarts));
    written(changed, ops::set_target(view, name, target, clock::now()), warnings)
}

/// A unit that is not meant to run is started instead.
fn restart(view: &View, name: &UnitName) -> Decision<v2::ChangeResult> {
    let launched = view.units().get(name).is_some_and(|unit| unit.target == TargetState::Launched);
    if !launched {
        return set_target(view, name, TargetState::Launched, Vec::new());
    }
    let (generation, restarts) = counters(view, name);
    let changed = result(name.as_str(), Outcome::Changed, (generation, restarts + 1));
    written(changed, ops::restart(view, name, clock::now()), Vec::new())
}

/// A unit's generation and restart counter.
fn counters(view: &View, name: &UnitName) -> (u64, u64) {
    view.cluster().units.get(name).map_or((0, 0), |unit| (unit.generation.0, unit.restarts))
}

/// Only good names come here: whoever asks has checked them.
fn name_of(change: &v2::Change) -> Result<UnitName, v2::Problem> {
    change.name.parse().map_err(|_| bad_request(format!("bad name {}", change.name)))
}

fn written(result: v2::ChangeResult, txn: Result<Txn, OpsError>, warnings: Vec<String>) -> Decision<v2::ChangeResult> {
    let txn = txn.map_err(|err| of_ops(&err))?;
    Ok((v2::ChangeResult { warnings, ..result }, Some(txn)))
}

/// A result, with the unit's generation and restart counter afterwards.
fn result(name: &str, outcome: Outcome, (generation, restarts): (u64, u64)) -> v2::ChangeResult {
    v2::ChangeResult { name: name.to_owned(), outcome, generation, restarts, warnings: Vec::new(), problem: None }
}

/// A change that was refused.
pub fn refused(name: &str, problem: v2::Problem) -> v2::ChangeResult {
    v2::ChangeResult { problem: Some(problem), ..result(name, Outcome::Refused, (0, 0)) }
}

fn of_ops(err: &OpsError) -> v2::Problem {
    match err {
        OpsError::NoUnit { unit } => unknown_unit(unit.as_str()),
        OpsError::Template { unit } => {
            let hint = unit::activation_problem(unit).and_then(|finding| finding.hint);
            v2::Problem { hint, ..bad_request(err.to_string()).about(unit.as_str()) }
        }
        OpsError::TooBig(_) => problem(Kind::TooLarge, err.to_string()),
        OpsError::Unreadable { key, .. } => {
            let problem = problem(Kind::Unreadable, err.to_string());
            problem
                .with_hint(format!("the value of {key} was not written by this fleet; `fleetctl destroy` removes it"))
        }
        OpsError::UnitExists { .. } | OpsError::InactivePlacement { .. } => problem(Kind::Internal, err.to_string()),
    }
}
