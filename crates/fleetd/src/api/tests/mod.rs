//! API v2 over a store in memory, by two daemons where that matters. Units of the handlers themselves are tested beside them.

mod behind;
mod events;
mod lists;
mod plan;
mod problems;
mod terms;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use fleet_api::v2;
use fleet_core::model::Revision;
use fleet_store::mem::Mem;
use fleet_store::{Keys, LeaseId, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::{Api, router};
use crate::view::SharedView;

/// How long anything may take: far more than it does.
const LIMIT: Duration = Duration::from_secs(20);

const TEXT: &str = "[Service]\nExecStart=/bin/true\n";

/// A store whose answers to writes can get lost: it writes, and says that it did not answer.
#[derive(Default)]
pub struct Lossy {
    store: Mem,
    loses: AtomicBool,
}

#[async_trait]
impl Store for Lossy {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        self.store.read(keys).await
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        let outcome = self.store.commit(txn).await?;
        match self.loses.swap(false, Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("the answer was lost".to_owned())),
            false => Ok(outcome),
        }
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(keys, from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
}

/// A daemon's API whose picture follows the store.
pub async fn daemon(store: &Arc<Lossy>) -> Api {
    let view = SharedView::new();
    let store: Arc<dyn Store> = store.clone();
    tokio::spawn(view.clone().follow(Arc::clone(&store), LIMIT));
    view.reached(Revision(0)).await;
    Api::new(store, view, BTreeMap::new())
}

/// An answer.
pub struct Told {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Told {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }

    /// The problem's kind; the status of what is none.
    pub fn kind(&self) -> String {
        match serde_json::from_value::<v2::Problem>(self.body.clone()) {
            Ok(problem) => problem.kind,
            Err(_) => self.status.to_string(),
        }
    }
}

/// Asks `METHOD PATH` below the prefix, with `Name: value` headers; a body is JSON.
pub async fn ask(api: &Api, what: &str, headers: &[(&str, &str)], body: Option<Value>) -> Told {
    let (method, path) = what.split_once(' ').expect("a method and a path");
    let mut request = Request::builder().method(method).uri(format!("{}{path}", v2::PREFIX)).header("host", "x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    raw(api, request.body(body).expect("a request")).await
}

async fn raw(api: &Api, request: Request<Body>) -> Told {
    let service = TowerToHyperService::new(router(api.clone()));
    let response = tokio::time::timeout(LIMIT, service.call(request)).await.expect("in time").expect("infallible");
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 8 << 20).await.expect("a body");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Told { status: parts.status.as_u16(), headers: parts.headers, body }
}
