//! Lists: which entries (filters), how many (pages), and what of each (fields); and counts.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use fleet_api::v2;
use fleet_core::unit::{Glob, UnitName};
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use serde_json::{Map, Value};

use super::Api;
use super::convert::{self, Reasons};
use super::extract::{Params, bad_param};
use super::machines::machine_of;
use super::parameters::{ActiveIn, OfUnits, Piece};
use super::problem::{Refused, bad_request};
use crate::view::Picture;

/// In a list, the reasons of so many waiting units are worked out: each asks every machine.
const EXPLAINED_MAX: usize = 100;

/// The units, by name; also those that were destroyed and that a machine has not let go of yet.
#[utoipa::path(
    get,
    path = "/units",
    tag = "units",
    operation_id = "list_units",
    params(
        OfUnits,
        ("desired_state" = Option<Vec<v2::State>>, Query, description = "What is wanted of it"),
        ("current_state" = Option<Vec<v2::State>>, Query, description = "What has been reached"),
        ActiveIn,
        ("waiting" = Option<bool>, Query, description = "Whether it is wanted and on no machine"),
        (
            "fields" = Option<Vec<v2::UnitField>>,
            Query,
            explode = false,
            description = "The fields of each entry that are wanted; all without it"
        ),
        Piece
    ),
    responses((status = 200, description = "The units; with `fields`, only those of each", body = v2::UnitList), Refused)
)]
pub async fn units(State(api): State<Api>, mut params: Params) -> Result<Response, Refused> {
    let names = params.each::<Glob>("name")?;
    let machines = machines_of(&api, &mut params)?;
    let desired = params.each::<v2::State>("desired_state")?;
    let current = params.each::<v2::State>("current_state")?;
    let active = params.all("active");
    let waiting: Option<bool> = params.one("waiting")?;
    let page = Page::of::<v2::UnitField>(&mut params)?;
    params.end("name, machine, desired_state, current_state, active, waiting, fields, limit, after")?;
    let fits = |unit: &v2::Unit| {
        let on = |placement: &v2::Placement| machines.contains(&placement.machine);
        let is_active =
            |placement: &v2::Placement| placement.state.as_ref().is_some_and(|state| active.contains(&state.active));
        (machines.is_empty() || unit.placements.iter().any(on))
            && (desired.is_empty() || desired.contains(&unit.desired_state))
            && (current.is_empty() || current.contains(&unit.current_state))
            && (active.is_empty() || unit.placements.iter().any(is_active))
            && waiting.is_none_or(|waiting| waiting == convert::waits(unit))
    };
    let view = api.view.read();
    let mut n_explained = 0;
    let wants_reasons = page.wants("waiting");
    let unit = |name: &UnitName| {
        let unit = convert::unit(&view, name, Reasons::Left).filter(&fits)?;
        if !wants_reasons || EXPLAINED_MAX <= n_explained || !convert::waits(&unit) {
            return Some(unit);
        }
        n_explained += 1;
        convert::unit(&view, name, Reasons::Explained)
    };
    let names = convert::names(&view).into_iter().filter(|name| matches(&names, name.as_str()));
    let (units, next) = page.cut(names, |name| name.to_string(), unit);
    page.answer(&v2::UnitList { revision: view.revision().0, units, next }, "units")
}

/// What machines say of units, by unit and machine.
#[utoipa::path(
    get,
    path = "/states",
    tag = "units",
    operation_id = "list_states",
    params(
        OfUnits,
        ActiveIn,
        (
            "fields" = Option<Vec<v2::StateField>>,
            Query,
            explode = false,
            description = "The fields of each entry that are wanted; all without it"
        ),
        Piece
    ),
    responses((status = 200, description = "The states", body = v2::StateList), Refused)
)]
pub async fn states(State(api): State<Api>, mut params: Params) -> Result<Response, Refused> {
    let names = params.each::<Glob>("name")?;
    let machines = machines_of(&api, &mut params)?;
    let active = params.all("active");
    let page = Page::of::<v2::StateField>(&mut params)?;
    params.end("name, machine, active, fields, limit, after")?;
    let view = api.view.read();
    let states = |name: UnitName| {
        let unit = convert::unit(&view, &name, Reasons::Left);
        let desired = view.cluster().units.get(&name).map(|unit| convert::state(unit.target));
        let one = move |placement: v2::Placement| v2::PlacementState {
            unit: name.to_string(),
            machine: placement.machine,
            desired_state: desired,
            placed: placement.placed,
            done: placement.done,
            state: placement.state,
        };
        unit.into_iter().flat_map(|unit| unit.placements).map(one)
    };
    let fits = |state: &v2::PlacementState| {
        (machines.is_empty() || machines.contains(&state.machine))
            && (active.is_empty() || state.state.as_ref().is_some_and(|said| active.contains(&said.active)))
    };
    let names = convert::names(&view).into_iter().filter(|name| matches(&names, name.as_str()));
    let key = |state: &v2::PlacementState| format!("{}/{}", state.unit, state.machine);
    let (states, next) = page.cut(names.flat_map(states), key, |state| fits(state).then(|| state.clone()));
    page.answer(&v2::StateList { revision: view.revision().0, states, next }, "states")
}

