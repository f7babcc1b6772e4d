//! `journal`: the log lines of units, from the machines that have them.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_api::{TextStream, v2};
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{StreamExt as _, stream};
use jiff::tz::TimeZone;
use tokio::time::Instant;

use crate::cli::Journal;
use crate::commands::session::{Session, machine_of};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::journal::{Entry, HOLD_MS, Look, Merge, Source};
use crate::names::{self, Purpose};

/// Longest line of a journal that is read, in bytes: journald itself cuts fields at 64 MiB, and nobody reads such a line.
const LINE_MAX: usize = 4 << 20;

/// One unit's journal on one machine.
struct Place {
    unit: String,
    machine: String,
}

/// Carries it out. Ctrl-C ends a followed journal the usual way: nothing here catches it.
pub async fn run(session: &Session<'_>, args: &Journal) -> Result<Exit, CommandError> {
    let (arguments, mut errors) = names::arguments(&args.units, Purpose::Existing);
    let known = session.lookup(&arguments).await?;
    let (selected, unknown) = names::units_of(&arguments, &known);
    errors.extend(unknown);
    let mut places = Vec::new();
    for one in &selected {
        match places_of(one.unit, args.machine.as_deref()) {
            Ok(more) => places.extend(more),
            Err(err) => errors.push(err),
        }
    }
    let exit = session.report_all(&errors);
    let done = match &places[..] {
        [] => Exit::Ok,
        [place] => one(session, args, place).await?,
        several => match Look::of_mode(&args.output) {
            Some(look) => Several::open(session, args, several, look).await?.run().await?,
            None => return Err(CommandError::JournalMode { mode: args.output.clone(), n: several.len() }),
        },
    };
    Ok(exit.and(done))
}

fn places_of(unit: &v2::Unit, machine: Option<&str>) -> Result<Vec<Place>, CommandError> {
    let machines = unit.placements.iter().map(|placement| placement.machine.as_str());
    let place = |machine: &str| Place { unit: unit.name.clone(), machine: machine.to_owned() };
    match machine {
        _ if unit.placements.is_empty() => {
            let (name, state) = (unit.name.clone(), unit.desired_state);
            Err(CommandError::NotPlaced { name, what: "running", state })
        }
        Some(given) => Ok(vec![place(&machine_of(given, machines)?)]),
        None => Ok(machines.map(place).collect()),
    }
}

async fn open(session: &Session<'_>, args: &Journal, place: &Place, output: &str) -> Result<TextStream, CommandError> {
    let query = v2::JournalQuery {
        machine: Some(place.machine.clone()),
        lines: Some(args.lines.min(v2::JOURNAL_LINES_MAX)),
        follow: args.follow,
        output: Some(output.to_owned()),
        ..v2::JournalQuery::default()
    };
    session.open_stream(&place.doing(), session.client.journal(&place.unit, &query)).await
}

impl Place {
    fn doing(&self) -> String {
        format!("read the journal of {}", self.unit)
    }
}

/// journalctl's own words, as they come.
async fn one(session: &Session<'_>, args: &Journal, place: &Place) -> Result<Exit, CommandError> {
    let mut pieces = open(session, args, place, &args.output).await?;
    let mut reader_gone = pin!(session.console.reader_gone());
    loop {
        tokio::select! {
            piece = pieces.next() => match piece {
                Some(piece) => session.console.bytes(&piece.map_err(|err| session.api_error(&place.doing(), err))?)?,
                None => return Ok(Exit::Ok),
            },
            // A unit may say nothing for hours, and only a write would show that nobody reads any more.
            () = &mut reader_gone, if args.follow => return Ok(Exit::Ok),
        }
    }
}

/// What comes from one of several journals, which one is told by its place in the list.
type Heard = (usize, Result<String, CommandError>);

/// Several journals as one.
struct Several<'a, 'b> {
    session: &'a Session<'b>,
    args: &'a Journal,
    look: Look,
    sources: Vec<Source>,
    lines: SelectAll<BoxStream<'a, Heard>>,
    merge: Merge<usize>,
    zone: TimeZone,
    begun: Instant,
    exit: Exit,
}

