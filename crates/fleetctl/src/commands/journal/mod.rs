//! `journal`: the log lines of units, from the machines that have them.
//!
//! What there is already is read to its end and put in order (`past`). What comes is followed from where that ended (`follow`), also
//! to other machines; each journal is a `feed`, and one whose connection breaks goes on in the same way.

mod entries;
mod feed;
mod follow;
mod past;

use std::collections::BTreeSet;

use fleet_api::{TextStream, v2};
use fleet_core::unit::Glob;
use futures_util::StreamExt as _;
use jiff::tz::TimeZone;

use crate::cli::Journal;
use crate::commands::session::{Session, machine_of};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::journal::{Entry, Look, Place, Source, Whereabouts};
use crate::names::{self, Argument, Purpose};

/// How many lines without a word about it. Source: the original.
const LINES: u32 = 10;

/// A moment before everything in any journal.
const ALWAYS: &str = "@0";

/// What of the journals, and how it is printed.
struct Reader<'a, 'b> {
    session: &'a Session<'b>,
    args: &'a Journal,
    /// How many of the last lines of all together; `None` for all that there are.
    n_lines: Option<u32>,
    zone: TimeZone,
    look: Look,
}

/// The places whose journals are read: each has its number, and more may come.
struct Places {
    list: Vec<Place>,
    /// Whether lines tell of which unit they are.
    tell_unit: bool,
}

/// Carries it out. Ctrl-C ends a followed journal the usual way: nothing here catches it.
pub async fn run(session: &Session<'_>, args: &Journal) -> Result<Exit, CommandError> {
    let given: Vec<String> = args.units.iter().chain(&args.more_units).cloned().collect();
    if given.is_empty() {
        return Err(CommandError::NoUnits { command: "journal" });
    }
    let Some(look) = Look::of_mode(&args.output) else {
        return Err(CommandError::JournalMode { mode: args.output.clone() });
    };
    let (arguments, mut errors) = names::arguments(&given, Purpose::Existing);
    let known = session.lookup(&arguments).await?;
    let (selected, unknown) = names::units_of(&arguments, &known);
    errors.extend(session.with_similar(unknown).await);
    let globs = globs(&arguments);
    // A unit that a glob has found, and that is found by it again, need not be named.
    let named = selected.iter().map(|one| &one.unit.name).filter(|name| !globs.iter().any(|glob| glob.matches(name)));
    let machine = args.machine.as_deref();
    let mut whereabouts = Whereabouts::new(named.cloned().collect(), globs.clone(), machine.unwrap_or_default());
    let (mut list, mut words) = (Vec::new(), Vec::new());
    for one in &selected {
        match places_of(one.unit, machine) {
            Ok(places) => {
                words.extend(whereabouts.begin(one.unit, &places));
                list.extend(places);
            }
            // It may be there any moment.
            Err(CommandError::NotPlaced { .. }) if args.follow => words.extend(whereabouts.begin(one.unit, &[])),
            Err(err) => errors.push(err),
        }
    }
    let exit = session.report_all(&errors);
    for word in words {
        session.console.talk(&word);
    }
    let units: BTreeSet<&str> = match args.follow {
        true => selected.iter().map(|one| one.unit.name.as_str()).collect(),
        false => list.iter().map(|place| place.unit.as_str()).collect(),
    };
    let places = Places { tell_unit: 1 < units.len() || args.follow && !globs.is_empty(), list };
    let reader = Reader::new(session, args, look);
    let done = match &places.list[..] {
        _ if args.follow && !whereabouts.is_empty() => {
            let (journals, past) = reader.past(&places).await?;
            past.and(reader.follow(places, journals, whereabouts).await?)
        }
        [] => Exit::Ok,
        // Of lines since a time journalctl gives the first and not the last, if it is to give only some.
        [place] if !(reader.n_lines.is_some() && is_bounded(args)) => reader.as_it_comes(place).await?,
        _ => reader.past(&places).await?.1,
    };
    Ok(exit.and(done))
}

