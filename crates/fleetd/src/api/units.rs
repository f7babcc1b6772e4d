//! Handlers of `/units`, `/changes` and `/watch`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_api::v2;
use fleet_core::unit::UnitName;
use futures_util::StreamExt as _;

use super::changes::{self, Wish};
use super::convert::{self, Reasons};
use super::extract::{Given, Segment};
use super::parameters::{IfUnit, Key, OfUnit};
use super::problem::{Kind, Refused, bad_request, problem, unknown_unit};
use super::terms::Terms;
use super::{Api, watch};

/// One unit.
#[utoipa::path(
    get,
    path = "/units/{name}",
    tag = "units",
    operation_id = "get_unit",
    params(OfUnit),
    responses(
        (
            status = 200,
            description = "The unit",
            body = v2::Unit,
            headers(("ETag" = String, description = "The unit's generation"))
        ),
        Refused
    )
)]
pub async fn one(State(api): State<Api>, Segment(name): Segment) -> Result<impl IntoResponse, Refused> {
    let view = api.view.read();
    let unit = name.parse().ok().and_then(|name| convert::unit(&view, &name, Reasons::Explained));
    let unit = unit.ok_or_else(|| unknown_unit(&name))?;
    Ok(([(header::ETAG, etag(unit.generation))], Json(unit)))
}

/// Creates a unit, or gives it another file.
#[utoipa::path(
    put,
    path = "/units/{name}",
    tag = "units",
    operation_id = "put_unit",
    params(
        OfUnit,
        IfUnit,
        (
            "If-None-Match" = Option<String>,
            Header,
            description = "`*`: only if there is no such unit (412 otherwise)",
            pattern = r"^\*$"
        ),
        Key
    ),
    request_body = v2::UnitPut,
    responses(
        (
            status = 200,
            description = "It was there",
            body = v2::UnitChanged,
            headers(("ETag" = String, description = "The unit's generation"))
        ),
        (
            status = 201,
            description = "It was created",
            body = v2::UnitChanged,
            headers(("ETag" = String, description = "The unit's generation"))
        ),
        Refused
    )
)]
pub async fn put(
    State(api): State<Api>,
    Segment(name): Segment,
    terms: Terms,
    Given { value, bytes }: Given<v2::UnitPut>,
) -> Result<Response, Refused> {
    let v2::UnitPut { text, desired_state, lenient } = value;
    let change = v2::Change { name, text: Some(text), replace: true, lenient, desired_state, ..v2::Change::default() };
    change_one(&api, &terms, &bytes, change).await
}

/// Changes what is wanted of a unit, or restarts it where it is.
#[utoipa::path(
    patch,
    path = "/units/{name}",
    tag = "units",
    operation_id = "patch_unit",
    params(OfUnit, IfUnit, Key),
    request_body = v2::UnitPatch,
    responses(
        (
            status = 200,
            description = "It is changed, or was so already",
            body = v2::UnitChanged,
            headers(("ETag" = String, description = "The unit's generation"))
        ),
        Refused
    )
)]
pub async fn patch(
    State(api): State<Api>,
    Segment(name): Segment,
    terms: Terms,
    Given { value, bytes }: Given<v2::UnitPatch>,
) -> Result<Response, Refused> {
    let v2::UnitPatch { desired_state, restart } = value;
    change_one(&api, &terms, &bytes, v2::Change { name, desired_state, restart, ..v2::Change::default() }).await
}

/// Stops a unit, takes it from its machine and forgets it.
#[utoipa::path(
    delete,
    path = "/units/{name}",
    tag = "units",
    operation_id = "delete_unit",
    params(OfUnit, IfUnit, Key),
    responses(
        (status = 200, description = "It is destroyed; machines let go of it afterwards", body = v2::UnitChanged),
        Refused
    )
)]
pub async fn delete(State(api): State<Api>, Segment(name): Segment, terms: Terms) -> Result<Response, Refused> {
    change_one(&api, &terms, &[], v2::Change { name, destroy: true, ..v2::Change::default() }).await
}

/// Carries out one change, whose refusal is that of the request.
async fn change_one(api: &Api, terms: &Terms, body: &[u8], change: v2::Change) -> Result<Response, Refused> {
    let wish = Wish { change, condition: terms.condition.clone() };
    let response = changes::carry_out(api, &[wish], terms.once(body).as_ref()).await?;
    let Some(result) = response.results.into_iter().next() else {
        return Err(problem(Kind::Internal, "one change has no result").into());
    };
    if let Some(problem) = result.problem {
        return Err(problem.into());
    }
    let status = if result.outcome == v2::Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    let tag = (result.outcome != v2::Outcome::Destroyed).then(|| [(header::ETAG, etag(result.generation))]);
    Ok((status, tag, Json(v2::UnitChanged { revision: response.revision, result })).into_response())
}

/// A generation or revision as a strong tag. It tells what is wanted of the thing, and not how it is: a unit that starts
/// keeps its tag.
pub fn etag(number: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{number}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A unit's file.
#[utoipa::path(
    get,
    path = "/units/{name}/file",
    tag = "units",
    operation_id = "get_unit_file",
    params(OfUnit),
    responses((status = 200, description = "The file", body = v2::UnitFile), Refused)
)]
pub async fn file(State(api): State<Api>, Segment(name): Segment) -> Result<Json<v2::UnitFile>, Refused> {
    let view = api.view.read();
    let stored = name.parse::<UnitName>().ok().and_then(|name| view.file_of(&name).cloned());
    let stored = stored.ok_or_else(|| unknown_unit(&name))?;
    Ok(Json(v2::UnitFile {
        hash: stored.record.hash().to_string(),
        text: stored.record.original.clone(),
        canonical: stored.record.canonical.clone(),
        name,
    }))
}

/// Changes many units: each change stands for itself, and has its own result.
#[utoipa::path(
    post,
    path = "/changes",
    tag = "units",
    operation_id = "change_units",
    params(Key),
    request_body = v2::ChangeRequest,
    responses((status = 200, description = "What became of each", body = v2::ChangeResponse), Refused)
)]
pub async fn change(
    State(api): State<Api>,
    terms: Terms,
    Given { value: request, bytes }: Given<v2::ChangeRequest>,
) -> Result<Json<v2::ChangeResponse>, Refused> {
    if terms.condition.is_some() {
        let problem = bad_request("many units have no one tag: give each change its `generation`");
        return Err(problem.about("If-Match").into());
    }
    let wishes: Vec<Wish> = request.changes.into_iter().map(Into::into).collect();
    Ok(Json(changes::carry_out(&api, &wishes, terms.once(&bytes).as_ref()).await?))
}

/// Follows units: first each as it is, then each change, one JSON object a line.
#[utoipa::path(
    post,
    path = "/watch",
    tag = "units",
    operation_id = "watch_units",
    request_body = v2::WatchRequest,
    responses(
        (status = 200, description = "Lines, without an end", body = v2::WatchEvent, content_type = "application/jsonl"),
        Refused
    )
)]
pub async fn watch(
    State(api): State<Api>,
    Given { value: request, .. }: Given<v2::WatchRequest>,
) -> Result<Response, Refused> {
    let stream = watch::follow(&api.view, request).await?.take_until(Box::pin(api.ended()));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(stream)).into_response())
}
