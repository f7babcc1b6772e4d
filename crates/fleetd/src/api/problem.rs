//! Refusals and failures as the wire has them.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_api::v2;
pub use fleet_api::v2::ProblemKind as Kind;
use utoipa::IntoResponses;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};

use super::request;

/// When to come back after a refusal that time heals, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A [`v2::Problem`] as a response.
#[derive(Debug)]
pub struct Refused(pub v2::Problem);

impl IntoResponse for Refused {
    fn into_response(mut self) -> Response {
        self.0.instance = request::current().map(Into::into);
        if 500 <= self.0.status {
            tracing::warn!(status = self.0.status, findings = ?self.0.findings, "{}", self.0);
        }
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// What failed this time.
pub fn problem(kind: Kind, detail: impl Into<String>) -> v2::Problem {
    v2::Problem::new(kind, detail)
}

/// The caller's mistake.
pub fn bad_request(detail: impl Into<String>) -> v2::Problem {
    problem(Kind::BadRequest, detail)
}

/// No such unit.
pub fn unknown_unit(name: &str) -> v2::Problem {
    problem(Kind::UnknownUnit, format!("unit {name} does not exist")).about(name)
}

/// The store did not answer: whoever asks may ask again.
pub fn unavailable(err: &fleet_store::StoreError) -> v2::Problem {
    problem(Kind::StoreUnavailable, err.to_string()).with_hint("running units are not affected; try again")
}

/// What a failure was caused by, as findings.
pub fn causes(err: &dyn std::error::Error) -> Vec<v2::Finding> {
    std::iter::successors(err.source(), |err| err.source()).map(|err| err.to_string().into()).collect()
}

/// What the document says of all refusals alike.
impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new().description("Why not").content("application/problem+json", content);
        BTreeMap::from([("default".to_owned(), response.build().into())])
    }
}

impl From<v2::Problem> for Refused {
    fn from(problem: v2::Problem) -> Refused {
        Refused(problem)
    }
}