impl<'a, 'b> Several<'a, 'b> {
    /// Opens all; one that cannot be read is said and does not keep the others from being read.
    async fn open(
        session: &'a Session<'b>,
        args: &'a Journal,
        places: &'a [Place],
        look: Look,
    ) -> Result<Several<'a, 'b>, CommandError> {
        let one_unit = places.iter().all(|place| place.unit == places[0].unit);
        let source = |(color, place): (usize, &Place)| Source { unit: (!one_unit).then(|| place.unit.clone()), color };
        let sources = places.iter().enumerate().map(source).collect();
        let (mut lines, mut exit) = (SelectAll::new(), Exit::Ok);
        let opened = places.iter().map(|place| open(session, args, place, "json"));
        for (idx, opened) in futures_util::future::join_all(opened).await.into_iter().enumerate() {
            match opened {
                Ok(pieces) => lines.push(lines_of(session, &places[idx], pieces).map(move |line| (idx, line)).boxed()),
                Err(err) => exit = exit.and(session.report(&err)),
            }
        }
        let (zone, begun) = (TimeZone::system(), Instant::now());
        Ok(Several { session, args, look, sources, lines, merge: Merge::default(), zone, begun, exit })
    }

    async fn run(mut self) -> Result<Exit, CommandError> {
        let past = self.past().await;
        for (source, entry) in past {
            self.print(source, &entry)?;
        }
        let mut reader_gone = pin!(self.session.console.reader_gone());
        while !self.lines.is_empty() {
            let due = self.merge.next_ms().map(|ms| self.begun + Duration::from_millis(ms));
            tokio::select! {
                heard = self.lines.next() => if let Some(heard) = heard { self.take(heard) },
                () = until(due) => (),
                () = &mut reader_gone => return Ok(self.exit),
            }
            for (source, entry) in self.merge.due(self.now_ms()) {
                self.print(source, &entry)?;
            }
        }
        for (source, entry) in self.merge.rest() {
            self.print(source, &entry)?;
        }
        Ok(self.exit)
    }

    /// The last entries of all together, as many as were asked for. What is new is left in `merge`.
    async fn past(&mut self) -> VecDeque<(usize, Entry)> {
        let opened_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        // What follows has no end: what was there before comes at once.
        let limit = self.args.follow.then(|| Instant::now() + Duration::from_millis(2 * HOLD_MS));
        loop {
            let heard = tokio::select! {
                heard = self.lines.next() => heard,
                () = until(limit) => None,
            };
            match heard {
                Some(heard) => self.take(heard),
                None => break,
            }
        }
        let n_lines = usize::try_from(self.args.lines).unwrap_or(usize::MAX);
        let mut past = VecDeque::new();
        for (source, entry) in self.merge.rest() {
            if u128::from(entry.at_us) <= opened_us {
                past.push_back((source, entry));
            } else {
                self.merge.take(self.now_ms(), source, entry);
            }
        }
        past.drain(..past.len().saturating_sub(n_lines));
        past
    }

    fn take(&mut self, (source, line): Heard) {
        match line {
            Ok(line) => {
                if let Some(entry) = Entry::read(&line) {
                    self.merge.take(self.now_ms(), source, entry);
                }
            }
            Err(err) => self.exit = self.exit.and(self.session.report(&err)),
        }
    }

    fn print(&self, source: usize, entry: &Entry) -> Result<(), CommandError> {
        Ok(self.session.console.line(&entry.render(self.look, &self.sources[source], &self.zone))?)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Cuts a journal into lines. It ends after an error.
fn lines_of<'a>(
    session: &'a Session<'_>,
    place: &'a Place,
    pieces: TextStream,
) -> impl futures_util::Stream<Item = Result<String, CommandError>> + use<'a> {
    let begin = (Some(pieces), Vec::new());
    stream::unfold(begin, move |(mut pieces, mut buffer): (Option<TextStream>, Vec<u8>)| async move {
        loop {
            if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let rest = buffer.split_off(end + 1);
                let line = String::from_utf8_lossy(&buffer).trim_end().to_owned();
                return Some((Ok(line), (pieces, rest)));
            }
            if LINE_MAX < buffer.len() {
                buffer.clear();
            }
            match pieces.as_mut()?.next().await {
                Some(Ok(piece)) => buffer.extend(piece),
                Some(Err(err)) => return Some((Err(session.api_error(&place.doing(), err)), (None, Vec::new()))),
                None => return None,
            }
        }
    })
}
