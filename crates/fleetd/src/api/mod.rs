//! The API server: routes, limits, and the thin handlers behind them. Lists are answered from the local picture; writes go
//! to the store and are answered when the picture shows them.
//!
//! The files here are v2, but for `v1` (clients of the original), `changes` (the one way to change units) and `body`, which both
//! use.

mod backup;
mod body;
mod changes;
mod convert;
mod document;
mod events;
mod exec;
mod extract;
mod lists;
mod machines;
mod once;
mod parameters;
mod peer;
mod places;
mod plan;
mod problem;
mod request;
mod server;
mod terms;
mod tools;
mod units;
mod v1;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use fleet_api::v2;
use fleet_core::model::{MachineId, Revision};
use fleet_store::Store;
use tokio_util::sync::CancellationToken;

use crate::config::{ApiLimits, ConnectionLimits, ExecLimits};
use crate::exec::Executions;
use crate::host::Host;
use crate::listen::Listener;
use crate::metrics::{CONTENT_TYPE, METRICS};
use crate::tls::Sides;
use crate::view::SharedView;
use body::Bodies;
use problem::{Kind, Refused, causes, problem};

/// How long a request waits for the first look at the store. Usual are milliseconds after the start; systemd holds the
/// socket over a restart, so clients come before that. Less than clients wait for an answer, so that they hear why.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Where the metrics are.
const METRICS_PATH: &str = "/metrics";

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    store: Arc<dyn Store>,
    view: SharedView,
    hosts: Arc<BTreeMap<MachineId, Host>>,
    writing: Arc<tokio::sync::Mutex<()>>,
    keeping: Arc<once::Keeping>,
    planning: Arc<plan::Planning>,
    streams: Arc<events::Streams>,
    executions: Executions,
    limits: Arc<RwLock<Limits>>,
    tls: Arc<RwLock<Option<Sides>>>,
    ending: CancellationToken,
}

/// [`ApiLimits`] in force.
#[derive(Clone, Debug)]
struct Limits {
    bodies: Bodies,
    /// Entries on a page of v1.
    page: u16,
    /// Options of one unit in v1.
    options: usize,
    connections: ConnectionLimits,
    /// Of commands beside units.
    exec: ExecLimits,
}

impl Limits {
    fn of(limits: &ApiLimits) -> Limits {
        let ApiLimits { page, body_bytes, body_timeout, options, connections, exec } = *limits;
        Limits { bodies: Bodies::new(body_bytes, body_timeout), page, options, connections, exec }
    }
}

impl Api {
    /// An API over this store and picture, with the limits that are in force when nothing is configured; `hosts` are the machines
    /// whose tools can be asked from here.
    pub fn new(store: Arc<dyn Store>, view: SharedView, hosts: BTreeMap<MachineId, Host>) -> Api {
        let (writing, keeping, planning, streams, executions) = Default::default();
        let ending = CancellationToken::new();
        let limits = Arc::new(RwLock::new(Limits::of(&ApiLimits::default())));
        let tls = Arc::default();
        let hosts = Arc::new(hosts);
        Api { store, view, hosts, writing, keeping, planning, streams, executions, limits, tls, ending }
    }

    /// The same with an end: it ends when `ending` is cancelled.
    pub(crate) fn until(self, ending: CancellationToken) -> Api {
        Api { ending, ..self }
    }

    /// Puts other limits into force, for requests and connections that come from now on. How many connections there may be is
    /// settled when a socket begins to be served.
    pub(crate) fn set_limits(&self, limits: &ApiLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Limits::of(limits);
    }

    fn limits(&self) -> Limits {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets TCP sockets speak TLS with these from their next connection on, and requests to other daemons from the next on.
    pub(crate) fn set_tls(&self, sides: Option<Sides>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = sides;
    }

    fn tls(&self) -> Option<Sides> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the API ends. Answers without an end of their own end with it.
    fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ending.clone().cancelled_owned()
    }

    /// Waits for the first look at the store, until which nothing can be said.
    async fn ready(&self) -> Result<(), v2::Problem> {
        if tokio::time::timeout(FIRST_LOOK_LIMIT, self.view.reached(Revision(0))).await.is_ok() {
            return Ok(());
        }
        let problem = problem(Kind::NotReady, "fleetd has not read the store yet");
        Err(problem.with_hint("running units are not affected; try again"))
    }

    /// Carries out changes as `POST /changes` does.
    ///
    /// # Errors
    /// Nothing is known of the changes then: some may have been written.
    pub async fn change(&self, request: v2::ChangeRequest) -> Result<v2::ChangeResponse, v2::Problem> {
        let wishes: Vec<changes::Wish> = request.changes.into_iter().map(Into::into).collect();
        changes::carry_out(self, &wishes, None).await
    }

    /// Answers one request as it is answered on a socket.
    pub async fn ask(&self, request: Request) -> Response {
        let service = hyper_util::service::TowerToHyperService::new(router(self.clone()));
        match hyper::service::Service::call(&service, request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Serves one socket until the API ends, and the requests that are underway then.
pub async fn serve(api: Api, listener: Listener) {
    let ending = api.ending.clone();
    let terms = server::Terms {
        limits: || api.limits().connections,
        tls: || api.tls().map(|sides| sides.server),
        plain: plain_router(),
    };
    server::serve(router(api.clone()), listener, terms, ending).await;
}

/// What is answered to those who speak plain HTTP where TLS is spoken.
fn plain_router() -> Router {
    let refused = async || {
        let problem = problem(Kind::BadRequest, "this address speaks TLS, and the request came without")
            .with_hint("write `https://` in place of `http://`");
        Refused(problem)
    };
    Router::new().fallback(refused).layer(axum::middleware::from_fn(request::every))
}

fn router(api: Api) -> Router {
    let (routes, _) = &*document::ROUTES;
    let v2 = routes
        .clone()
        .route_layer(axum::middleware::from_fn_with_state(api.clone(), ready))
        .fallback(nothing)
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            Refused(problem(Kind::MethodNotAllowed, format!("`{}` knows no {method}", uri.path())))
        });
    Router::new()
        .nest(v2::PREFIX, v2)
        // The one path under the prefix that axum does not count to it.
        .route(&format!("{}/", v2::PREFIX), any(nothing))
        .route(METRICS_PATH, any(metrics))
        .fallback(v1::answer)
        .layer(axum::middleware::from_fn(request::every))
        .with_state(api)
}

/// What is under the prefix of v2 and is no path of it.
async fn nothing(uri: Uri) -> Refused {
    let problem = problem(Kind::NotFound, format!("there is nothing at `{}`", uri.path()));
    Refused(problem.with_hint(format!("all paths are in {}/openapi.json", v2::PREFIX)))
}

/// `/metrics`, by any method, as in the original.
async fn metrics(State(api): State<Api>) -> Response {
    match METRICS.text(&api.view.read()) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(err) => {
            let problem = v2::Problem { findings: causes(&err), ..problem(Kind::Internal, err.to_string()) };
            Refused(problem).into_response()
        }
    }
}

/// Lets a request to v2 wait for the first look at the store.
async fn ready(
    axum::extract::State(api): axum::extract::State<Api>,
    request: Request,
    next: axum::middleware::Next,
) -> Result<axum::response::Response, Refused> {
    api.ready().await?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests;
