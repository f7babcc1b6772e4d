//! Connections: how many, how long, and how they end.
//!
//! axum's own server has no limits, so this one stands in its place: an accept loop that gives each connection to hyper and
//! watches over what hyper does not tell apart, a client that is silent and one that does not get to the end of its headers.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::peer::Peer;
use crate::config::ConnectionLimits;
use crate::listen::Listener;
use crate::metrics::{Connected, METRICS};

/// How long requests that are underway may take when the daemon ends. Writes take milliseconds, and a store that is away is not
/// waited for longer than that; systemd gives a service 90 s to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How long a client may not acknowledge what was sent to it before its connection counts as broken. The kernel's own limit is about a
/// quarter of an hour, for which a command whose client was cut off in silence would go on; nobody notices less than this, for
/// what is silent is sent a heartbeat. A client that takes nothing for a while acknowledges all the same.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(30);

/// A socket that was full counts as eased when one of so many places is free.
const EASED: usize = 8;

/// The first byte of all who speak TLS; RFC 8446, section 5.1, type `handshake`. No request of HTTP begins with it.
const HANDSHAKE_RECORD: u8 = 22;

/// How long, and for how many bytes, a client that is turned away at the handshake may go on. It has a round trip to hear of it.
const HANG_UP_LIMIT: Duration = Duration::from_secs(2);
const HANG_UP_BYTES: u64 = 256 << 10;

/// Smallest buffer that hyper reads into.
const BUFFER_MIN: usize = 8 << 10;

/// On what terms connections to one socket are served.
pub struct Terms<L, T> {
    /// What clients may take.
    pub limits: L,
    /// What a TCP socket speaks TLS with, if it does. Asked anew for each connection, and those that are there stay as they are.
    pub tls: T,
    /// Who answers a client that speaks plain HTTP where TLS is spoken.
    pub plain: Router,
}

/// Serves one socket until `ending` is cancelled; then takes no more connections and ends those that are there as soon as they have
/// their answers.
pub async fn serve<L, T>(router: Router, listener: Listener, terms: Terms<L, T>, ending: CancellationToken)
where
    L: Fn() -> ConnectionLimits,
    T: Fn() -> Option<Arc<ServerConfig>>,
{
    let Terms { limits, tls, plain } = terms;
    match listener {
        Listener::Unix(listener) => {
            let serve = |io: UnixStream, place: Place, limits| {
                let peer = Peer::of_unix(&io);
                connection(io, place, peer, router.clone(), limits, ending.clone())
            };
            accept("unix", listener, serve, &limits, &ending).await;
        }
        Listener::Tcp(listener) => {
            let serve = |stream: TcpStream, place: Place, limits| {
                // Small answers go out at once. A socket that refuses is as good, only slower.
                let _ = stream.set_nodelay(true);
                let limit_ms = u32::try_from(ACKNOWLEDGE_LIMIT.as_millis()).unwrap_or(u32::MAX);
                let _ = setsockopt(&stream, TcpUserTimeout, &limit_ms);
                let (router, plain, ending) = (router.clone(), plain.clone(), ending.clone());
                let peer = Peer::of_tcp(&stream);
                let tls = tls();
                async move {
                    let Some(tls) = tls else { return connection(stream, place, peer, router, limits, ending).await };
                    let secured = tokio::select! {
                        secured = secure(stream, tls, limits.header_timeout) => secured,
                        () = ending.cancelled() => return,
                    };
                    match secured {
                        Some(Secured::Tls(io)) => connection(io, place, peer, router, limits, ending).await,
                        Some(Secured::Plain(io)) => connection(io, place, peer, plain, limits, ending).await,
                        None => (),
                    }
                }
            };
            accept("tcp", listener, serve, &limits, &ending).await;
        }
    }
}

/// The place that one connection takes among those that may be there.
type Place = (OwnedSemaphorePermit, Connected);

async fn accept<A, F>(
    socket: &'static str,
    mut listener: A,
    serve: impl Fn(A::Io, Place, ConnectionLimits) -> F,
    limits: impl Fn() -> ConnectionLimits,
    ending: &CancellationToken,
) where
    A: axum::serve::Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let n_places = limits().connections;
    let places = Arc::new(Semaphore::new(n_places));
    // Dropped with this future, and so ended.
    let mut connections = JoinSet::new();
    let mut was_full = false;
    loop {
        // Said once, and again when it had eased between.
        let n_free = places.available_permits();
        if n_free == 0 && !was_full {
            tracing::warn!(
                "{n_places} connections to one socket (api_connections): others wait until one of them ends"
            );
        }
        was_full = n_free == 0 || (was_full && n_free < n_places / EASED);
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place.expect("it is never closed"), listener.accept().await.0)
        };
        tokio::select! {
            (place, io) = next => {
                let place = (place, METRICS.connection(socket));
                connections.spawn(serve(io, place, limits()));
            }
            () = ending.cancelled() => break,
        }
        // Those that have ended have told all there is to tell.
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_LIMIT, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        let n = connections.len();
        tracing::warn!("{n} connections had not got their answer {} s after the end", DRAIN_LIMIT.as_secs());
    }
}

