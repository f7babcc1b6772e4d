//! What comes: each journal from where it was left, also when a connection breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use fleet_api::{ClientError, v2};
use futures_util::StreamExt as _;
use futures_util::stream::{self, SelectAll, Stream};
use tokio::time::Instant;

use super::feed::Entries;
use super::past::Left;
use super::{ALWAYS, Place, Reader};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::journal::{Entry, HOLD_MS, Look, Merge};
use crate::render;

/// How long to wait before a journal that broke off is opened again: at first, and at most, for it doubles each time.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is heard of one journal.
enum News {
    Entry(Entry),
    /// It broke off, or still cannot be read, for this reason.
    Lost(String),
    /// It is read again.
    Back,
    /// It cannot be read, and trying again is of no use. The last that is heard.
    Ended(CommandError),
}

/// One journal.
struct Feed<'a, 'b> {
    reader: &'a Reader<'a, 'b>,
    place: &'a Place,
    left: Left,
    entries: Option<Entries<'a, 'b>>,
    pause: Option<Duration>,
    /// Why it is lost, as was said last.
    lost: Option<String>,
}

impl<'b> Reader<'_, 'b> {
    /// Prints what comes, until nobody reads any more or no journal is left.
    pub async fn follow(&self, look: Look, journals: Vec<(usize, Left)>) -> Result<Exit, CommandError> {
        let mut news = SelectAll::new();
        // One journal is in order by itself.
        let hold_ms = if journals.len() == 1 { 0 } else { HOLD_MS };
        for (source, left) in journals {
            let feed = Feed { reader: self, place: &self.places[source], left, entries: None, pause: None, lost: None };
            news.push(feed.news().map(move |news| (source, news)).boxed());
        }
        let begun = Instant::now();
        let now_ms = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut merge = Merge::new(hold_ms);
        let mut silent: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let mut exit = Exit::Ok;
        let mut reader_gone = pin!(self.session.console.reader_gone());
        loop {
            let due = merge.next_ms().map(|ms| begun + Duration::from_millis(ms));
            tokio::select! {
                heard = news.next() => match heard {
                    Some((source, News::Entry(entry))) => merge.take(now_ms(), source, entry),
                    Some((source, News::Lost(reason))) => {
                        let machine = self.places[source].machine();
                        // One word for a machine, however many of its units are followed.
                        if silent.entry(machine.clone()).or_default().is_empty() {
                            self.session.console.talk(&format!("lost the journal of {machine}: {reason}; trying again"));
                        }
                        silent.entry(machine).or_default().insert(source);
                    }
                    Some((source, News::Back)) => {
                        let machine = self.places[source].machine();
                        let left = silent.get_mut(&machine);
                        if left.is_some_and(|left| left.remove(&source) && left.is_empty()) {
                            self.session.console.talk(&format!("the journal of {machine} goes on"));
                        }
                    }
                    Some((_, News::Ended(err))) => exit = exit.and(self.session.report(&err)),
                    None => break,
                },
                () = until(due) => (),
                () = &mut reader_gone => return Ok(exit),
            }
            for (source, entry) in merge.due(now_ms()) {
                self.print(look, source, &entry)?;
            }
        }
        for (source, entry) in merge.rest() {
            self.print(look, source, &entry)?;
        }
        Ok(exit)
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl<'a, 'b: 'a> Feed<'a, 'b> {
    fn news(self) -> impl Stream<Item = News> + use<'a, 'b> {
        stream::unfold(Some(self), |feed| async move {
            let mut feed = feed?;
            let news = feed.next().await;
            let goes_on = !matches!(news, News::Ended(_));
            Some((news, goes_on.then_some(feed)))
        })
    }

    async fn next(&mut self) -> News {
        loop {
            let Some(entries) = &mut self.entries else {
                match self.open().await {
                    Some(news) => return news,
                    None => continue,
                }
            };
            let reason = match entries.next().await {
                Some(Ok(entry)) => {
                    self.left = Left::Behind(entry.cursor.clone());
                    self.pause = None;
                    return News::Entry(entry);
                }
                Some(Err(_)) => "the connection broke",
                None => "it ended",
            };
            self.entries = None;
            self.lost = Some(reason.to_owned());
            self.pause = self.pause.or(Some(PAUSE));
            return News::Lost(reason.to_owned());
        }
    }

    /// Opens it where it was left. Says what is new about that.
    async fn open(&mut self) -> Option<News> {
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
            self.pause = Some((2 * pause).min(PAUSE_MAX));
        }
        let query = self.query();
        match self.reader.open(self.place, &query).await {
            Ok(pieces) => {
                self.entries = Some(Entries::new(self.reader.session, self.place, pieces));
                self.lost.take().map(|_| News::Back)
            }
            Err(err) if is_final(&err) => Some(News::Ended(err)),
            Err(err) => {
                self.pause = self.pause.or(Some(PAUSE));
                let reason = render::error::in_one_line(&err);
                let is_news = self.lost.as_ref() != Some(&reason);
                self.lost = Some(reason.clone());
                is_news.then_some(News::Lost(reason))
            }
        }
    }

    /// What comes behind the last entry that was read.
    fn query(&self) -> v2::JournalQuery {
        let base = v2::JournalQuery { follow: true, until: None, ..self.reader.query(self.place, "json") };
        match &self.left {
            Left::Behind(cursor) => v2::JournalQuery { lines: None, since: None, after: Some(cursor.clone()), ..base },
            // All that comes; there is nothing that it could double.
            Left::Empty => {
                let since = self.reader.args.since.clone().or_else(|| Some(ALWAYS.to_owned()));
                v2::JournalQuery { lines: None, since, ..base }
            }
            Left::Unread => base,
        }
    }
}

/// Whether the daemon says that this can never be: 4xx, such as a unit that does not exist any more.
pub fn is_final(err: &CommandError) -> bool {
    matches!(err, CommandError::Api { err: ClientError::Problem(problem), .. } if (400..500).contains(&problem.status))
}
