//! `/units` and `/units/NAME`.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_api::{v1, v2};
use fleet_core::model::{TargetState, TargetStateError, UnitState};
use fleet_core::unit::{UNIT_NAME_LEN_MAX, UnitFile, UnitFileError, UnitName, UnitNameError, activation_problem};
use fleet_store::registry::{UnitRecord, View, ops};

use super::page::Page;
use super::{Refused, decode, json};
use crate::api::changes;
use crate::api::problem::{Kind, bad_request, problem};
use crate::api::write::{self as writing, Decision, Settled, Told};
use crate::api::{Api, convert};

/// `GET /units`.
pub async fn list(api: &Api, query: &str) -> Result<Response, Refused> {
    let page = Page::asked(query, api.limits().page).map_err(|err| Refused::bad_request(err.to_string()))?;
    api.ready().await?;
    let view = api.view.read();
    let units = page.cut(view.units().iter()).map(|(name, record)| unit(&view, name, record)).collect();
    Ok(json(&v1::UnitPage { next_page_token: page.next(view.units().len()), units }))
}

/// `GET /units/NAME`.
pub async fn one(api: &Api, name: &str) -> Result<Response, Refused> {
    api.ready().await?;
    let view = api.view.read();
    let found = view.units().get_key_value(name);
    let (name, record) = found.ok_or_else(unknown)?;
    Ok(json(&unit(&view, name, record)))
}

/// `DELETE /units/NAME`.
pub async fn destroy(api: &Api, name: &str) -> Result<Response, Refused> {
    api.ready().await?;
    let name: UnitName = name.parse().map_err(|_| unknown())?;
    let change = v2::Change { name: name.to_string(), destroy: true, ..v2::Change::default() };
    match write(api, &name, |view| settled(view, &name, changes::decide(view, &change))).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(problem) if problem.status == 404 => Err(unknown()),
        Err(problem) => Err(problem.into()),
    }
}

/// `PUT /units/NAME`: creates a unit, gives it another file, or sets how far it is to be taken.
pub async fn put(api: &Api, name: &str, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let body = api.limits().bodies.read(&parts.headers, body).await?;
    let body = decode::put(&body, api.limits().options)
        .map_err(|err| Refused::bad_request(format!("unable to decode body: {err}")))?;
    if !body.name.is_empty() && body.name != name {
        let other = &body.name;
        return Err(Refused::bad_request(format!(
            "name in URL {name:?} differs from unit name in request body {other:?}"
        )));
    }
    let name: UnitName = name.parse().map_err(|err| Refused::bad_request(name_message(&err)))?;
    api.ready().await?;
    let file = match body.options.is_empty() {
        true => None,
        false => {
            let file = UnitFile::from_options(body.options);
            Some(file.map_err(|err| Refused::bad_request(file_message(err)))?)
        }
    };
    let wish = Wish { name, file, desired: body.desired_state };
    let status = write(api, &wish.name, |view| settled(view, &wish.name, wish.decide(view))).await?;
    Ok(status.into_response())
}

/// What is told without a write rests on the unit as it was seen.
fn settled<T>(view: &View, name: &UnitName, decided: Decision<T>) -> Settled<T> {
    writing::settle(decided, || vec![ops::unit_as_seen(view, name)])
}

/// Writes one wish.
async fn write<T: Told>(api: &Api, name: &UnitName, decide: impl Fn(&View) -> Settled<T>) -> Result<T, v2::Problem> {
    let mut slots = vec![None];
    writing::write(api, &mut slots, |view, _| decide(view)).await?;
    slots.pop().flatten().unwrap_or_else(|| Err(changes::raced(name.as_str())))
}

/// What a `PUT` wants.
struct Wish {
    name: UnitName,
    file: Option<UnitFile>,
    /// As the client wrote it; empty if it wrote nothing.
    desired: String,
}

impl Wish {
    /// In the original's order, in which the first check that fails decides.
    fn decide(&self, view: &View) -> Decision<StatusCode> {
        match (view.units().get(&self.name), &self.file) {
            (None, None) => Err(of_original(problem(Kind::UnknownUnit, "unit does not exist and options field empty"))),
            (Some(unit), None) => self.set_target(view, unit),
            (Some(unit), Some(file)) if file.hash() == unit.hash => self.set_target(view, unit),
            (_, Some(file)) => self.put(view, file),
        }
    }

