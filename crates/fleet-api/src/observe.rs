//! What goes over the wire, for those who want to see it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Client;

/// One request and the begin of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The method.
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// The answer's status; `None` if there was no answer.
    pub status: Option<u16>,
    /// The request's ID, which the lines about it in `fleetd`'s log carry.
    pub request: Option<String>,
    /// How long the begin of the answer took.
    pub took: Duration,
}

/// Who is told of each exchange.
#[derive(Clone)]
pub(crate) struct Observer(pub(crate) Arc<dyn Fn(&Exchange) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl Client {
    /// The same client, which tells `tell` of each exchange as soon as its answer begins.
    #[must_use]
    pub fn observed(mut self, tell: impl Fn(&Exchange) + Send + Sync + 'static) -> Client {
        self.observer = Some(Observer(Arc::new(tell)));
        self
    }
}
