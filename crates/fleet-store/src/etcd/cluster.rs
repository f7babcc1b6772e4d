//! The members of the cluster: connections, logging in, and who is asked next when one does not answer.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::failure::Failure;
use super::wire::{AUTHENTICATE, AuthenticateRequest, AuthenticateResponse};
use super::{EtcdConfig, User};
use crate::StoreError;

/// How long one endpoint may take to be connected to; never more than half of the time for a request.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long all endpoints are left alone after none of them could begin a request, before all are asked again (within the
/// time for the request). An election takes one to two seconds with etcd's defaults.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// How often one try of a request logs in. Twice is for a token that the server has forgotten.
///
/// FIXME: the third is a guess. Once, right after users were switched off and on and etcd 3.4 was restarted, a write still
/// ended with `invalid auth token`; it was not found out why, nor whether etcd or this client is at fault.
const LOGINS_MAX: u32 = 3;

/// How often an open connection is pinged, so that a partition under a watch is noticed. Not below 5 s, which etcd takes for
/// an attack by default (`--grpc-keepalive-min-time`); and only while something is open, for the same reason.
const PING_INTERVAL: Duration = Duration::from_secs(6);

/// How long an answer to a ping may take before the connection counts as broken.
const PING_WAIT_MAX: Duration = Duration::from_secs(3);

/// Largest answer that is received, in bytes.
///
/// Pages of a read shrink until they fit. What is not a read and does not fit is history of a watch that is far behind:
/// etcd sends up to 1,000 revisions at once.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How much one unread watch may have under way, and all watches of an endpoint together, in bytes. The second is much more
/// than the first, so that some watches that nobody reads do not stop the others.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Which connection to an endpoint is used. Watches have one of their own, so that many of them that nobody reads for a
/// while cannot hold up the renewal of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Calls,
    Watches,
}

/// Whether doing a call twice is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twice {
    Harmless,
    Wrong,
}

/// The cluster's members.
pub(super) struct Cluster {
    members: Vec<Member>,
    /// Who is asked first: the one that answered last.
    preferred: AtomicUsize,
    request_timeout: Duration,
    user: Option<User>,
    /// What logging in gave; `None`: not logged in (yet). Locked while logging in, so that this is done once.
    token: tokio::sync::Mutex<Option<Token>>,
}

#[derive(Clone, Debug)]
enum Token {
    Of(MetadataValue<Ascii>),
    /// A user is configured, but etcd wants none.
    NotNeeded,
}

struct Member {
    url: String,
    endpoint: Endpoint,
    calls: Mutex<Channel>,
    watches: Mutex<Channel>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<&str> = self.members.iter().map(|member| member.url.as_str()).collect();
        f.debug_struct("Cluster").field("members", &urls).finish_non_exhaustive()
    }
}

/// One connection, with what has to go with every call on it.
#[derive(Clone)]
pub(super) struct Connection {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

impl Cluster {
    /// Checks the configuration and reads the files named in it. Connects to nothing yet.
    pub async fn new(config: &EtcdConfig) -> Result<Cluster, StoreError> {
        let tls = tls(config).await?;
        let members = config.endpoints.iter().map(|url| Member::new(url, &tls, config.request_timeout));
        let members: Vec<Member> = members.collect::<Result<_, _>>()?;
        if members.is_empty() {
            let reason = "name at least one, such as `http://127.0.0.1:2379`".to_owned();
            return Err(StoreError::Setting { what: "etcd's endpoints", value: String::new(), reason });
        }
        if config.request_timeout.is_zero() {
            let reason = "must be longer than nothing".to_owned();
            return Err(StoreError::Setting { what: "the time for a request to etcd", value: "0".to_owned(), reason });
        }
        Ok(Cluster {
            // Not always the first, so that many machines with one configuration do not all ask the same member.
            preferred: AtomicUsize::new(usize::try_from(random() % members.len() as u64).unwrap_or(0)),
            members,
            request_timeout: config.request_timeout,
            user: config.user.clone(),
            token: tokio::sync::Mutex::new(None),
        })
    }

    /// One question, one answer.
    pub async fn call<Q, A>(&self, path: &'static str, question: &Q, twice: Twice) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let ask = |connection: Connection| async move { connection.call(path, question.clone()).await };
        self.try_all(Line::Calls, twice, ask).await
    }