    /// Nothing said is `inactive`, also for a unit that runs: the original's rule.
    fn put(&self, view: &View, file: &UnitFile) -> Decision<StatusCode> {
        let desired = match self.desired.is_empty() {
            true => Ok(TargetState::Inactive),
            false => self.target(),
        };
        let change = v2::Change {
            name: self.name.to_string(),
            text: Some(file.canonical()),
            desired_state: Some(convert::state(*desired.as_ref().unwrap_or(&TargetState::Inactive))),
            replace: true,
            // What the original took is taken.
            lenient: true,
            ..v2::Change::default()
        };
        let (_, txn) = changes::decide(view, &change)?;
        desired?;
        Ok((StatusCode::CREATED, txn))
    }

    fn set_target(&self, view: &View, unit: &UnitRecord) -> Decision<StatusCode> {
        if self.desired.is_empty() {
            return Err(of_original(bad_request("must provide DesiredState to update existing unit")));
        }
        if let Some(why) = activation_problem(&self.name).filter(|_| self.desired != TargetState::Inactive.as_str()) {
            return Err(bad_request(why.message));
        }
        let target = self.target()?;
        if unit.target == target {
            // Not a request to start: clients of the original say again and again what they want.
            return Ok((StatusCode::NO_CONTENT, None));
        }
        let desired_state = Some(convert::state(target));
        let change = v2::Change { name: self.name.to_string(), desired_state, ..v2::Change::default() };
        let (_, txn) = changes::decide(view, &change)?;
        Ok((StatusCode::NO_CONTENT, txn))
    }

    fn target(&self) -> Result<TargetState, v2::Problem> {
        self.desired.parse().map_err(|err: TargetStateError| bad_request(format!("invalid desiredState: {err}")))
    }
}

/// The original's status for what cannot be done to a unit as it is.
fn of_original(problem: v2::Problem) -> v2::Problem {
    v2::Problem { status: StatusCode::CONFLICT.as_u16(), ..problem }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refused> {
    let refused = |message: String| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let given: Vec<&[u8]> = headers.get_all(header::CONTENT_TYPE).iter().map(|value| value.as_bytes()).collect();
    let [given] = given[..] else { return Err(refused(format!("expected 1 Content-Type, got {}", given.len()))) };
    let media_type = given.split(|byte| *byte == b';').next().unwrap_or_default();
    match media_type.trim_ascii() == b"application/json" {
        true => Ok(()),
        false => Err(refused("only acceptable Content-Type is application/json".to_owned())),
    }
}

fn unknown() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "unit does not exist")
}

/// The original's words, without the name that is in the request anyway.
fn name_message(err: &UnitNameError) -> String {
    match err {
        UnitNameError::TooLong { .. } => format!("unit name exceeds maximum length ({UNIT_NAME_LEN_MAX})"),
        UnitNameError::NoType { .. } => "unit name must contain \".\"".to_owned(),
        UnitNameError::EndsInDot { .. } => "unit name cannot end in \".\"".to_owned(),
        UnitNameError::BadType { ty, .. } => format!("invalid unit type: {ty:?}"),
        UnitNameError::BadTemplateType { ty, .. } => format!("invalid unit type for template: {ty:?}"),
        UnitNameError::BadChar { ch, .. } => format!("invalid character {ch:?} in unit name"),
        UnitNameError::StartsWithAt { .. } => "unit name cannot start in \"@\"".to_owned(),
        UnitNameError::Empty | UnitNameError::NoPrefix { .. } => err.to_string(),
    }
}

/// Without the number of the line: the client sent options and no lines.
fn file_message(err: UnitFileError) -> String {
    fleet_core::unit::Problem::from(err).message
}

/// A unit as the wire has it.
fn unit(view: &View, name: &UnitName, record: &UnitRecord) -> v1::Unit {
    let global = view.cluster().units.get(name).is_some_and(|unit| unit.requirements.global);
    // A global unit has many machines, of which v1 cannot speak.
    let machine = view.placed_on(name).next().filter(|_| !global);
    let state = machine.and_then(|machine| view.states().get(machine)?.get(name));
    let file = view.file_of(name);
    let options = file.map(|stored| stored.file.options()).unwrap_or_default();
    let option = |option: &fleet_core::unit::UnitOption| v1::UnitOption {
        section: option.section.clone(),
        name: option.name.clone(),
        value: option.value.clone(),
    };
    v1::Unit {
        current_state: current(state).as_str().to_owned(),
        desired_state: record.target.as_str().to_owned(),
        machine_id: machine.map(ToString::to_string).unwrap_or_default(),
        name: name.to_string(),
        options: options.iter().map(option).collect(),
    }
}

/// How far the machine has taken the unit: what was asked of systemd, not what came of it.
fn current(state: Option<&UnitState>) -> TargetState {
    state.map_or(TargetState::Inactive, |state| state.reached.max(TargetState::Loaded))
}
