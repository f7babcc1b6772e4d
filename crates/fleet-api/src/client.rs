//! The client: one method per operation, typed errors, streams as streams.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::de::DeserializeOwned;

use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::observe::{Exchange, Observer};
use crate::tls::{Tls, TlsFiles};
use crate::{backup, v2};

/// When the kernel asks the other end of a silent TCP connection whether it is there, and how often until the connection is dead: after
/// half a minute in all. Linux without being told: after two hours.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Lines of `POST /watch`.
pub type WatchStream = BoxStream<'static, Result<v2::WatchEvent, ClientError>>;

/// Pieces of text, as they come.
pub type TextStream = BoxStream<'static, Result<Vec<u8>, ClientError>>;

/// Pieces of a body in which something has to come now and then.
pub(crate) type Pieces = BoxStream<'static, Result<bytes::Bytes, ClientError>>;

/// The header that tells a request which comes again from a new one.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A word that no other request has: by chance, as the standard library seeds its hash maps, and by the count in this process.
fn idempotency_key() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static PROCESS: LazyLock<(u64, u64)> = LazyLock::new(|| {
        let random = || RandomState::new().hash_one(std::process::id());
        (random(), random())
    });
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (one, other) = *PROCESS;
    format!("{one:016x}{other:016x}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The header with a request's ID.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The path of a URL, with its query.
fn path_of(url: &reqwest::Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Longest line of a watch that is accepted, in bytes: a unit on ten thousand machines fits many times over.
const WATCH_LINE_MAX: usize = 64 << 20;

/// A client of one fleetd. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    endpoint: Endpoint,
    base: String,
    timeout: Option<Duration>,
    pub(crate) observer: Option<Observer>,
}

impl Client {
    /// A client for `endpoint`. `timeout` limits each call that is no stream; `None` is no limit. An `https` endpoint has to have a
    /// certificate that the system trusts; for anything else there is [`Client::builder`].
    ///
    /// # Errors
    /// [`ClientError::Setup`], [`ClientError::Tls`]. Nothing is sent yet: whether somebody is there is seen at the first call.
    pub fn new(endpoint: Endpoint, timeout: Option<Duration>) -> Result<Client, ClientError> {
        Client::builder(endpoint).timeout(timeout).build()
    }

    /// A client with more said about the way to `endpoint`.
    pub fn builder(endpoint: Endpoint) -> ClientBuilder {
        ClientBuilder { endpoint, timeout: None, tls: None, socket: None }
    }

    /// Where this client goes.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// All units whose names match one of `globs`; all units if there is none.
    ///
    /// # Errors
    /// As [`ClientError`] says; a malformed glob is a `bad-request`.
    pub async fn units(&self, globs: &[String]) -> Result<v2::UnitList, ClientError> {
        let query: Vec<(&str, &str)> = globs.iter().map(|glob| ("name", glob.as_str())).collect();
        self.call(self.http.get(self.url(&["units"])).query(&query)).await
    }

    /// One unit.
    ///
    /// # Errors
    /// A unit that does not exist is an `unknown-unit`.
    pub async fn unit(&self, name: &str) -> Result<v2::Unit, ClientError> {
        self.call(self.http.get(self.url(&["units", name]))).await
    }

    /// One unit's file.
    ///
    /// # Errors
    /// A unit that does not exist is an `unknown-unit`.
    pub async fn unit_file(&self, name: &str) -> Result<v2::UnitFile, ClientError> {
        self.call(self.http.get(self.url(&["units", name, "file"]))).await
    }

    /// Changes units. Look at each result: a refused change is no error of the call.
    ///
    /// If the connection breaks off before the answer is there, the request is sent once more; an idempotency key keeps it
    /// from taking effect twice.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn change(&self, request: &v2::ChangeRequest) -> Result<v2::ChangeResponse, ClientError> {
        let key = idempotency_key();
        match self.change_once(request, &key).await {
            Err(err) if err.broke_off() => self.change_once(request, &key).await,
            // Nothing was done: so many keys are kept that none is taken, and it is better to go on without.
            Err(ClientError::Problem(problem)) if problem.is(v2::ProblemKind::TooMany) => {
                self.call(self.http.post(self.url(&["changes"])).json(request)).await
            }
            told => told,
        }
    }

    /// Changes units under a key of the caller's own: the same request under the same key takes effect once, also through
    /// another fleetd, and is told the same, for [`v2::IDEMPOTENCY_KEPT_S`] at least. Give each request a key of its own.
    ///
    /// # Errors
    /// Another request under the same key is a `key-reused`; when too many keys are kept it is `too-many`, and nothing was done.
    pub async fn change_once(&self, request: &v2::ChangeRequest, key: &str) -> Result<v2::ChangeResponse, ClientError> {
        self.call(self.http.post(self.url(&["changes"])).header(IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// Follows units.
    ///
    /// # Errors
    /// As [`ClientError`] says, also in the stream.
    pub async fn watch(&self, request: &v2::WatchRequest) -> Result<WatchStream, ClientError> {
        let response = self.send(self.http.post(self.url(&["watch"])).json(request)).await?;
        let lines = Lines::of(self, response);
        Ok(futures_util::stream::try_unfold(lines, |mut lines| async move {
            Ok(lines.next().await?.map(|event| (event, lines)))
        })
        .boxed())
    }

    /// What `systemctl status` says of a unit, on each of its machines or on one.
    ///
    /// # Errors
    /// A unit that is on no machine is a `no-machine`.
    pub async fn status(&self, name: &str, query: &v2::StatusQuery) -> Result<Vec<v2::StatusText>, ClientError> {
        self.call(self.http.get(self.url(&["units", name, "status"])).query(query)).await
    }

    /// What systemd knows of a unit, on each of its machines or on one: `systemctl show`.
    ///
    /// # Errors
    /// A unit that is on no machine is a `no-machine`. One machine of several that cannot be asked has its problem beside it.
    pub async fn properties(
        &self,
        name: &str,
        query: &v2::PropertiesQuery,
    ) -> Result<Vec<v2::UnitProperties>, ClientError> {
        self.call(self.http.get(self.url(&["units", name, "properties"])).query(query)).await
    }

    /// Has the systemd of a unit's machines send a signal, reload the unit, or forget that it failed.
    ///
    /// # Errors
    /// A unit that is on no machine is a `no-machine`; what systemd refuses on all machines a `systemd-refused`. One machine of several
    /// on which it was not done has its problem beside it.
    pub async fn act(&self, name: &str, request: &v2::ActRequest) -> Result<Vec<v2::Acted>, ClientError> {
        self.call(self.http.post(self.url(&["units", name, "act"])).json(request)).await
    }

    /// A unit's journal. With [`v2::JournalQuery::heartbeat`] a stream that falls silent ends with [`ClientError::Silent`].
    ///
    /// # Errors
    /// A unit that is on no machine is a `no-machine`; one that is on several, without `machine`, a `bad-request`.
    pub async fn journal(&self, name: &str, query: &v2::JournalQuery) -> Result<TextStream, ClientError> {
        let response = self.send(self.http.get(self.url(&["units", name, "journal"])).query(query)).await?;
        if query.follow && query.heartbeat {
            return Ok(self.living(response).map(|piece| piece.map(|bytes| bytes.to_vec())).boxed());
        }
        Ok(self.pieces(response))
    }

    /// The machines that are present.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn machines(&self) -> Result<v2::MachineList, ClientError> {
        self.call(self.http.get(self.url(&["machines"]))).await
    }

    /// Changes a machine's dynamic metadata.
    ///
    /// # Errors
    /// A key or value that cannot be metadata is a `bad-request`.
    pub async fn patch_metadata(&self, machine: &str, patch: &v2::MetadataPatch) -> Result<v2::Changed, ClientError> {
        self.call(self.http.patch(self.url(&["machines", machine, "metadata"])).json(patch)).await
    }

    /// Nothing new is placed on the machine from now on; if it is drained, that ends.
    ///
    /// # Errors
    /// A machine that nobody knows is an `unknown-machine`.
    pub async fn cordon(&self, machine: &str) -> Result<v2::Changed, ClientError> {
        self.call(self.http.post(self.url(&["machines", machine, "cordon"]))).await
    }

    /// The machine takes new units again.
    ///
    /// # Errors
    /// A machine that nobody knows is an `unknown-machine`.
    pub async fn uncordon(&self, machine: &str) -> Result<v2::Changed, ClientError> {
        self.call(self.http.post(self.url(&["machines", machine, "uncordon"]))).await
    }

    /// Begins to empty the machine.
    ///
    /// # Errors
    /// A machine that nobody knows is an `unknown-machine`.
    pub async fn drain(&self, machine: &str, request: v2::DrainRequest) -> Result<v2::Changed, ClientError> {
        self.call(self.http.post(self.url(&["machines", machine, "drain"])).json(&request)).await
    }

    /// How far the machine is emptied.
    ///
    /// # Errors
    /// A machine that nobody knows is an `unknown-machine`.
    pub async fn drain_progress(&self, machine: &str) -> Result<v2::DrainProgress, ClientError> {
        self.call(self.http.get(self.url(&["machines", machine, "drain"]))).await
    }

    /// Says that the machine is off and does not come back.
    ///
    /// # Errors
    /// A machine that is present is a `machine-present`.
    pub async fn give_up(&self, machine: &str) -> Result<v2::Changed, ClientError> {
        self.call(self.http.post(self.url(&["machines", machine, "give-up"]))).await
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn version(&self) -> Result<v2::Version, ClientError> {
        self.call(self.http.get(self.url(&["version"]))).await
    }

    /// What the store holds, as it is at one revision: see [`backup`].
    ///
    /// # Errors
    /// As [`ClientError`] says, also in the stream.
    pub async fn backup(&self) -> Result<TextStream, ClientError> {
        let response = self.send(self.http.get(self.url(&["backup"]))).await?;
        Ok(self.pieces(response))
    }

    /// Makes the cluster what a backup holds. It takes as long as it takes, whatever the client's limit is.
    ///
    /// # Errors
    /// A backup that is none is a `bad-backup`; a cluster that is not empty is `not-empty`, unless it may be replaced.
    pub async fn restore(&self, text: Vec<u8>, query: backup::RestoreQuery) -> Result<backup::Restored, ClientError> {
        let response = self.send(self.http.post(self.url(&["restore"])).query(&query).body(text)).await?;
        let body = response.bytes().await.map_err(|err| self.unreachable(err))?;
        serde_json::from_slice(&body).map_err(|err| self.garbled(&err))
    }

    /// A body in which something comes every [`v2::HEARTBEAT_S`]; an error ends it.
    pub(crate) fn living(&self, response: reqwest::Response) -> Pieces {
        limited(response.bytes_stream().boxed(), self.endpoint.clone())
    }

    fn pieces(&self, response: reqwest::Response) -> TextStream {
        let endpoint = self.endpoint.clone();
        let pieces = response.bytes_stream().map(move |piece| match piece {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(err) => Err(ClientError::Unreachable { endpoint: endpoint.clone(), err }),
        });
        pieces.boxed()
    }

    /// The URL of a path, each segment escaped.
    pub(crate) fn url(&self, segments: &[&str]) -> reqwest::Url {
        let mut url = reqwest::Url::parse(&self.base).expect("an endpoint is a URL");
        url.path_segments_mut().expect("an http URL has a path").extend(segments);
        url
    }

    pub(crate) async fn call<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ClientError> {
        let request = match self.timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        };
        let response = self.send(request).await?;
        let body = response.bytes().await.map_err(|err| self.unreachable(err))?;
        serde_json::from_slice(&body).map_err(|err| self.garbled(&err))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let request = request.build().map_err(|err| self.unreachable(err))?;
        let response = self.exchange(request).await.map_err(|err| self.unreachable(err))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.map_err(|err| self.unreachable(err))?;
        match serde_json::from_slice::<v2::Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(self.garbled(&format!("status {status} without a reason"))),
        }
    }

    /// Sends a request, and tells whoever observes.
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, reqwest::Error> {
        let Some(Observer(tell)) = &self.observer else {
            return self.http.execute(request).await;
        };
        let (method, path) = (request.method().to_string(), path_of(request.url()));
        let begun = Instant::now();
        let answer = self.http.execute(request).await;
        let response = answer.as_ref().ok();
        let id = response.and_then(|response| response.headers().get(REQUEST_ID)?.to_str().ok());
        tell(&Exchange {
            method,
            path,
            status: response.map(|response| response.status().as_u16()),
            request: id.map(str::to_owned),
            took: begun.elapsed(),
        });
        answer
    }

    fn unreachable(&self, err: reqwest::Error) -> ClientError {
        ClientError::Unreachable { endpoint: self.endpoint.clone(), err }
    }

    fn garbled(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Garbled { endpoint: self.endpoint.clone(), reason: reason.to_string() }
    }
}

/// What a [`Client`] is made of.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    endpoint: Endpoint,
    timeout: Option<Duration>,
    tls: Option<Tls>,
    socket: Option<PathBuf>,
}

