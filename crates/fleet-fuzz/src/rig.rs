//! An API over a store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use fleet_api::v2;
use fleet_core::model::Revision;
use fleet_store::Store;
use fleet_store::mem::Mem;
use fleetd::Api;
use fleetd::view::SharedView;
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;

/// How long answering may take, in simulated time: longer than everything that fleetd itself gives up.
const ANSWER_LIMIT: Duration = Duration::from_secs(3_600);

/// How long an answer without an end is listened to, in simulated time.
const LISTEN: Duration = Duration::from_secs(1);

/// Bytes. More than any answer has that so few requests can bring about.
const ANSWER_MAX: usize = 64 << 20;

pub struct Rig {
    api: Api,
}

/// What was answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A runtime in whose time nothing passes but what somebody waits for when nothing else is left to do.
pub fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread needs nothing")
}

impl Rig {
    /// A fresh API, whose picture follows its store as long as the runtime is there.
    pub async fn start() -> Rig {
        let store: Arc<dyn Store> = Arc::new(Mem::default());
        let view = SharedView::new();
        tokio::spawn(view.clone().follow(Arc::clone(&store), ANSWER_LIMIT));
        view.reached(Revision(0)).await;
        Rig { api: Api::new(store, view, BTreeMap::new()) }
    }

    /// The answer to a request; of one without an end, what comes in a while.
    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.api.ask(request)).await;
        let (parts, body) = answer.expect("every request is answered").into_parts();
        let mut pieces = body.into_data_stream();
        let mut body = Vec::new();
        while let Ok(Some(piece)) = tokio::time::timeout(LISTEN, pieces.next()).await {
            body.extend_from_slice(&piece.expect("an answer does not break off"));
            assert!(body.len() <= ANSWER_MAX, "an answer of more than {ANSWER_MAX} bytes");
        }
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Changes units as a request to API v2 does, and each change succeeds.
    pub async fn change(&self, request: v2::ChangeRequest) {
        let answer = self.api.change(request).await.expect("the store is there");
        let refused = answer.results.iter().find(|result| result.outcome == v2::Outcome::Refused);
        assert!(refused.is_none(), "{refused:?}");
    }
}
