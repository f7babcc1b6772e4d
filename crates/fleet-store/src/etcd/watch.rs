//! A watch that outlives its connections.
//!
//! etcd's own stream of changes ends with the connection, with the member, and when that member loses its leader. This one
//! then opens another at the next revision, at the next member, for as long as somebody waits for it. It ends only when going
//! on would leave something out: history is gone ([`StoreError::Compacted`]), or the store went back to an older revision
//! or is another one ([`StoreError::Rewound`]). Who watches then reads everything anew.
//!
//! Each watch is a stream of its own, so dropping it ends it on the server too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Inner;
use super::cluster::{Answers, Connection, Line, Twice, jitter};
use super::convert::{Range, WentBack, after, before, number, revision};
use super::failure::Failure;
use super::wire::{Header, WATCH, WatchCreateRequest, WatchRequest, WatchResponse, WatchWish};
use crate::{Batch, Revision, StoreError, WATCHES_MAX, Watch};

/// First and longest pause before a lost watch is opened anew (and up to half as long again, by chance).
const RESUME_PAUSE_FIRST: Duration = Duration::from_millis(100);
const RESUME_PAUSE_MAX: Duration = Duration::from_secs(5);

/// One watch over etcd.
#[derive(Debug)]
pub(super) struct EtcdWatch {
    store: Arc<Inner>,
    range: Range,
    /// What was received and not yet asked for.
    ready: VecDeque<Batch>,
    /// The first revision that was not received.
    next: Revision,
    /// A revision that the store is known to have had: it may not show an older one.
    known: Revision,
    cluster_id: u64,
    state: State,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum State {
    Open(Box<Answers<WatchResponse>>),
    /// To be opened at this time; if that fails, again after the pause.
    Lost {
        again: Instant,
        pause: Duration,
    },
    Ended(StoreError),
}

/// A stream that etcd has confirmed.
struct Opened {
    stream: Answers<WatchResponse>,
    header: Header,
}

impl EtcdWatch {
    pub async fn open(store: Arc<Inner>, range: Range, from: Revision) -> Result<EtcdWatch, StoreError> {
        let permit = Arc::clone(&store.watches).try_acquire_owned();
        let _permit = permit.map_err(|_| StoreError::Full { what: "watches", limit: WATCHES_MAX })?;
        let Opened { stream, header } = open(&store, &range, from).await.map_err(|err| store.error(err))?;
        // `from` may lie in the future, which says nothing about the store. But no revision is given out before it is
        // there: what this process has seen and the watch begins after, must have been.
        let known = before(from).min(store.seen());
        let state = State::Open(Box::new(stream));
        let cluster_id = header.cluster_id;
        let ready = VecDeque::new();
        let mut watch = EtcdWatch { store, range, ready, next: from, known, cluster_id, state, _permit };
        watch.check(header).await?;
        Ok(watch)
    }

    /// Whether a stream that was opened now goes on where the last one ended.
    async fn check(&mut self, header: Header) -> Result<(), StoreError> {
        let (mut now, mut cluster_id) = (revision(header.revision), header.cluster_id);
        if now < self.known {
            // A member may lag behind the others. The majority may not.
            (now, cluster_id) = self.store.present().await.map_err(|err| self.store.error(err))?;
        }
        if now < self.known || cluster_id != self.cluster_id {
            return Err(StoreError::Rewound { seen: self.known, now });
        }
        self.known = now;
        Ok(())
    }

    /// Opens the stream anew at the next revision.
    async fn resume(&mut self) -> Result<(), StoreError> {
        let opened = open(&self.store, &self.range, self.next).await;
        let Opened { stream, header } = opened.map_err(|failure| self.store.error(failure))?;
        self.check(header).await?;
        self.state = State::Open(Box::new(stream));
        tracing::info!(next = self.next.0, "the watch goes on");
        Ok(())
    }