impl ClientBuilder {
    /// Limits each call that is no stream; `None` is no limit.
    #[must_use]
    pub fn timeout(self, timeout: Option<Duration>) -> ClientBuilder {
        ClientBuilder { timeout, ..self }
    }

    /// Whom an `https` endpoint has to be, and what to show to it.
    #[must_use]
    pub fn tls(self, tls: Tls) -> ClientBuilder {
        ClientBuilder { tls: Some(tls), ..self }
    }

    /// Goes through a unix socket, at whose other end the endpoint is: the begin of a tunnel.
    #[must_use]
    pub fn through(self, socket: PathBuf) -> ClientBuilder {
        ClientBuilder { socket: Some(socket), ..self }
    }

    /// The client.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn build(self) -> Result<Client, ClientError> {
        let timeout = self.timeout;
        let (http, base, endpoint) = self.http()?;
        Ok(Client { http, endpoint, base: base + v2::PREFIX, timeout, observer: None })
    }

    /// What requests go through, what their URLs begin with, and where they go.
    pub(crate) fn http(self) -> Result<(reqwest::Client, String, Endpoint), ClientError> {
        let ClientBuilder { endpoint, tls, socket, .. } = self;
        let tls = match tls {
            _ if !endpoint.is_tls() => Tls::none(),
            Some(tls) => tls,
            None => Tls::load(&TlsFiles::default())
                .map_err(|err| ClientError::Tls { endpoint: endpoint.clone(), err: err.into() })?,
        };
        // Never without, since reqwest would look for settings of its own.
        let mut builder = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls.config());
        let (base, own_socket) = match &endpoint {
            Endpoint::Unix(path) => ("http://fleet".to_owned(), Some(path)),
            Endpoint::Http(url) => (url.clone(), None),
        };
        // Also where nothing comes that is waited for, as in the journal of who wants no heartbeat.
        builder = builder
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
            .tcp_keepalive_retries(KEEPALIVE_RETRIES);
        if let Some(socket) = socket.as_ref().or(own_socket) {
            builder = builder.unix_socket(socket.as_path());
        }
        let http = builder.build().map_err(|err| ClientError::Setup { endpoint: endpoint.clone(), err })?;
        Ok((http, base, endpoint))
    }
}

