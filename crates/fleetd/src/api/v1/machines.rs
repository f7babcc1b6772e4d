//! `/machines`: a list, and the one way to change what units can ask for of a machine.

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_api::v1;
use fleet_core::model::MachineId;
use fleet_store::registry::MetadataKey;

use super::decode::{self, PatchOp};
use super::page::Page;
use super::{JSON, Refused, json};
use crate::api::machines::{MetadataChange, set_metadata};
use crate::api::{Api, convert};

/// `GET /machines`.
pub async fn list(api: &Api, query: &str) -> Result<Response, Refused> {
    let page = Page::asked(query, api.limits().page).map_err(|err| Refused::bad_request(err.to_string()))?;
    api.ready().await?;
    let view = api.view.read();
    let machine = |id: &MachineId| v1::Machine {
        id: id.to_string(),
        metadata: view.cluster().machines.get(id).map(|machine| machine.metadata.clone()).unwrap_or_default(),
        primary_ip: convert::address(&view, id).unwrap_or_default(),
    };
    let machines = page.cut(view.machines().keys()).map(machine).collect();
    Ok(json(&v1::MachinePage { machines, next_page_token: page.next(view.machines().len()) }))
}

/// `PATCH /machines`: a list of operations, of which one that is wrong is the end of all.
pub async fn patch(api: &Api, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let body = api.limits().bodies.read(&parts.headers, body).await?;
    let ops = decode::patch(&body).map_err(|err| Refused::bad_request(err.to_string()))?;
    let changes = ops.iter().map(change).collect::<Result<Vec<_>, _>>().map_err(Refused::bad_request)?;
    api.ready().await?;
    if !changes.is_empty() {
        set_metadata(api, &changes).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::CONTENT_TYPE, JSON)]).into_response())
}

/// Checks one operation, in the original's order.
fn change(PatchOp { op, path, value }: &PatchOp) -> Result<MetadataChange, &'static str> {
    let is_removal = match op.as_str() {
        "add" | "replace" => false,
        "remove" => true,
        _ => return Err("invalid op: expect add, remove, or replace"),
    };
    let (machine, key) = target(path).ok_or("machine metadata path invalid")?;
    if !is_removal && value.is_empty() {
        return Err("invalid value: add and replace require a value");
    }
    Ok((machine, key, (!is_removal).then(|| value.clone())))
}

/// `/ID/metadata/KEY`. The machine need not be present, but what cannot be a machine's ID is none.
fn target(path: &str) -> Option<(MachineId, MetadataKey)> {
    match path.strip_prefix('/')?.split('/').collect::<Vec<_>>()[..] {
        [machine, "metadata", key] => Some((machine.parse().ok()?, key.parse().ok()?)),
        _ => None,
    }
}