/// What a client turned out to speak.
enum Secured {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

/// Does the server's part of a TLS handshake, for which the client has `limit`.
async fn secure(stream: TcpStream, tls: Arc<ServerConfig>, limit: Duration) -> Option<Secured> {
    let handshake = async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return None,
            Ok(_) if first[0] != HANDSHAKE_RECORD => return Some(Secured::Plain(stream)),
            Ok(_) => (),
        }
        match TlsAcceptor::from(tls).accept(stream).into_fallible().await {
            Ok(io) => Some(Secured::Tls(Box::new(io))),
            Err((err, io)) => {
                // Most often a certificate, ours or theirs; the client says so to whoever uses it.
                tracing::debug!(error = %err, "a client did not get past the TLS handshake");
                hang_up(io).await;
                None
            }
        }
    };
    tokio::time::timeout(limit, handshake).await.ok().flatten()
}

/// Ends a connection so that the client reads our last word, which says why. What it has sent meanwhile is read, since closing over
/// unread bytes resets the connection, and a reset overtakes what was said before it.
async fn hang_up(mut io: TcpStream) {
    let rest = async {
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(HANG_UP_BYTES), &mut tokio::io::sink()).await
    };
    // An error, or a client that does not end: it has had its time.
    let _ = tokio::time::timeout(HANG_UP_LIMIT, rest).await;
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has come since the last answer, and nothing more of that was taken.
    Idle,
    /// A request has begun to come.
    Headers,
    /// A request is being answered.
    Busy,
}

async fn connection<I: AsyncRead + AsyncWrite + Unpin>(
    io: I,
    _place: Place,
    peer: Peer,
    router: Router,
    limits: ConnectionLimits,
    ending: CancellationToken,
) {
    let phase = watch::Sender::new(Phase::Idle);
    let seen = phase.subscribe();
    let io = TokioIo::new(Watched { io, phase: phase.clone() });
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        phase.send_replace(Phase::Busy);
        let underway = Underway(phase.clone());
        let response = router.call(request);
        async move { Ok::<_, Infallible>(response.await?.map(|body| Answer { body, _underway: underway })) }
    });
    let mut http = http1::Builder::new();
    // Times are ours to watch: hyper knows only one for both.
    http.header_read_timeout(None)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(BUFFER_MIN));
    let mut serving = pin!(http.serve_connection(io, service));
    let overdue = tokio::select! {
        ended = serving.as_mut() => return told(ended),
        overdue = overdue(seen.clone(), limits) => overdue,
        () = ending.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving => return told(ended),
                overdue = overdue(seen, limits) => overdue,
            }
        }
    };
    tracing::trace!(?overdue, "a connection is closed because nothing more came");
}

fn told(ended: hyper::Result<()>) {
    if let Err(err) = ended {
        // Most often a client that went away.
        tracing::debug!(error = %err, "a connection broke off");
    }
}

/// Waits until a client has kept us waiting for too long.
async fn overdue(mut phase: watch::Receiver<Phase>, limits: ConnectionLimits) -> Phase {
    loop {
        let at = *phase.borrow_and_update();
        let limit = match at {
            Phase::Idle => limits.idle_timeout,
            Phase::Headers => limits.header_timeout,
            // What is waited for then has limits of its own.
            Phase::Busy => Duration::MAX,
        };
        match tokio::time::timeout(limit, phase.changed()).await {
            Ok(Ok(())) => (),
            // The connection is gone, and this future with it.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return at,
        }
    }
}

/// A request that is being answered, until its answer is handed over or dropped.
struct Underway(watch::Sender<Phase>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.send_replace(Phase::Idle);
    }
}

/// A body that knows when it has ended.
struct Answer {
    body: Body,
    _underway: Underway,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream of bytes that tells when a request begins to come, and that a client takes what is left of an answer.
struct Watched<I> {
    io: I,
    phase: watch::Sender<Phase>,
}

impl<I> Watched<I> {
    /// A large answer is handed over long before a slow client has it: its time begins anew with everything that it takes.
    fn wrote(&self, polled: &Poll<std::io::Result<usize>>) {
        if matches!(polled, Poll::Ready(Ok(n)) if 0 < *n) && *self.phase.borrow() == Phase::Idle {
            self.phase.send_replace(Phase::Idle);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if before < buf.filled().len() {
            self.phase.send_if_modified(|phase| {
                let begins = *phase == Phase::Idle;
                if begins {
                    *phase = Phase::Headers;
                }
                begins
            });
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
