//! Requests to the API, answered by fleetd's own router over a store in memory.
//!
//! An input is one request or several, with a line `%%` between two. A request is its first line (`PUT /fleet/v1/units/a.service`),
//! headers, an empty line, and a body, all of which may be missing. What is not a request to HTTP itself never reaches fleet,
//! and is passed over.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use fleet_api::{v1, v2};
use serde_json::Value;

use crate::rig::{Answer, Rig, runtime};

/// So many requests of one input are asked.
const REQUESTS_MAX: usize = 8;

pub fn run(input: &[u8]) {
    // Made anew for each input, so that no input depends on another.
    runtime().block_on(async {
        let rig = Rig::start().await;
        for request in split(input, b"\n%%\n").into_iter().take(REQUESTS_MAX).filter_map(read) {
            ask(&rig, request).await;
        }
        nothing_is_wedged(&rig).await;
    });
}

fn split<'a>(text: &'a [u8], between: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(between.len()).position(|window| window == between) {
        parts.push(&rest[..at]);
        rest = &rest[at + between.len()..];
    }
    parts.push(rest);
    parts
}

fn read(text: &[u8]) -> Option<Request<Body>> {
    let head_len = text.windows(2).position(|window| window == b"\n\n").unwrap_or(text.len());
    let (head, body) = (&text[..head_len], text.get(head_len + 2..).unwrap_or_default());
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::builder().method(words.next()?).uri(words.next()?).header(header::HOST, "fleet");
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        request = request.header(parts.next()?, parts.next()?.trim_ascii());
    }
    request.body(Body::from(body.to_vec())).ok()
}

/// Asks, and checks what is true of every answer.
async fn ask(rig: &Rig, request: Request<Body>) -> (StatusCode, Vec<u8>) {
    let path = request.uri().path().to_owned();
    let asked = format!("{} {}", request.method(), request.uri());
    let is_head = request.method() == Method::HEAD;
    let Answer { status, headers, body } = rig.ask(request).await;
    assert!(headers.contains_key("x-request-id"), "{asked}: {status}");
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{asked}");
    assert_ne!(status, StatusCode::SERVICE_UNAVAILABLE, "{asked}: the store is there");
    if is_head {
        assert_eq!(body, [0; 0], "{asked}: {status}");
    } else if status.is_client_error() {
        let said: Option<Value> = serde_json::from_slice(&body).ok();
        if path == v2::PREFIX || path.starts_with(&format!("{}/", v2::PREFIX)) {
            let said: v2::Problem = serde_json::from_slice(&body).unwrap_or_else(|err| panic!("{asked}: {err}"));
            assert_eq!(said.status, status.as_u16(), "{asked}");
            assert!(!said.summary.is_empty() && !said.detail.is_empty(), "{asked}: {status} without a word");
        } else if path != "*" {
            let code = said.as_ref().map(|said| &said["error"]["code"]);
            assert_eq!(code, Some(&Value::from(status.as_u16())), "{asked}: {}", String::from_utf8_lossy(&body));
        }
    }
    (status, body)
}

/// Whatever was asked for: each unit that is there can be read and destroyed.
async fn nothing_is_wedged(rig: &Rig) {
    let request = |method: &str, path: &str| {
        let uri = format!("{}{path}", v1::PREFIX);
        let request = Request::builder().method(method).uri(uri).header(header::HOST, "fleet");
        request
            .body(Body::empty())
            .expect("unit names need no encoding in a path but one, which the list's reader does")
    };
    let (status, body) = ask(rig, request("GET", "/units")).await;
    assert_eq!(status, StatusCode::OK);
    let page: Value = serde_json::from_slice(&body).expect("a page is JSON");
    for unit in page["units"].as_array().into_iter().flatten() {
        let name = unit["name"].as_str().expect("units have names").replace('\\', "%5C");
        let path = format!("/units/{name}");
        assert_eq!(ask(rig, request("GET", &path)).await.0, StatusCode::OK, "{name}");
        assert_eq!(ask(rig, request("DELETE", &path)).await.0, StatusCode::NO_CONTENT, "{name}");
        assert_eq!(ask(rig, request("GET", &path)).await.0, StatusCode::NOT_FOUND, "{name}");
    }
}