fn globs(arguments: &[Argument]) -> Vec<Glob> {
    let globs = arguments.iter().filter_map(|argument| match argument {
        Argument::Pattern { globs, .. } => Some(globs.clone()),
        Argument::Unit { .. } => None,
    });
    globs.flatten().collect()
}

fn is_bounded(args: &Journal) -> bool {
    args.since.is_some() || args.until.is_some()
}

fn places_of(unit: &v2::Unit, machine: Option<&str>) -> Result<Vec<Place>, CommandError> {
    let machines = unit.placements.iter().map(|placement| placement.machine.as_str());
    let place = |placement: &v2::Placement| Place::new(unit, placement);
    match machine {
        _ if unit.placements.is_empty() => {
            let (name, state) = (unit.name.clone(), unit.desired_state);
            Err(CommandError::NotPlaced { name, what: "running", state })
        }
        Some(given) => {
            let id = machine_of(given, machines)?;
            Ok(unit.placements.iter().filter(|placement| placement.machine == id).map(place).collect())
        }
        None => Ok(unit.placements.iter().map(place).collect()),
    }
}

fn doing(place: &Place) -> String {
    format!("read the journal of {} on {}", place.unit, place.shown())
}

impl Places {
    /// Where the lines of one of them come from.
    fn source(&self, number: usize) -> Source {
        Source {
            unit: self.tell_unit.then(|| self.list[number].unit.clone()),
            color: (1 < self.list.len()).then_some(number),
        }
    }

    /// The number of a place, a new one if need be.
    fn number(&mut self, place: &Place) -> usize {
        let is_it = |known: &Place| (&known.unit, &known.machine) == (&place.unit, &place.machine);
        self.list.iter().position(is_it).unwrap_or_else(|| {
            self.list.push(place.clone());
            self.list.len() - 1
        })
    }
}

impl<'a, 'b> Reader<'a, 'b> {
    fn new(session: &'a Session<'b>, args: &'a Journal, look: Look) -> Reader<'a, 'b> {
        let n_lines = match args.lines {
            Some(lines) => lines.0,
            None => (!is_bounded(args)).then_some(LINES),
        };
        Reader { session, args, n_lines, zone: TimeZone::system(), look }
    }

    /// What is asked of one place for what it has.
    fn query(&self, place: &Place, output: &str) -> v2::JournalQuery {
        let bounded = is_bounded(self.args);
        // With a time the last of these lines are found here; without one the machine knows them.
        let lines = self.n_lines.filter(|lines| !bounded && *lines <= v2::JOURNAL_LINES_MAX);
        let always = (!bounded && lines.is_none()).then(|| ALWAYS.to_owned());
        v2::JournalQuery {
            machine: Some(place.machine.clone()),
            lines,
            output: Some(output.to_owned()),
            since: self.args.since.clone().or(always),
            until: self.args.until.clone(),
            zone: self.zone.iana_name().map(str::to_owned),
            ..v2::JournalQuery::default()
        }
    }

    async fn open(&self, place: &Place, query: &v2::JournalQuery) -> Result<TextStream, CommandError> {
        self.session.open_stream(&doing(place), self.session.client.journal(&place.unit, query)).await
    }

    /// journalctl's own words.
    async fn as_it_comes(&self, place: &Place) -> Result<Exit, CommandError> {
        let mut pieces = self.open(place, &self.query(place, &self.args.output)).await?;
        while let Some(piece) = pieces.next().await {
            self.session.console.bytes(&piece.map_err(|err| self.session.api_error(&doing(place), err))?)?;
        }
        Ok(Exit::Ok)
    }

    fn print(&self, places: &Places, number: usize, entry: &Entry) -> Result<(), CommandError> {
        Ok(self.session.console.line(&entry.render(self.look, &places.source(number), &self.zone))?)
    }
}
