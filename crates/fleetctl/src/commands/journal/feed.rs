//! One journal that is followed: from where it was left, also when its connection breaks.

use std::time::Duration;

use fleet_api::{ClientError, v2};
use futures_util::stream::{self, Stream};

use super::entries::Entries;
use super::past::Left;
use super::{ALWAYS, Reader};
use crate::error::CommandError;
use crate::journal::{Entry, Place};
use crate::render;

/// How long to wait before a journal that broke off is opened again: at first, and at most, for it doubles each time.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is heard of one journal.
pub enum News {
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
    place: Place,
    left: Left,
    entries: Option<Entries<'a, 'b>>,
    pause: Option<Duration>,
    /// Why it is lost, as was said last.
    lost: Option<String>,
}

/// What is heard of the journal of a place that was left there.
pub fn feed<'a, 'b: 'a>(
    reader: &'a Reader<'a, 'b>,
    place: Place,
    left: Left,
) -> impl Stream<Item = News> + use<'a, 'b> {
    let feed = Feed { reader, place, left, entries: None, pause: None, lost: None };
    stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        let news = feed.next().await;
        let goes_on = !matches!(news, News::Ended(_));
        Some((news, goes_on.then_some(feed)))
    })
}

impl<'a, 'b: 'a> Feed<'a, 'b> {
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
                Some(Err(CommandError::Api { err: ClientError::Silent { .. }, .. })) => {
                    format!("nothing came for {} s", v2::SILENCE_LIMIT_S)
                }
                Some(Err(_)) => "the connection broke".to_owned(),
                None => "it ended".to_owned(),
            };
            self.entries = None;
            self.lost = Some(reason.clone());
            self.pause = self.pause.or(Some(PAUSE));
            return News::Lost(reason);
        }
    }

    /// Opens it where it was left. Says what is new about that.
    async fn open(&mut self) -> Option<News> {
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
            self.pause = Some((2 * pause).min(PAUSE_MAX));
        }
        let query = self.query();
        match self.reader.open(&self.place, &query).await {
            Ok(pieces) => {
                self.entries = Some(Entries::new(self.reader.session, self.place.clone(), pieces));
                self.lost.take().map(|_| News::Back)
            }
            Err(err) if is_final(&err) => Some(News::Ended(err)),
            Err(err) => {
                self.pause = self.pause.or(Some(PAUSE));
                // The fleetd of that machine does not know it yet, or any more: one picture is ahead of the other.
                if is_elsewhere(&err) {
                    return None;
                }
                let reason = render::error::in_one_line(&err);
                let is_news = self.lost.as_ref() != Some(&reason);
                self.lost = Some(reason.clone());
                is_news.then_some(News::Lost(reason))
            }
        }
    }

    /// What comes behind the last entry that was read.
    fn query(&self) -> v2::JournalQuery {
        let base = self.reader.query(&self.place, "json");
        let base = v2::JournalQuery { follow: true, heartbeat: true, until: None, ..base };
        match &self.left {
            Left::Behind(cursor) => v2::JournalQuery { lines: None, since: None, after: Some(cursor.clone()), ..base },
            // All that comes; there is nothing that it could double.
            Left::Empty => {
                let since = self.reader.args.since.clone().or_else(|| Some(ALWAYS.to_owned()));
                v2::JournalQuery { lines: None, since, ..base }
            }
            Left::Placed => v2::JournalQuery { lines: None, since: None, since_placed: true, ..base },
            Left::Unread => base,
        }
    }
}

/// Whether the daemon says that this can never be: 4xx, such as a time that nobody understands.
pub fn is_final(err: &CommandError) -> bool {
    matches!(problem(err), Some(problem) if (400..500).contains(&problem.status)) && !is_elsewhere(err)
}

/// Whether the unit is not there, which may be otherwise soon.
fn is_elsewhere(err: &CommandError) -> bool {
    let kinds = [v2::ProblemKind::NoMachine, v2::ProblemKind::UnknownUnit];
    problem(err).is_some_and(|problem| kinds.into_iter().any(|kind| problem.is(kind)))
}

fn problem(err: &CommandError) -> Option<&v2::Problem> {
    match err {
        CommandError::Api { err: ClientError::Problem(problem), .. } => Some(problem),
        _ => None,
    }
}
