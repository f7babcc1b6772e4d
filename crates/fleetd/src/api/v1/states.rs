//! `/state` and `/state/NAME`.

use axum::http::StatusCode;
use axum::response::Response;
use fleet_api::v1;
use fleet_core::model::{MachineId, UnitState};
use fleet_core::unit::UnitName;

use super::page::Page;
use super::path::values;
use super::{Refused, json};
use crate::api::Api;

/// `GET /state?machineID=ID&unitName=NAME`: both are whole and exact; an empty one is none.
pub async fn list(api: &Api, query: &str) -> Result<Response, Refused> {
    let page = Page::asked(query, api.limits().page).map_err(|err| Refused::bad_request(err.to_string()))?;
    let filter = |name| values(query, name).next().filter(|value| !value.is_empty());
    let (wanted_machine, wanted_unit) = (filter("machineID"), filter("unitName"));
    api.ready().await?;
    let view = api.view.read();
    let machines = view.states().iter();
    let machines = machines.filter(|(id, _)| wanted_machine.as_ref().is_none_or(|wanted| id.as_str() == wanted));
    let mut states: Vec<(&UnitName, &MachineId, &UnitState)> = machines
        .flat_map(|(machine, states)| states.iter().map(move |(name, state)| (name, machine, state)))
        .filter(|(name, ..)| wanted_unit.as_ref().is_none_or(|wanted| name.as_str() == wanted))
        .collect();
    states.sort_unstable_by_key(|(name, machine, _)| (*name, *machine));
    let next_page_token = page.next(states.len());
    let states = page.cut(states.into_iter()).map(|(name, machine, state)| unit_state(name, machine, state)).collect();
    Ok(json(&v1::UnitStatePage { next_page_token, states }))
}

/// `GET /state/NAME`: on the machine that it is placed on, else on one that still has it.
pub async fn one(api: &Api, name: &str) -> Result<Response, Refused> {
    api.ready().await?;
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "unit state does not exist");
    let name: UnitName = name.parse().map_err(|_| unknown())?;
    let view = api.view.read();
    let placed: Vec<&MachineId> = view.placed_on(&name).collect();
    let found = view.states_of(&name).min_by_key(|(machine, _)| (!placed.contains(machine), *machine));
    let (machine, state) = found.ok_or_else(unknown)?;
    Ok(json(&unit_state(&name, machine, state)))
}

fn unit_state(name: &UnitName, machine: &MachineId, state: &UnitState) -> v1::UnitState {
    v1::UnitState {
        hash: state.hash.to_string(),
        machine_id: machine.to_string(),
        name: name.to_string(),
        systemd_active_state: state.active.clone(),
        systemd_load_state: state.load.clone(),
        systemd_sub_state: state.sub.clone(),
    }
}