/// The machines that are present, have orders, or were spoken of by operators, by ID.
#[utoipa::path(
    get,
    path = "/machines",
    tag = "machines",
    operation_id = "list_machines",
    params(
        ("metadata" = Option<Vec<String>>, Query, description = "`KEY=VALUE`, all of which it has to have"),
        ("state" = Option<Vec<v2::MachineState>>, Query, description = "How it has to be: one of these"),
        (
            "fields" = Option<Vec<v2::MachineField>>,
            Query,
            explode = false,
            description = "The fields of each entry that are wanted; all without it"
        ),
        Piece
    ),
    responses(
        (status = 200, description = "The machines; with `fields`, only those of each", body = v2::MachineList),
        Refused
    )
)]
pub async fn machines(State(api): State<Api>, mut params: Params) -> Result<Response, Refused> {
    let mut pairs = Vec::new();
    for pair in params.all("metadata") {
        let split = pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        pairs.push(split.ok_or_else(|| bad_param("metadata", &pair, &"write KEY=VALUE"))?);
    }
    let states = params.each::<v2::MachineState>("state")?;
    let page = Page::of::<v2::MachineField>(&mut params)?;
    params.end("metadata, state, fields, limit, after")?;
    let fits = |machine: &v2::Machine| {
        pairs.iter().all(|(key, value)| machine.metadata.get(key) == Some(value))
            && (states.is_empty() || states.iter().any(|state| is_in(machine, *state)))
    };
    let view = api.view.read();
    let (revision, brake) = (view.revision().0, convert::brake(&view));
    let ids = convert::known_machines(&view).into_iter();
    let machine = |id: &&_| Some(convert::machine(&view, id)).filter(&fits);
    let (machines, next) = page.cut(ids, ToString::to_string, machine);
    page.answer(&v2::MachineList { revision, brake, machines, next }, "machines")
}

/// The cluster in numbers.
#[utoipa::path(
    get,
    path = "/counts",
    tag = "cluster",
    operation_id = "get_counts",
    responses((status = 200, description = "The numbers", body = v2::Counts), Refused)
)]
pub async fn counts(State(api): State<Api>) -> Json<v2::Counts> {
    Json(count(&api.view.read()))
}

fn count(view: &Picture) -> v2::Counts {
    let mut counts = v2::Counts { revision: view.revision().0, ..v2::Counts::default() };
    for name in convert::names(view) {
        let Some(unit) = convert::unit(view, &name, Reasons::Left) else { continue };
        let mut has_failed = false;
        for placement in &unit.placements {
            let Some(state) = &placement.state else { continue };
            *counts.active.entry(state.active.clone()).or_default() += 1;
            has_failed |= placement.placed && (state.active == "failed" || !state.error.is_empty());
        }
        if !view.units().contains_key(&name) {
            continue;
        }
        let of = &mut counts.units;
        of.total += 1;
        match unit.desired_state {
            v2::State::Inactive => of.inactive += 1,
            v2::State::Loaded => of.loaded += 1,
            v2::State::Launched => of.launched += 1,
        }
        of.waiting += u64::from(convert::waits(&unit));
        of.lost += u64::from(unit.placements.iter().any(|placement| placement.lost.is_some()));
        of.failed += u64::from(has_failed);
        of.global += u64::from(unit.global);
    }
    for machine in convert::machines(view) {
        let of = &mut counts.machines;
        of.total += 1;
        of.present += u64::from(machine.present);
        of.lost += u64::from(machine.lost.is_some());
        of.cordoned += u64::from(machine.cordoned);
        of.draining += u64::from(machine.draining.is_some());
        of.given_up += u64::from(machine.given_up);
    }
    counts.braked = view.cluster().brake.is_some();
    counts
}

fn is_in(machine: &v2::Machine, state: v2::MachineState) -> bool {
    match state {
        v2::MachineState::Present => machine.present,
        v2::MachineState::Lost => machine.lost.is_some(),
        v2::MachineState::Cordoned => machine.cordoned,
        v2::MachineState::Draining => machine.draining.is_some(),
        v2::MachineState::GivenUp => machine.given_up,
    }
}

