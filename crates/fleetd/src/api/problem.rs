//! Refusals and failures as the wire has them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_api::v2;

use super::request;

/// A [`v2::Problem`] as a response.
#[derive(Debug)]
pub struct Refused(pub v2::Problem);

impl IntoResponse for Refused {
    fn into_response(mut self) -> Response {
        self.0.request = request::current().map(Into::into);
        if 500 <= self.0.status {
            tracing::warn!(status = self.0.status, details = ?self.0.details, "{}", self.0.title);
        }
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }
}

/// A problem without details.
pub fn problem(kind: &str, status: u16, title: impl Into<String>) -> v2::Problem {
    v2::Problem { kind: kind.to_owned(), status, title: title.into(), details: Vec::new(), hint: None, request: None }
}

/// The caller's mistake.
pub fn bad_request(title: impl Into<String>) -> v2::Problem {
    problem("bad-request", 400, title)
}

/// No such unit.
pub fn unknown_unit(name: &str) -> v2::Problem {
    problem("unknown-unit", 404, format!("unit {name} does not exist"))
}

/// The store did not answer: whoever asks may ask again.
pub fn unavailable(err: &fleet_store::StoreError) -> v2::Problem {
    let mut problem = problem("store-unavailable", 503, err.to_string());
    problem.hint = Some("running units are not affected; try again".to_owned());
    problem
}

impl From<v2::Problem> for Refused {
    fn from(problem: v2::Problem) -> Refused {
        Refused(problem)
    }
}
