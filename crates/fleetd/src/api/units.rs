//! Handlers of `/units`, `/changes` and `/watch`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleet_api::v2;
use fleet_core::unit::{Glob, UnitName};
use futures_util::StreamExt as _;

use super::body::Held;
use super::convert::{self, Reasons};
use super::problem::{Refused, bad_request, unknown_unit};
use super::{Api, watch};

/// In a list, the reasons of so many waiting units are worked out: each asks every machine.
const EXPLAINED_MAX: usize = 100;

/// `GET /units?name=GLOB&name=GLOB`.
pub async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<v2::UnitList>, Refused> {
    let mut globs = Vec::new();
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if key == "name" {
            globs.push(Glob::new(&value).map_err(|err| bad_request(err.to_string()))?);
        }
    }
    let matches = |name: &UnitName| globs.is_empty() || globs.iter().any(|glob| glob.matches(name.as_str()));
    let view = api.view.read();
    let mut n_explained = 0;
    let mut units = Vec::new();
    for name in convert::names(&view).iter().filter(|name| matches(name)) {
        let reasons = if n_explained < EXPLAINED_MAX { Reasons::Explained } else { Reasons::Left };
        let unit = convert::unit(&view, name, reasons);
        n_explained += usize::from(unit.as_ref().is_some_and(|unit| unit.waiting.is_some()));
        units.extend(unit);
    }
    Ok(Json(v2::UnitList { revision: view.revision().0, units }))
}

/// `GET /units/NAME`.
pub async fn one(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<v2::Unit>, Refused> {
    let view = api.view.read();
    let unit = name.parse().ok().and_then(|name| convert::unit(&view, &name, Reasons::Explained));
    Ok(Json(unit.ok_or_else(|| unknown_unit(&name))?))
}

/// `GET /units/NAME/file`.
pub async fn file(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<v2::UnitFile>, Refused> {
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

/// `POST /changes`.
pub async fn change(State(api): State<Api>, body: Held) -> Result<Json<v2::ChangeResponse>, Refused> {
    let request = body_of(&body)?;
    Ok(Json(api.change(request).await?))
}

/// `POST /watch`.
pub async fn watch(State(api): State<Api>, body: Held) -> Result<Response, Refused> {
    let stream = watch::follow(&api.view, body_of(&body)?).await?.take_until(Box::pin(api.ended()));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(stream)).into_response())
}

/// Reads a JSON body, whatever content type it claims.
pub fn body_of<T: serde::de::DeserializeOwned>(body: &Held) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|err| bad_request(format!("cannot understand the request's body: {err}")).into())
}