fn matches(globs: &[Glob], name: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.matches(name))
}

/// The machines that are asked for, by whole IDs.
fn machines_of(api: &Api, params: &mut Params) -> Result<Vec<String>, Refused> {
    params.all("machine").iter().map(|id| machine_of(api, id).map(|id| id.to_string())).collect()
}

/// Which part of a list, and what of its entries.
struct Page {
    limit: Option<usize>,
    after: Option<String>,
    fields: Vec<String>,
}

impl Page {
    /// `F` is the enum of the fields that the entries have.
    fn of<F: DeserializeOwned>(params: &mut Params) -> Result<Page, v2::Problem> {
        let limit: Option<usize> = params.one("limit")?;
        if let Some(limit) = limit.filter(|limit| !(1..=v2::LIMIT_MAX).contains(limit)) {
            let detail = format!("parameter `limit` has the value `{limit}`: it is from 1 to {}", v2::LIMIT_MAX);
            return Err(bad_request(detail).about("limit"));
        }
        let mut fields = Vec::new();
        for given in params.all("fields") {
            for field in given.split(',').map(str::trim) {
                let read: Result<F, serde::de::value::Error> = F::deserialize(field.into_deserializer());
                read.map_err(|err| bad_param("fields", &given, &err))?;
                fields.push(field.to_owned());
            }
        }
        Ok(Page { limit, after: params.one("after")?, fields })
    }

    fn wants(&self, field: &str) -> bool {
        self.fields.is_empty() || self.fields.iter().any(|wanted| wanted == field)
    }

    /// The entries of this page, and where the next begins if there is one. Entries come in the order of their keys.
    fn cut<A, B>(
        &self,
        all: impl Iterator<Item = A>,
        key: impl Fn(&A) -> String,
        mut entry: impl FnMut(&A) -> Option<B>,
    ) -> (Vec<B>, Option<String>) {
        let (mut entries, mut last) = (Vec::new(), None);
        for item in all {
            let key = key(&item);
            if self.after.as_ref().is_some_and(|after| key <= *after) {
                continue;
            }
            let Some(entry) = entry(&item) else { continue };
            if self.limit == Some(entries.len()) {
                return (entries, last);
            }
            entries.push(entry);
            last = Some(key);
        }
        (entries, None)
    }

    /// The list, its entries cut down to the fields that were asked for.
    fn answer(&self, list: &impl Serialize, entries: &str) -> Result<Response, Refused> {
        if self.fields.is_empty() {
            return Ok(Json(list).into_response());
        }
        let failed = |err: serde_json::Error| super::problem::problem(super::problem::Kind::Internal, err.to_string());
        let mut list = serde_json::to_value(list).map_err(failed)?;
        let entries = list.get_mut(entries).and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
            let all = std::mem::take(entry);
            *entry = all.into_iter().filter(|(name, _)| self.wants(name)).collect::<Map<String, Value>>();
        }
        Ok(Json(list).into_response())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What can be asked for is what there is.
    #[test]
    fn fields() {
        let document = serde_json::to_value(&super::super::document::ROUTES.1).expect("JSON");
        let schemas = &document["components"]["schemas"];
        for (schema, fields) in [("Unit", "UnitField"), ("Machine", "MachineField"), ("PlacementState", "StateField")] {
            let there: BTreeSet<&str> =
                schemas[schema]["properties"].as_object().expect("a schema").keys().map(String::as_str).collect();
            let known = schemas[fields]["enum"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
            assert_eq!(there, known, "{schema}");
        }
    }

    fn page(limit: Option<usize>, after: Option<&str>) -> Page {
        Page { limit, after: after.map(str::to_owned), fields: Vec::new() }
    }

    #[test]
    fn pages() {
        let all = ["a", "b", "c", "d", "e"];
        let cut = |page: Page| {
            let (entries, next) = page.cut(all.iter(), ToString::to_string, |name| (**name != "c").then_some(**name));
            format!("{} {}", entries.join(""), next.unwrap_or_default())
        };
        assert_eq!(cut(page(None, None)), "abde ");
        assert_eq!(cut(page(Some(2), None)), "ab b");
        assert_eq!(cut(page(Some(2), Some("b"))), "de ");
        assert_eq!(cut(page(Some(1), Some("b"))), "d d");
        assert_eq!(cut(page(Some(4), None)), "abde ", "there is no empty last page");
        assert_eq!(cut(page(None, Some("zz"))), " ");
    }
}
