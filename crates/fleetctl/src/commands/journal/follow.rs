//! What comes: of each unit where it is, and where it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use fleet_api::v2;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::feed::{News, feed};
use super::past::Left;
use super::{Places, Reader};
use crate::commands::watching;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::journal::{Entry, HOLD_MS, Merge, Place, Step, Whereabouts};

/// For how long the journal of a machine that a unit has left is still read: what it said last is on its way. A followed line takes some
/// tenths of a second at most.
const LINGER: Duration = Duration::from_secs(2);

/// All that is followed.
struct Following<'a, 'b> {
    reader: &'a Reader<'a, 'b>,
    places: Places,
    feeds: SelectAll<BoxStream<'a, (usize, News)>>,
    /// The places that are read: each ends when its word is dropped.
    open: BTreeMap<usize, oneshot::Sender<()>>,
    /// Those of them that the unit has left, and when they are read no more.
    ending: BTreeMap<usize, Instant>,
    /// The places that are lost, by machine: one word for a machine, however many of its units are followed.
    silent: BTreeMap<String, BTreeSet<usize>>,
    merge: Merge<usize>,
    begun: Instant,
    exit: Exit,
}

impl<'a, 'b: 'a> Reader<'a, 'b> {
    /// Prints what comes, until nobody reads any more or every journal was refused.
    pub async fn follow(
        &'a self,
        places: Places,
        journals: Vec<(usize, Left)>,
        mut whereabouts: Whereabouts,
    ) -> Result<Exit, CommandError> {
        let mut following = Following {
            reader: self,
            places,
            feeds: SelectAll::new(),
            open: BTreeMap::new(),
            ending: BTreeMap::new(),
            silent: BTreeMap::new(),
            merge: Merge::new(0),
            begun: Instant::now(),
            exit: Exit::Ok,
        };
        for (number, left) in journals {
            following.read(number, left);
        }
        let request = v2::WatchRequest { units: whereabouts.watched(), revision: 0 };
        let mut pictures = pin!(watching::endless(self.session, request));
        let mut reader_gone = pin!(self.session.console.reader_gone());
        loop {
            let due = following.due();
            tokio::select! {
                Some((number, news)) = following.feeds.next(), if !following.feeds.is_empty() => {
                    if following.hear(number, news) {
                        break;
                    }
                }
                Some(event) = pictures.next() => match event {
                    Some(event) => {
                        for step in whereabouts.take(&event) {
                            following.take(step);
                        }
                    }
                    None => {
                        whereabouts.begin_again();
                        // Otherwise each journal has its own word.
                        if following.open.is_empty() {
                            self.session.console.talk(watching::LOST);
                        }
                    }
                },
                () = until(due) => following.let_go(),
                () = &mut reader_gone => return Ok(following.exit),
            }
            let entries = following.merge.due(following.now_ms());
            following.print(entries)?;
        }
        let rest = following.merge.rest();
        following.print(rest)?;
        Ok(following.exit)
    }
}

impl<'a, 'b: 'a> Following<'a, 'b> {
    /// Reads a place from where it was left.
    fn read(&mut self, number: usize, left: Left) {
        let (stop, stopped) = oneshot::channel();
        let news = feed(self.reader, self.places.list[number].clone(), left);
        self.feeds.push(news.map(move |news| (number, news)).take_until(stopped).boxed());
        self.open.insert(number, stop);
        self.set_hold();
    }

    /// One journal is in order by itself.
    fn set_hold(&mut self) {
        self.merge.hold(if self.open.len() <= 1 { 0 } else { HOLD_MS });
    }

    /// Takes in what a journal tells. Whether that was the end of the last one, which nobody will read.
    fn hear(&mut self, number: usize, news: News) -> bool {
        let console = self.reader.session.console;
        match news {
            News::Entry(entry) => self.merge.take(self.now_ms(), number, entry),
            News::Lost(reason) => {
                let machine = self.places.list[number].shown();
                let lost = self.silent.entry(machine.clone()).or_default();
                if lost.is_empty() && !self.ending.contains_key(&number) {
                    console.talk(&format!("lost the journal of {machine}: {reason}; trying again"));
                }
                lost.insert(number);
            }
            News::Back => {
                if let Some(machine) = self.found(number) {
                    console.talk(&format!("the journal of {machine} goes on"));
                }
            }
            News::Ended(err) => {
                self.exit = self.exit.and(self.reader.session.report(&err));
                self.close(number);
                return self.open.is_empty();
            }
        }
        false
    }

    /// A place is not lost any more; gives its machine if nothing of that is.
    fn found(&mut self, number: usize) -> Option<String> {
        let machine = self.places.list[number].shown();
        let lost = self.silent.get_mut(&machine)?;
        (lost.remove(&number) && lost.is_empty()).then_some(machine)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Say(word) => self.reader.session.console.talk(&word),
            Step::Begin(place) => self.begin(&place),
            Step::End(place) => {
                let number = self.places.number(&place);
                if self.open.contains_key(&number) {
                    self.ending.insert(number, Instant::now() + LINGER);
                }
            }
        }
    }

    fn begin(&mut self, place: &Place) {
        let number = self.places.number(place);
        // Back before the last of it was read: nothing of it was missed.
        if self.ending.remove(&number).is_none() && !self.open.contains_key(&number) {
            self.read(number, Left::Placed);
        }
    }

    fn close(&mut self, number: usize) {
        self.open.remove(&number);
        self.ending.remove(&number);
        self.found(number);
        self.set_hold();
    }

    /// Reads no more what was left for long enough.
    fn let_go(&mut self) {
        let now = Instant::now();
        let over: Vec<usize> = self.ending.iter().filter(|(_, at)| **at <= now).map(|(number, _)| *number).collect();
        for number in over {
            self.close(number);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When there is something to be done although nothing comes.
    fn due(&self) -> Option<Instant> {
        let entries = self.merge.next_ms().map(|ms| self.begun + Duration::from_millis(ms));
        entries.into_iter().chain(self.ending.values().copied()).min()
    }

    fn print(&self, entries: Vec<(usize, Entry)>) -> Result<(), CommandError> {
        entries.iter().try_for_each(|(number, entry)| self.reader.print(&self.places, *number, entry))
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
