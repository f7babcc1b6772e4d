//! What goes with every request: an ID that its log lines, its answer and its errors carry, a count, and HTTP's own rules.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fleet_api::{v1, v2};
use tracing::Instrument as _;

use super::METRICS_PATH;
use super::problem::{Refused, bad_request};
use crate::clock;
use crate::metrics::METRICS;

/// The header that carries a request's ID, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest ID in bytes that is taken from a client; a longer one is as good as none.
const ID_LEN_MAX: usize = 64;

/// What the header `Server` says.
const SERVER: HeaderValue = HeaderValue::from_static(concat!("fleetd/", env!("CARGO_PKG_VERSION")));

tokio::task_local! {
    static CURRENT: String;
}

/// The ID of the request that is being answered; `None` where none is.
pub fn current() -> Option<String> {
    CURRENT.try_with(String::clone).ok()
}

/// Answers a request, and notes what every request and every answer needs.
pub async fn every(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = id(request.headers());
    let (api, method) = (api(request.uri().path()), method(request.method()));
    // An error's level, so that it is there for every line, whatever the verbosity.
    let span = tracing::error_span!("request", id, method, path = request.uri().path());
    let answer = CURRENT.scope(id.clone(), answer(request, next));
    let mut response = answer.instrument(span.clone()).await;
    let status = response.status().as_u16();
    METRICS.request(api, method, status, begun.elapsed());
    span.in_scope(|| tracing::debug!(status, took = ?begun.elapsed(), "answered"));
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn answer(request: Request, next: Next) -> Response {
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        // RFC 9112, 3.2; so did the server of the original, before it looked at anything else.
        const MISSING: &str = "missing required Host header";
        return match api(request.uri().path()) {
            "v2" => Refused(bad_request(MISSING).about("Host")).into_response(),
            _ => (StatusCode::BAD_REQUEST, format!("400 Bad Request: {MISSING}")).into_response(),
        };
    }
    if request.uri().path() == "*" {
        // `OPTIONS *`, which asks whether anybody is there; no other method goes with it.
        let is_there = request.method() == Method::OPTIONS;
        return if is_there { StatusCode::OK } else { StatusCode::BAD_REQUEST }.into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::SERVER, SERVER);
    response
}

/// The client's own ID, if it is one that can stand in a log as it is; else a new one, unlike those of other daemons and of this
/// one before its restart.
fn id(headers: &HeaderMap) -> String {
    static BEGIN: LazyLock<String> = LazyLock::new(|| {
        let pid = u64::from(std::process::id());
        format!("{:x}", clock::now().0.wrapping_mul(1 << 16) ^ pid)
    });
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let is_good = |id: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        !id.is_empty() && id.len() <= ID_LEN_MAX && id.bytes().all(is_plain)
    };
    match headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(is_good) {
        Some(id) => id.to_owned(),
        None => format!("{}-{}", *BEGIN, NUMBER.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Which API a path belongs to, as a label.
fn api(path: &str) -> &'static str {
    let is_under =
        |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_under(v2::PREFIX) {
        "v2"
    } else if is_under(v1::PREFIX) || is_under(v1::PREFIX_OLD) {
        "v1"
    } else if path == METRICS_PATH {
        "metrics"
    } else {
        "other"
    }
}

/// A method as a label: a client may send any word.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let given = |given: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(given));
            id(&headers)
        };
        assert_eq!(given("a-1_b.c:d"), "a-1_b.c:d");
        for odd in ["", "a b", "a\"b", "0123456789012345678901234567890123456789012345678901234567890123456789"] {
            assert_ne!(given(odd), odd);
        }
        let none = HeaderMap::new();
        assert_ne!(id(&none), id(&none));
    }

    #[test]
    fn labels() {
        for (path, expected) in [
            ("/fleet/v2/units", "v2"),
            ("/fleet/v1", "v1"),
            ("/v1-alpha/units", "v1"),
            ("/fleet/v1x", "other"),
            ("/metrics", "metrics"),
            ("/metrics/", "other"),
        ] {
            assert_eq!(api(path), expected, "{path}");
        }
        assert_eq!(method(&Method::PUT), "PUT");
        assert_eq!(method(&Method::from_bytes(b"FLOOD1").expect("a method")), "other");
    }
}
