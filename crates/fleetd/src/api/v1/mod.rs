//! API v1, for clients of the original: the same paths, checks, answers and words.
//!
//! What it is like is told by `docs/api-v1.md`; where it differs from the original on purpose, by `docs/differences.md`. It changes
//! units through [`super::changes`], as v2 does. Reading order: `path` (what a request names), this file (which method may do
//! what with it), `units`, `states`, `machines`; `decode` and `page` are what requests are read with.
//!
//! Everything outside of v2 comes here, because the original answered every path.

mod decode;
mod machines;
mod page;
mod path;
mod states;
#[cfg(test)]
mod tests;
mod units;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_api::{v1, v2};
use serde::Serialize;

use super::Api;
use super::body::BodyError;
use path::{Resource, Route};

/// The description for clients that make themselves from it. `$ENDPOINT` stands in it as it does in the original's.
const DISCOVERY: &str = include_str!("discovery.json");

/// What clients of the original know as the word for a store that is away.
const STORE_AWAY: &str = "fleet server unable to communicate with etcd";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A refusal or failure.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    message: String,
    /// The methods that would have been right.
    allow: Option<&'static str>,
}

impl Refused {
    fn new(status: StatusCode, message: impl Into<String>) -> Refused {
        Refused { status, message: message.into(), allow: None }
    }

    fn bad_request(message: impl Into<String>) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, message)
    }

    fn method(allow: &'static str, message: &str) -> Refused {
        Refused { allow: Some(allow), ..Refused::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = v1::ErrorText { code: self.status.as_u16(), message: self.message };
        let mut response = (self.status, json(&v1::Error { error })).into_response();
        if let Some(allow) = self.allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<v2::Problem> for Refused {
    fn from(problem: v2::Problem) -> Refused {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match problem.kind.as_str() {
            "store-unavailable" | "not-ready" => {
                tracing::warn!(error = %problem, "a request could not be answered");
                Refused::new(status, STORE_AWAY)
            }
            // Clients of the original get no more than that it was the cluster's fault; the log has the rest.
            _ if status.is_server_error() => {
                tracing::error!(error = %problem, findings = ?problem.findings, "a request failed");
                Refused::new(status, "")
            }
            // The first finding is what the original would have said; the detail only says whose file it is.
            "bad-unit-file" => {
                let first = problem.findings.first().map(ToString::to_string);
                Refused::new(status, first.unwrap_or(problem.detail))
            }
            _ => Refused::new(status, problem.detail),
        }
    }
}

impl From<BodyError> for Refused {
    fn from(err: BodyError) -> Refused {
        let status = StatusCode::from_u16(err.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Refused::new(status, err.to_string())
    }
}

/// Answers a request, whatever it asks for.
pub async fn answer(State(api): State<Api>, request: Request) -> Response {
    handle(&api, request).await.unwrap_or_else(Refused::into_response)
}

async fn handle(api: &Api, request: Request) -> Result<Response, Refused> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let resource = match path::find(request.uri().path()) {
        Route::To(resource) => resource,
        Route::Moved(to) => return Ok(moved(request.method(), &to, &query)),
        Route::Nowhere => return Err(Refused::new(StatusCode::NOT_FOUND, "")),
    };
    let method = request.method().clone();
    match resource {
        Resource::Root => Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "")),
        Resource::Units if method == Method::GET => units::list(api, &query).await,
        Resource::Unit(name) if method == Method::GET => units::one(api, &name).await,
        Resource::Unit(name) if method == Method::PUT => units::put(api, &name, request).await,
        Resource::Unit(name) if method == Method::DELETE => units::destroy(api, &name).await,
        Resource::States if method == Method::GET => states::list(api, &query).await,
        Resource::State(name) if method == Method::GET => states::one(api, &name).await,
        Resource::Machines if method == Method::GET => machines::list(api, &query).await,
        Resource::Machines if method == Method::PATCH => machines::patch(api, request).await,
        Resource::Discovery if method == Method::GET => Ok(([(header::CONTENT_TYPE, JSON)], DISCOVERY).into_response()),
        Resource::Units | Resource::States | Resource::State(_) => {
            Err(Refused::method("GET", "only GET supported against this resource"))
        }
        Resource::Unit(_) => {
            Err(Refused::method("GET, PUT, DELETE", "only GET, PUT and DELETE supported against this resource"))
        }
        Resource::Machines => Err(Refused::method("GET, PATCH", "only GET and PATCH supported against this resource")),
        Resource::Discovery => Err(Refused::bad_request("only HTTP GET supported against this resource")),
    }
}

/// Sends a client to the one way to write a path, with the page that Go's library adds for browsers.
fn moved(method: &Method, path: &str, query: &str) -> Response {
    let to = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    // Both were part of a request's target, or are encoded: neither can be anything but a header's value.
    let location = HeaderValue::from_str(&to).unwrap_or(HeaderValue::from_static("/"));
    let mut response = (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response();
    if method == Method::GET || method == Method::HEAD {
        let escaped = to.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
        *response.body_mut() = format!("<a href=\"{escaped}\">Moved Permanently</a>.\n\n").into();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
    }
    response
}

/// A body as the original wrote it: what means something in HTML is escaped.
fn json(value: &impl Serialize) -> Response {
    // Wire types of strings, numbers and lists always have a JSON form.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    // These stand only in strings.
    for (ch, escaped) in
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
    {
        if text.contains(ch) {
            text = text.replace(ch, escaped);
        }
    }
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}
