//! What a healthy daemon on a healthy store does not show: stores that are away, values that nobody can read. All else is asked of
//! the real daemon (`crates/acceptance/tests/on_real_machines/api_v1`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use fleet_core::model::Revision;
use fleet_store::mem::Mem;
use fleet_store::{Keys, LeaseId, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch, Write};

use super::*;
use crate::api::problem::{Kind, problem};
use crate::view::SharedView;

/// How long anything may take: far more than it does.
const LIMIT: Duration = Duration::from_secs(20);

const CREATE: &str = r#"{"options":[{"section":"Service","name":"ExecStart","value":"/bin/true"}]}"#;

/// A store that can be away: then it tells what it told before, and takes nothing.
#[derive(Default)]
struct Fickle {
    store: Mem,
    away: AtomicBool,
}

impl Fickle {
    fn check(&self) -> Result<(), StoreError> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("it is away".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Fickle {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        self.check()?;
        self.store.read(keys).await
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        self.check()?;
        self.store.commit(txn).await
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.check()?;
        self.store.watch(keys, from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.check()?;
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.check()?;
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.check()?;
        self.store.revoke(lease).await
    }
}

/// An API whose picture follows the store.
async fn api() -> (Arc<Fickle>, Api) {
    let store = Arc::new(Fickle::default());
    let view = SharedView::new();
    let following: Arc<dyn Store> = store.clone();
    tokio::spawn(view.clone().follow(Arc::clone(&following), LIMIT));
    view.reached(Revision(0)).await;
    (store, Api::new(following, view, BTreeMap::new()))
}

/// Asks, and gives status and body.
async fn ask(api: &Api, method: &str, path: &str, body: &'static str) -> String {
    let request = Request::builder().method(method).uri(format!("{}{path}", v1::PREFIX));
    let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).expect("a request");
    let response = tokio::time::timeout(LIMIT, answer(State(api.clone()), request)).await.expect("in time");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    format!("{status} {}", String::from_utf8_lossy(&body)).trim_end().to_owned()
}

fn error(status: u16, message: &str) -> String {
    format!(r#"{status} {{"error":{{"code":{status},"message":"{message}"}}}}"#)
}

#[tokio::test]
async fn a_store_that_is_away() {
    let (store, api) = api().await;
    assert_eq!(ask(&api, "PUT", "/units/a.service", CREATE).await, "201");
    let shown = ask(&api, "GET", "/units/a.service", "").await;
    store.away.store(true, Ordering::SeqCst);
    let away = error(503, STORE_AWAY);
    for (method, path, body) in [
        ("PUT", "/units/b.service", CREATE),
        ("PUT", "/units/a.service", r#"{"desiredState":"launched"}"#),
        ("DELETE", "/units/a.service", ""),
        ("PATCH", "/machines", r#"[{"op":"add","path":"/m1/metadata/k","value":"v"}]"#),
    ] {
        assert_eq!(ask(&api, method, path, body).await, away, "{method} {path}");
    }
    // Nobody knows whether it is so still: another daemon may have changed it.
    assert_eq!(ask(&api, "PUT", "/units/b.service", "{}").await, away);
    assert_eq!(ask(&api, "PUT", "/units/a.service", r#"{"desiredState":"inactive"}"#).await, away);
    // What needs no store is answered, and what is known is shown.
    assert_eq!(
        ask(&api, "PUT", "/units/a.service", r#"{"desiredState":"up"}"#).await.split_once(' ').map(|(code, _)| code),
        Some("400")
    );
    assert_eq!(ask(&api, "GET", "/units/a.service", "").await, shown);
    store.away.store(false, Ordering::SeqCst);
    assert_eq!(ask(&api, "DELETE", "/units/a.service", "").await, "204");
}

/// A value that another fleet wrote, or a fault: all else is listed, and it can be destroyed. With the original, a unit whose state
/// nobody knew could not be removed any more.
#[tokio::test]
async fn a_unit_that_cannot_be_read() {
    let (store, api) = api().await;
    assert_eq!(ask(&api, "PUT", "/units/good.service", CREATE).await, "201");
    let list = ask(&api, "GET", "/units", "").await;
    let put = Write::Put { key: "units/bad.service".to_owned(), value: b"nonsense".to_vec(), lease: None };
    let written = store.store.commit(&Txn { guards: Vec::new(), writes: vec![put] }).await.expect("it works");
    let TxnOutcome::Committed(revision) = written else { panic!("nothing guards it") };
    api.view.reached(revision).await;
    assert_eq!(ask(&api, "GET", "/units", "").await, list);
    assert_eq!(ask(&api, "GET", "/units/bad.service", "").await, error(404, "unit does not exist"));
    assert_eq!(ask(&api, "PUT", "/units/bad.service", CREATE).await, error(500, ""), "the log says why");
    assert_eq!(ask(&api, "DELETE", "/units/bad.service", "").await, "204");
    assert_eq!(ask(&api, "PUT", "/units/bad.service", CREATE).await, "201");
}

/// What goes wrong in the cluster is told in the original's few words; the caller's own mistakes in full.
#[test]
fn problems() {
    let mut file = problem(Kind::BadUnitFile, "the file of unit a.service cannot be used");
    file.findings = vec!["first".to_owned().into(), "second".to_owned().into()];
    for (problem, status, message) in [
        (problem(Kind::StoreUnavailable, "etcd at http://h: no answer"), 503, STORE_AWAY),
        (problem(Kind::NotReady, "fleetd has not read the store yet"), 503, STORE_AWAY),
        (problem(Kind::Internal, "a secret"), 500, ""),
        (problem(Kind::TooLarge, "too large"), 413, "too large"),
        (file, 400, "first"),
    ] {
        let refused = Refused::from(problem);
        assert_eq!((refused.status.as_u16(), refused.message.as_str()), (status, message));
    }
}

#[test]
fn text_is_escaped_as_go_does() {
    let error = v1::ErrorText { code: 400, message: "<a> & \u{2028}".to_owned() };
    let body = json(&error).into_body();
    let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(body, 1_000)).expect("it is there");
    assert_eq!(body.expect("a body"), r#"{"code":400,"message":"\u003ca\u003e \u0026 \u2028"}"#);
}

/// What clients that make themselves from the description build their calls of.
#[test]
fn the_description_names_every_call() {
    let description: serde_json::Value = serde_json::from_str(DISCOVERY).expect("JSON");
    for (pointer, expected) in [
        ("/kind", "discovery#restDescription"),
        ("/id", "fleet:v1"),
        ("/name", "schema"),
        ("/version", "v1"),
        ("/protocol", "rest"),
        ("/baseUrl", "$ENDPOINT/fleet/v1/"),
        ("/rootUrl", "$ENDPOINT/"),
        ("/servicePath", "fleet/v1/"),
        ("/batchPath", "batch"),
    ] {
        assert_eq!(description.pointer(pointer).and_then(|value| value.as_str()), Some(expected), "{pointer}");
    }
    let calls = [
        ("Machines", "List", "fleet.Machine.List GET machines  -> MachinePage"),
        ("Units", "List", "fleet.Unit.List GET units  -> UnitPage"),
        ("Units", "Get", "fleet.Unit.Get GET units/{unitName}  -> Unit"),
        ("Units", "Delete", "fleet.Unit.Delete DELETE units/{unitName}  -> "),
        ("Units", "Set", "fleet.Unit.Set PUT units/{unitName} Unit -> "),
        ("UnitState", "Get", "fleet.UnitState.Get GET state/{unitName}  -> UnitState"),
        ("UnitState", "List", "fleet.UnitState.List GET state  -> UnitStatePage"),
    ];
    for (resource, method, expected) in calls {
        let method = &description["resources"][resource]["methods"][method];
        let text = |pointer: &str| method.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
        let said = [text("/id"), text("/httpMethod"), text("/path"), text("/request/$ref")].join(" ");
        assert_eq!(format!("{said} -> {}", text("/response/$ref")), expected);
    }
}
