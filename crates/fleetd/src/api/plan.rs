//! Handlers of `/units/NAME/explanation` and `/plan`: why, and what if.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleet_api::v2;
use fleet_core::engine::{Fate, fates, forecast};
use fleet_core::model::{Cluster, DRAIN_MAX_DEFAULT, MachineId, TargetState};
use fleet_core::schedule::{self, Situation};
use fleet_core::unit::{Form, UnitName};
use fleet_store::Txn;
use fleet_store::registry::{CordonRecord, DrainRecord, GivenUpRecord, View, ops};
use tokio::sync::Semaphore;

use super::changes::{self, Wish};
use super::extract::{Given, Segment};
use super::machines::{machine_of, present};
use super::parameters::OfUnit;
use super::problem::{Kind, Refused, problem, unknown_unit};
use super::{Api, convert};
use crate::clock;
use crate::view::Picture;

/// So many plans are thought out at a time; who comes meanwhile is told to come back. Each takes a copy of the whole picture.
const PLANS_AT_ONCE: usize = 2;

/// The places of those plans.
#[derive(Debug)]
pub struct Planning(Arc<Semaphore>);

impl Default for Planning {
    fn default() -> Planning {
        Planning(Arc::new(Semaphore::new(PLANS_AT_ONCE)))
    }
}

/// Why a unit is where it is, or nowhere: what each machine says to it.
#[utoipa::path(
    get,
    path = "/units/{name}/explanation",
    tag = "units",
    operation_id = "explain_unit",
    params(OfUnit),
    responses((status = 200, description = "The explanation", body = v2::Explanation), Refused)
)]
pub async fn explain(State(api): State<Api>, Segment(name): Segment) -> Result<Json<v2::Explanation>, Refused> {
    let view = api.view.read();
    let parsed: Option<UnitName> = name.parse().ok();
    let explained = parsed.and_then(|parsed| explanation(&view, &parsed));
    Ok(Json(explained.ok_or_else(|| unknown_unit(&name))?))
}

fn explanation(view: &Picture, name: &UnitName) -> Option<v2::Explanation> {
    let cluster = view.cluster();
    let explained = schedule::explain_choice(cluster, name);
    let (situation, on) = match &explained.situation {
        Situation::Unknown => return None,
        Situation::Template => (v2::Situation::Template, Vec::new()),
        Situation::Inactive => (v2::Situation::Inactive, Vec::new()),
        Situation::Placed(id) => (v2::Situation::Placed, vec![id.clone()]),
        Situation::Lost(id) => (v2::Situation::Lost, vec![id.clone()]),
        Situation::Draining(id) => (v2::Situation::Draining, vec![id.clone()]),
        Situation::Stopping(id) => (v2::Situation::Stopping, vec![id.clone()]),
        Situation::Waiting => (v2::Situation::Waiting, Vec::new()),
        Situation::Global(on) => (v2::Situation::Global, on.clone()),
    };
    let placed: BTreeSet<&MachineId> = view.placed_on(name).collect();
    let answer = |answer: &schedule::Answer| v2::MachineAnswer {
        machine: answer.machine.to_string(),
        ip: view.address(&answer.machine).map(str::to_owned),
        placed: placed.contains(&answer.machine),
        able: answer.refusals.is_empty(),
        units: cluster.placements.get(&answer.machine).map_or(0, |units| units.len() as u64),
        refusals: answer
            .refusals
            .iter()
            .map(|refusal| v2::MachineRefusal { constraint: refusal.constraint(), text: refusal.to_string() })
            .collect(),
    };
    Some(v2::Explanation {
        revision: view.revision().0,
        name: name.to_string(),
        situation,
        summary: explained.to_string().lines().next().unwrap_or_default().to_owned(),
        on: on.iter().map(ToString::to_string).collect(),
        group: explained.group.iter().map(ToString::to_string).collect(),
        machines: explained.machines.iter().map(answer).collect(),
    })
}

/// What would become of the cluster if this were asked for. Nothing is written.
#[utoipa::path(
    post,
    path = "/plan",
    tag = "cluster",
    operation_id = "plan",
    request_body = v2::PlanRequest,
    responses((status = 200, description = "The cluster at rest after it", body = v2::PlanResponse), Refused)
)]
pub async fn plan(
    State(api): State<Api>,
    Given { value: request, .. }: Given<v2::PlanRequest>,
) -> Result<Json<v2::PlanResponse>, Refused> {
    let n_machines = [&request.drain, &request.cordon, &request.uncordon, &request.give_up].map(Vec::len).iter().sum();
    for (n, what) in [(request.changes.len(), "changes"), (n_machines, "machines")] {
        if v2::CHANGES_MAX < n {
            let detail = format!("{n} {what} are over the limit of {}", v2::CHANGES_MAX);
            return Err(problem(Kind::TooLarge, detail).into());
        }
    }
    let busy = |_| problem(Kind::TooMany, format!("{PLANS_AT_ONCE} plans are being thought out already"));
    let place = Arc::clone(&api.planning.0).try_acquire_owned().map_err(busy)?;
    let orders = orders(&api, &request)?;
    // It may take seconds in a large cluster: the other requests go on meanwhile.
    let told = tokio::task::spawn_blocking(move || {
        let _place = place;
        let view = View::clone(&api.view.read());
        think_out(view, request.changes, &orders)
    });
    told.await.map(Json).map_err(|err| problem(Kind::Internal, err.to_string()).into())
}