    /// Lets `ask` try endpoint after endpoint, beginning with the one that answered last, until one answers.
    ///
    /// One try takes no longer than the time for a request. As long as that time is not over, all are tried again and again,
    /// so that an election, or a quick restart, is a pause and not an error. What may not be done twice ends with the first
    /// endpoint of which it is not known whether it has done it.
    pub async fn try_all<T, Answer>(
        &self,
        line: Line,
        twice: Twice,
        ask: impl Fn(Connection) -> Answer,
    ) -> Result<T, Failure>
    where
        Answer: Future<Output = Result<T, Failure>>,
    {
        let give_up = Instant::now() + self.request_timeout;
        let mut unknown = false;
        loop {
            let first = self.preferred.load(Ordering::Relaxed);
            let mut reasons = Vec::new();
            for offset in 0..self.members.len() {
                let idx = (first + offset) % self.members.len();
                let failure = match self.try_one(&self.members[idx], line, &ask).await {
                    Ok(answer) => {
                        self.preferred.store(idx, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(failure) => failure,
                };
                let reason = format!("{}: {}", self.members[idx].url, failure.reason());
                match failure {
                    Failure::NotDone(_) => (),
                    Failure::Unknown(_) => {
                        // The next request begins elsewhere.
                        self.preferred.store((idx + 1) % self.members.len(), Ordering::Relaxed);
                        unknown = true;
                        if twice == Twice::Wrong {
                            return Err(Failure::Unknown(reason));
                        }
                    }
                    Failure::Answer(..) => {
                        self.preferred.store(idx, Ordering::Relaxed);
                        return Err(failure);
                    }
                }
                reasons.push(reason);
            }
            if give_up <= Instant::now() + ROUND_PAUSE {
                return Err(if unknown { Failure::Unknown } else { Failure::NotDone }(reasons.join("; ")));
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn try_one<T, Answer>(
        &self,
        member: &Member,
        line: Line,
        ask: &impl Fn(Connection) -> Answer,
    ) -> Result<T, Failure>
    where
        Answer: Future<Output = Result<T, Failure>>,
    {
        let mut n_logins = 1;
        loop {
            let token = self.log_in(member).await?;
            match self.limited(member, line, ask(member.connection(line, token))).await {
                Err(failure) if failure.wants_token() && self.user.is_some() && n_logins < LOGINS_MAX => {
                    self.log_out().await;
                    n_logins += 1;
                }
                other => return other,
            }
        }
    }

    async fn limited<T>(
        &self,
        member: &Member,
        line: Line,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.request_timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                // A connection that lost its other end without a word would be asked for a quarter of an hour, which is how
                // long TCP tries. What is still under way on it goes on.
                member.connect_anew(line);
                Err(Failure::Unknown(format!("no answer within {} ms", self.request_timeout.as_millis())))
            }
        }
    }

    /// The token for the next call, from etcd if there is none yet.
    async fn log_in(&self, member: &Member) -> Result<Option<MetadataValue<Ascii>>, Failure> {
        let Some(user) = &self.user else {
            return Ok(None);
        };
        let mut token = self.token.lock().await;
        if token.is_none() {
            let question = AuthenticateRequest { name: user.name.clone(), password: user.password.clone() };
            let connection = member.connection(Line::Calls, None);
            let answer = self.limited(member, Line::Calls, connection.call(AUTHENTICATE, question)).await;
            *token = Some(match answer.map_err(Failure::before_the_call) {
                Ok(AuthenticateResponse { token }) => {
                    let value = token.parse().map_err(|_| Failure::NotDone("its token is no text".to_owned()))?;
                    Token::Of(value)
                }
                Err(failure) if failure.is_auth_off() => Token::NotNeeded,
                Err(failure) => return Err(failure),
            });
        }
        Ok(match &*token {
            Some(Token::Of(value)) => Some(value.clone()),
            Some(Token::NotNeeded) | None => None,
        })
    }

    /// Forgets the token, so that the next call logs in anew.
    pub async fn log_out(&self) {
        *self.token.lock().await = None;
    }

    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }
}

impl Member {
    fn new(url: &str, tls: &ClientTlsConfig, request_timeout: Duration) -> Result<Member, StoreError> {
        let wrong = |reason: String| StoreError::Setting { what: "etcd's endpoint", value: url.to_owned(), reason };
        let uri = parse_endpoint(url).map_err(wrong)?;
        let is_secure = uri.scheme_str() == Some("https");
        let connect_wait = CONNECT_WAIT_MAX.min(request_timeout / 2);
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(connect_wait)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_WAIT_MAX)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if is_secure {
            endpoint = endpoint.tls_config(tls.clone().timeout(connect_wait)).map_err(|err| wrong(show_chain(&err)))?;
        }
        let calls = Mutex::new(endpoint.connect_lazy());
        let watches = Mutex::new(endpoint.connect_lazy());
        Ok(Member { url: url.to_owned(), endpoint, calls, watches })
    }

    fn connection(&self, line: Line, token: Option<MetadataValue<Ascii>>) -> Connection {
        Connection { channel: self.channel(line).clone(), token }
    }

    fn connect_anew(&self, line: Line) {
        *self.channel(line) = self.endpoint.connect_lazy();
    }

    fn channel(&self, line: Line) -> MutexGuard<'_, Channel> {
        let channel = match line {
            Line::Calls => &self.calls,
            Line::Watches => &self.watches,
        };
        // Nothing panics under this lock.
        channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// One question, one answer.
    pub async fn call<Q, A>(self, path: &'static str, question: Q) -> Result<A, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let request = self.request(question);
        let mut grpc = self.ready().await?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        Ok(grpc.unary(request, PathAndQuery::from_static(path), codec).await?.into_inner())
    }

    /// One question, one answer, by a method that would take and give many.
    pub async fn exchange<Q, A>(self, path: &'static str, question: Q) -> Result<A, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut answers = self.stream(path, stream::once(std::future::ready(question))).await?;
        answers.message().await?.ok_or_else(|| Failure::Unknown("etcd ended the stream without an answer".to_owned()))
    }

    /// One question that is left open, and a stream of answers.
    pub async fn open<Q, A>(self, path: &'static str, question: Q) -> Result<Answers<A>, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (_open, dropped) = oneshot::channel::<Infallible>();
        // Goes on in silence, because etcd takes the end of the questions for the end of the answers, too.
        let silence = stream::once(dropped).filter_map(|_| std::future::ready(None));
        let questions = stream::once(std::future::ready(question)).chain(silence);
        Ok(Answers { stream: self.stream(path, questions).await?, _open })
    }

    async fn stream<Q, A>(
        self,
        path: &'static str,
        questions: impl Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let request = self.request(questions);
        let mut grpc = self.ready().await?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        Ok(grpc.streaming(request, PathAndQuery::from_static(path), codec).await?.into_inner())
    }

    fn request<Q>(&self, question: Q) -> Request<Q> {
        let mut request = Request::new(question);
        // A member that knows no leader refuses the call and ends the stream, so that another one is asked.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    async fn ready(self) -> Result<Grpc<Channel>, Failure> {
        let mut grpc = Grpc::new(self.channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        match grpc.ready().await {
            Ok(()) => Ok(grpc),
            // Nothing was sent yet.
            Err(err) => Err(Failure::NotDone(show_chain(&err))),
        }
    }
}

/// A stream of answers, which ends on the server when this is dropped.
#[derive(Debug)]
pub(super) struct Answers<A> {
    stream: Streaming<A>,
    /// Ends the stream of questions. Dropping that of answers is not enough: what is left to be asked keeps both open.
    _open: oneshot::Sender<Infallible>,
}

impl<A> Answers<A> {
    /// The next answer, `None` after the last one. Dropping the future loses nothing.
    pub async fn message(&mut self) -> Result<Option<A>, Failure> {
        Ok(self.stream.message().await?)
    }
}

/// Reads an endpoint; the error says what to write.
pub(super) fn parse_endpoint(url: &str) -> Result<http::Uri, String> {
    let uri: http::Uri = url.parse().map_err(|err: http::uri::InvalidUri| err.to_string())?;
    let address = uri.authority().map_or("", |authority| authority.as_str());
    let port_is_right = uri.port_u16().is_some() || Some(address) == uri.host();
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !address.is_empty() && port_is_right;
    match is_bare && matches!(uri.scheme_str(), Some("http" | "https")) {
        true => Ok(uri),
        false => Err("write `http://host:port` or `https://host:port`".to_owned()),
    }
}

async fn tls(config: &EtcdConfig) -> Result<ClientTlsConfig, StoreError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &config.ca_file {
        Some(path) => tls.ca_certificate(Certificate::from_pem(pem(path, "CERTIFICATE").await?)),
        None => tls.with_native_roots(),
    };
    if let Some(files) = &config.identity {
        let cert = pem(&files.cert_file, "CERTIFICATE").await?;
        let key = pem(&files.key_file, "PRIVATE KEY").await?;
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    Ok(tls)
}

async fn pem(path: &Path, what: &str) -> Result<String, StoreError> {
    let wrong = |reason: String| StoreError::File { path: path.display().to_string(), reason };
    let text = tokio::fs::read_to_string(path).await.map_err(|err| wrong(err.to_string()))?;
    // Without this, a file with no certificate in it would only show as "unknown issuer", much later.
    match text.contains(&format!("{what}-----")) {
        true => Ok(text),
        false => Err(wrong(format!("has no PEM block `{what}`"))),
    }
}

/// A pause of up to half as long again, so that all who lost a member do not come back at one moment.
pub(super) fn jitter(pause: Duration) -> Duration {
    let share = u32::try_from(random() % 512).unwrap_or(0);
    pause + pause * share / 1024
}

fn random() -> u64 {
    // The standard library's hash keys are the only randomness that it offers; nothing here needs better.
    RandomState::new().build_hasher().finish()
}

fn show_chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}