/// Ends a body with an error when it was silent for [`v2::SILENCE_LIMIT_S`].
fn limited(bytes: BoxStream<'static, Result<bytes::Bytes, reqwest::Error>>, endpoint: Endpoint) -> Pieces {
    let limit = Duration::from_secs(v2::SILENCE_LIMIT_S);
    let begin = Some((bytes, endpoint));
    let pieces = futures_util::stream::unfold(begin, move |going_on| async move {
        let (mut bytes, endpoint) = going_on?;
        match tokio::time::timeout(limit, bytes.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some((bytes, endpoint)))),
            Ok(Some(Err(err))) => Some((Err(ClientError::Unreachable { endpoint, err }), None)),
            Ok(None) => None,
            Err(_) => Some((Err(ClientError::Silent { endpoint }), None)),
        }
    });
    pieces.boxed()
}

/// Cuts a body into lines and reads each.
pub(crate) struct Lines {
    bytes: Pieces,
    buffer: Vec<u8>,
    endpoint: Endpoint,
}

impl Lines {
    /// Those of an answer.
    pub(crate) fn of(client: &Client, response: reqwest::Response) -> Lines {
        Lines { bytes: client.living(response), buffer: Vec::new(), endpoint: client.endpoint.clone() }
    }

    /// The next line, read; `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|err| self.garbled(&err));
            }
            searched = self.buffer.len();
            if WATCH_LINE_MAX < searched {
                return Err(self.garbled(&format!("a line of more than {WATCH_LINE_MAX} bytes")));
            }
            match self.bytes.next().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(err)) => return Err(err),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(self.garbled(&"the last line is cut off")),
            }
        }
    }

    fn garbled(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Garbled { endpoint: self.endpoint.clone(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_falls_silent_ends_with_an_error() {
        let endpoint = Endpoint::Unix("/run/fleet.sock".into());
        let pauses = [0, 1, v2::SILENCE_LIMIT_S - 1, v2::SILENCE_LIMIT_S - 1, v2::SILENCE_LIMIT_S + 1, 0];
        let bytes = stream::iter(pauses).then(|pause| async move {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            Ok(bytes::Bytes::from_static(b"x"))
        });
        let heard: Vec<String> = limited(bytes.boxed(), endpoint)
            .map(|piece| piece.map_or_else(|err| err.to_string(), |piece| format!("{} byte", piece.len())))
            .collect()
            .await;
        let silent = "nothing came from fleetd at unix:///run/fleet.sock for 15 s";
        assert_eq!(heard, ["1 byte", "1 byte", "1 byte", "1 byte", silent], "and nothing after that");
    }
}
