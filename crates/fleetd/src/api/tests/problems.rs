//! Every error of v2 has one form.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::*;

/// The form of RFC 9457, complete.
#[track_caller]
fn check(told: &Told, status: u16, kind: &str) {
    assert_eq!((told.status, told.kind().as_str()), (status, kind), "{}", told.body);
    assert_eq!(told.header("content-type"), "application/problem+json");
    let problem: v2::Problem = serde_json::from_value(told.body.clone()).expect("a problem");
    assert_eq!(problem.status, status);
    assert!(!problem.summary.is_empty() && !problem.detail.is_empty(), "{}", told.body);
    assert_eq!(problem.instance.as_deref(), Some(told.header("x-request-id")));
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let api = daemon(&Arc::default()).await;
    for (what, status, kind) in [
        ("GET /nothing", 404, "not-found"),
        ("GET /units/none.service", 404, "unknown-unit"),
        ("GET /units/%ff", 400, "bad-request"),
        ("GET /units?name=%5B", 400, "bad-request"),
        ("GET /units?nam=a", 400, "bad-request"),
        ("GET /units/none.service/status?forwarded=7", 400, "bad-request"),
        ("GET /units/none.service/journal?lines=x", 400, "bad-request"),
        ("GET /units/none.service/journal?line=5", 400, "bad-request"),
        ("GET /units/none.service/status?lines=10001", 400, "bad-request"),
        ("GET /units/none.service/properties?name=Id", 400, "bad-request"),
        ("GET /units/none.service/properties?names=Id", 404, "unknown-unit"),
        ("POST /units/none.service/act", 415, "unsupported-media-type"),
        ("DELETE /units/none.service", 404, "unknown-unit"),
        ("DELETE /units/none", 400, "bad-unit-name"),
        ("POST /machines/none/cordon", 404, "unknown-machine"),
        ("GET /machines/none", 404, "unknown-machine"),
        ("DELETE /version", 405, "method-not-allowed"),
        ("POST /changes", 415, "unsupported-media-type"),
    ] {
        check(&ask(&api, what, &[], None).await, status, kind);
    }
    let method = ask(&api, "DELETE /version", &[], None).await;
    assert_eq!(method.header("allow"), "GET,HEAD");
    for (what, body, status, kind) in [
        ("POST /changes", json!({"changes": 7}), 400, "bad-request"),
        ("POST /plan", json!([]), 400, "bad-request"),
        ("PATCH /units/a.service", json!({}), 404, "unknown-unit"),
        ("PATCH /units/a.service", json!({"restart": true, "desired_state": "loaded"}), 400, "bad-request"),
        ("PUT /units/a.service", json!({"text": "[Service"}), 400, "bad-unit-file"),
        ("PUT /units/a@.service", json!({"text": TEXT, "desired_state": "launched"}), 400, "bad-request"),
    ] {
        check(&ask(&api, what, &[], Some(body)).await, status, kind);
    }
    let large = vec![b'x'; crate::config::ApiLimits::default().body_bytes + 1];
    let request = |body: Vec<u8>, content_type: &str| {
        let request = Request::builder().method("POST").uri("/fleet/v2/changes").header("host", "x");
        request.header("content-type", content_type).body(Body::from(body)).expect("a request")
    };
    check(&raw(&api, request(large, "application/json")).await, 413, "too-large");
    check(&raw(&api, request(b"{".to_vec(), "application/json")).await, 400, "bad-request");
    check(&raw(&api, request(b"{}".to_vec(), "text/plain")).await, 415, "unsupported-media-type");
    let mut without_host = request(b"{}".to_vec(), "application/json");
    without_host.headers_mut().remove("host");
    check(&raw(&api, without_host).await, 400, "bad-request");
}

#[tokio::test]
async fn a_unit_file_with_mistakes() {
    let api = daemon(&Arc::default()).await;
    let text = format!("{TEXT}[X-Fleet]\nGlobl=true\n");
    let told = ask(&api, "PUT /units/a.service", &[], Some(json!({"text": text}))).await;
    check(&told, 400, "bad-unit-file");
    assert_eq!((told.body["name"].as_str(), told.body["findings"][0]["line"].as_u64()), (Some("a.service"), Some(4)));
    assert!(told.body["hint"].as_str().is_some_and(|hint| hint.contains("Global")), "{}", told.body);
}