/// What would be said of machines.
struct Orders {
    txns: Vec<Txn>,
    drained: BTreeSet<MachineId>,
}

fn orders(api: &Api, request: &v2::PlanRequest) -> Result<Orders, Refused> {
    let since = clock::now();
    let (mut txns, mut drained) = (Vec::new(), BTreeSet::new());
    for id in &request.drain {
        let machine = machine_of(api, id)?;
        txns.push(ops::drain(&machine, &DrainRecord { since, max_at_once: DRAIN_MAX_DEFAULT }));
        drained.insert(machine);
    }
    for id in &request.cordon {
        txns.push(ops::cordon(&machine_of(api, id)?, &CordonRecord { since }));
    }
    for id in &request.uncordon {
        txns.push(ops::uncordon(&machine_of(api, id)?, since));
    }
    for id in &request.give_up {
        let machine = machine_of(api, id)?;
        if api.view.read().machines().contains_key(&machine) {
            return Err(present(&machine).into());
        }
        txns.push(ops::give_up(&machine, &GivenUpRecord { since }));
    }
    Ok(Orders { txns, drained })
}

fn think_out(mut view: View, changes: Vec<v2::Change>, orders: &Orders) -> v2::PlanResponse {
    let revision = view.revision().0;
    let before = view.cluster().clone();
    let wishes: Vec<Wish> = changes.into_iter().map(Into::into).collect();
    let results = changes::rehearse(&mut view, &wishes);
    for txn in &orders.txns {
        view.rehearse(txn);
    }
    let (after, rests) = forecast(view.cluster().clone());
    let mut units = fates(&before, &after);
    let accepted = results.iter().filter(|result| result.outcome != v2::Outcome::Refused);
    let asked = accepted.filter_map(|result| result.name.parse().ok());
    let on_drained = |id: &MachineId| {
        let units = after.placements.get(id).into_iter().flatten();
        units.filter(|(_, order)| !order.is_leaving()).map(|(name, _)| name.clone()).collect::<Vec<UnitName>>()
    };
    for name in asked.chain(orders.drained.iter().flat_map(on_drained)) {
        let on = |cluster: &Cluster| {
            let on = cluster
                .placements
                .iter()
                .filter(|(_, units)| units.get(&name).is_some_and(|order| !order.is_leaving()));
            on.map(|(id, _)| id.clone()).collect()
        };
        units.entry(name.clone()).or_insert_with(|| Fate { before: on(&before), after: on(&after) });
    }
    let units = units.iter().map(|(name, fate)| planned(&after, name, fate)).collect();
    v2::PlanResponse { revision, results, units, rests }
}

fn planned(after: &Cluster, name: &UnitName, fate: &Fate) -> v2::PlannedUnit {
    let wanted = after.units.get(name).filter(|unit| unit.target != TargetState::Inactive);
    let is_wanted = wanted.is_some() && name.form() != Form::Template;
    let is_global = wanted.is_some_and(|unit| unit.requirements.global);
    let told = match (fate.before.is_empty(), fate.after.is_empty()) {
        _ if is_wanted && fate.after.is_empty() => v2::Fate::Waits,
        (true, true) => v2::Fate::Rests,
        (false, true) => v2::Fate::Removed,
        _ if fate.before == fate.after => v2::Fate::Stays,
        _ if fate.before.is_subset(&fate.after) => v2::Fate::Placed,
        _ if fate.after.is_subset(&fate.before) => v2::Fate::Removed,
        _ => v2::Fate::Moved,
    };
    let is_drained = |id: &MachineId| after.machines.get(id).is_some_and(|machine| machine.draining.is_some());
    let is_stuck = !is_global && fate.after.iter().any(is_drained);
    let ids = |ids: &BTreeSet<MachineId>| ids.iter().map(ToString::to_string).collect();
    v2::PlannedUnit {
        name: name.to_string(),
        fate: told,
        from: ids(&fate.before),
        to: ids(&fate.after),
        waiting: (told == v2::Fate::Waits || is_stuck).then(|| convert::waiting(after, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_in_words() {
        let set = |ids: &str| ids.split_whitespace().map(|id| id.parse().expect("an ID")).collect();
        let name: UnitName = "a.service".parse().expect("a name");
        let told = |before: &str, after: &str| {
            planned(&Cluster::default(), &name, &Fate { before: set(before), after: set(after) }).fate
        };
        assert_eq!(told("", ""), v2::Fate::Rests);
        assert_eq!(told("", "m1"), v2::Fate::Placed);
        assert_eq!(told("m1", "m1"), v2::Fate::Stays);
        assert_eq!(told("m1", "m2"), v2::Fate::Moved);
        assert_eq!(told("m1", "m1 m2"), v2::Fate::Placed);
        assert_eq!(told("m1 m2", "m2"), v2::Fate::Removed);
        assert_eq!(told("m1", ""), v2::Fate::Removed);
    }
}