    /// Takes in one message. An error ends the watch.
    fn receive(&mut self, message: WatchResponse) -> Result<(), StoreError> {
        let header = message.header.unwrap_or_default();
        if 0 < message.compact_revision {
            return Err(StoreError::Compacted(revision(message.compact_revision)));
        }
        if message.canceled {
            self.lost(&format!("etcd cancelled it: `{}`", message.cancel_reason));
            return Ok(());
        }
        let now = revision(header.revision);
        if message.events.is_empty() {
            // News that nothing has happened up to here: a watch of keys that rarely change stays ahead of compaction.
            // (The revision in a message *with* events may be far ahead of these: more of them may be to come.)
            self.next = self.next.max(after(now));
        } else {
            let went_back = |WentBack { seen, now }| StoreError::Rewound { seen, now };
            let (batches, next) = self.store.space.batches(message.events, self.next).map_err(went_back)?;
            self.ready.extend(batches);
            self.next = next;
        }
        // `now` may be less than `known`: this member may lag behind the one that told of that.
        self.known = self.known.max(now);
        self.store.saw(now);
        Ok(())
    }

    fn lost(&mut self, reason: &str) {
        tracing::warn!(reason, next = self.next.0, "lost a watch; opening it anew");
        self.state = State::Lost { again: Instant::now(), pause: RESUME_PAUSE_FIRST };
    }
}

#[async_trait]
impl Watch for EtcdWatch {
    /// Dropping the future loses nothing: what was received is in `self`.
    async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let step = match &mut self.state {
                State::Ended(err) => return Err(err.clone()),
                State::Open(stream) => match stream.message().await {
                    Ok(Some(message)) => self.receive(message),
                    Ok(None) => {
                        self.lost("etcd ended it");
                        Ok(())
                    }
                    // Never to be had in this way, however often it is asked for.
                    Err(failure) if failure.is_answer_too_large() => Err(StoreError::Compacted(self.next)),
                    Err(failure) => {
                        self.lost(failure.reason());
                        Ok(())
                    }
                },
                State::Lost { again, pause } => {
                    tokio::time::sleep_until(*again).await;
                    // Set before trying, so that a future dropped meanwhile counts as a failed try.
                    *again = Instant::now() + jitter(*pause);
                    *pause = (*pause * 2).min(RESUME_PAUSE_MAX);
                    match self.resume().await {
                        Err(StoreError::Unavailable(reason)) => {
                            tracing::debug!(reason, "cannot open the watch yet");
                            Ok(())
                        }
                        other => other,
                    }
                }
            };
            if let Err(err) = step {
                self.state = State::Ended(err);
            }
        }
    }
}

/// Opens a stream and waits until etcd has confirmed it.
async fn open(store: &Inner, range: &Range, from: Revision) -> Result<Opened, Failure> {
    let wish = WatchCreateRequest {
        key: range.key.clone(),
        range_end: range.end.clone(),
        // 0 would mean "from now on".
        start_revision: number(from).max(1),
        progress_notify: true,
    };
    let question = WatchRequest { wish: Some(WatchWish::Create(wish)) };
    let ask = |connection: Connection| {
        let question = question.clone();
        async move {
            let mut stream: Answers<WatchResponse> = connection.open(WATCH, question).await?;
            let Some(first) = stream.message().await? else {
                return Err(Failure::NotDone("etcd ended the watch at once".to_owned()));
            };
            if first.canceled {
                return Err(Failure::Answer(tonic::Code::PermissionDenied, first.cancel_reason));
            }
            Ok(Opened { stream, header: first.header.unwrap_or_default() })
        }
    };
    let opened = store.cluster.try_all(Line::Watches, Twice::Harmless, ask).await;
    match opened {
        // An old token shows in no other way here.
        Err(Failure::Answer(..)) if store.cluster.has_user() => {
            store.cluster.log_out().await;
            store.cluster.try_all(Line::Watches, Twice::Harmless, ask).await
        }
        other => other,
    }
}
