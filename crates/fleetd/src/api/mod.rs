//! The API server: routes, limits, and the thin handlers behind them. Lists are answered from the local picture; writes go
//! to the store and are answered when the picture shows them.

mod changes;
mod convert;
mod machines;
mod problem;
mod tools;
mod units;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, patch, post};
use fleet_api::v2;
use fleet_core::model::{MachineId, Revision};
use fleet_store::Store;

use crate::host::Host;
use crate::listen::Listener;
use crate::view::SharedView;
use problem::{Refused, problem};

/// Largest request body in bytes: [`v2::CHANGES_MAX`] unit files of a few kilobytes each.
const BODY_MAX: usize = 64 << 20;

/// How long a request waits for the first look at the store. Usual are milliseconds after the start; systemd holds the
/// socket over a restart, so clients come before that. Less than clients wait for an answer, so that they hear why.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(5);

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    store: Arc<dyn Store>,
    view: SharedView,
    hosts: Arc<BTreeMap<MachineId, Host>>,
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Api {
    /// An API over this store and picture; `hosts` are the machines whose tools can be asked from here.
    pub fn new(store: Arc<dyn Store>, view: SharedView, hosts: BTreeMap<MachineId, Host>) -> Api {
        Api { store, view, hosts: Arc::new(hosts), writing: Arc::default() }
    }

    /// Carries out changes as `POST /changes` does.
    ///
    /// # Errors
    /// Nothing is known of the changes then: some may have been written.
    pub async fn change(&self, request: v2::ChangeRequest) -> Result<v2::ChangeResponse, v2::Problem> {
        changes::carry_out(self, request).await
    }
}

/// Serves one socket until its task is dropped.
pub async fn serve(api: Api, listener: Listener) {
    let router = router(api);
    let ended = match listener {
        Listener::Unix(listener) => axum::serve(listener, router).await,
        Listener::Tcp(listener) => axum::serve(listener, router).await,
    };
    if let Err(err) = ended {
        tracing::error!(error = %err, "the API ended");
    }
}

fn router(api: Api) -> Router {
    let v2 = Router::new()
        .route("/units", get(units::list))
        .route("/units/{name}", get(units::one))
        .route("/units/{name}/file", get(units::file))
        .route("/units/{name}/status", get(tools::status))
        .route("/units/{name}/journal", get(tools::journal))
        .route("/changes", post(units::change))
        .route("/watch", post(units::watch))
        .route("/machines", get(machines::list))
        .route("/machines/{id}/metadata", patch(machines::patch_metadata))
        .route("/version", get(machines::version))
        .route_layer(axum::middleware::from_fn_with_state(api.clone(), ready));
    Router::new()
        .nest(v2::PREFIX, v2)
        .fallback(async || Refused(problem("not-found", 404, "there is nothing at this path")))
        .method_not_allowed_fallback(async || Refused(problem("bad-request", 405, "this path knows no such method")))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(api)
}

/// Until the store was read for the first time nothing can be said.
async fn ready(
    axum::extract::State(api): axum::extract::State<Api>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Result<axum::response::Response, Refused> {
    if tokio::time::timeout(FIRST_LOOK_LIMIT, api.view.reached(Revision(0))).await.is_ok() {
        return Ok(next.run(request).await);
    }
    let mut problem = problem("not-ready", 503, "fleetd has not read the store yet");
    problem.hint = Some("running units are not affected; try again".to_owned());
    Err(problem.into())
}
