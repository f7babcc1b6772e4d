//! `journal`: the log lines of units, from the machines that have them.
//!
//! What there is already is read to its end and put in order (`past`). What comes is followed from where that ended (`follow`); a
//! reader whose connection breaks goes on in the same way.

mod feed;
mod follow;
mod past;

use fleet_api::{TextStream, v2};
use futures_util::StreamExt as _;
use jiff::tz::TimeZone;

use crate::cli::Journal;
use crate::commands::session::{Session, machine_of};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::journal::{Entry, Look, Source};
use crate::names::{self, Purpose};
use crate::wait::legend;

/// How many lines without a word about it. Source: the original.
const LINES: u32 = 10;

/// A moment before everything in any journal.
const ALWAYS: &str = "@0";

/// One unit's journal on one machine.
struct Place {
    unit: String,
    machine: String,
    ip: Option<String>,
}

/// What of the journals, and how it is printed.
struct Reader<'a, 'b> {
    session: &'a Session<'b>,
    args: &'a Journal,
    /// How many of the last lines of all together; `None` for all that there are.
    n_lines: Option<u32>,
    zone: TimeZone,
    places: &'a [Place],
    sources: Vec<Source>,
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
    errors.extend(unknown);
    let mut places = Vec::new();
    for one in &selected {
        match places_of(one.unit, args.machine.as_deref()) {
            Ok(more) => places.extend(more),
            Err(err) => errors.push(err),
        }
    }
    let exit = session.report_all(&errors);
    let reader = Reader::new(session, args, &places);
    let done = match &places[..] {
        [] => Exit::Ok,
        // Of lines since a time journalctl gives the first and not the last, if it is to give only some.
        [place] if !(args.follow || reader.n_lines.is_some() && is_bounded(args)) => reader.as_it_comes(place).await?,
        _ => {
            let (journals, past) = reader.past(look).await?;
            if args.follow { past.and(reader.follow(look, journals).await?) } else { past }
        }
    };
    Ok(exit.and(done))
}

fn is_bounded(args: &Journal) -> bool {
    args.since.is_some() || args.until.is_some()
}

fn places_of(unit: &v2::Unit, machine: Option<&str>) -> Result<Vec<Place>, CommandError> {
    let machines = unit.placements.iter().map(|placement| placement.machine.as_str());
    let place = |placement: &v2::Placement| Place {
        unit: unit.name.clone(),
        machine: placement.machine.clone(),
        ip: placement.ip.clone(),
    };
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

impl Place {
    fn doing(&self) -> String {
        format!("read the journal of {} on {}", self.unit, self.machine())
    }

    fn machine(&self) -> String {
        legend(&self.machine, self.ip.as_deref())
    }
}

impl<'a, 'b> Reader<'a, 'b> {
    fn new(session: &'a Session<'b>, args: &'a Journal, places: &'a [Place]) -> Reader<'a, 'b> {
        let n_lines = match args.lines {
            Some(lines) => lines.0,
            None => (!is_bounded(args)).then_some(LINES),
        };
        let one_unit = places.iter().all(|place| place.unit == places[0].unit);
        let source = |(idx, place): (usize, &Place)| Source {
            unit: (!one_unit).then(|| place.unit.clone()),
            color: (1 < places.len()).then_some(idx),
        };
        let sources = places.iter().enumerate().map(source).collect();
        Reader { session, args, n_lines, zone: TimeZone::system(), places, sources }
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
        self.session.open_stream(&place.doing(), self.session.client.journal(&place.unit, query)).await
    }

    /// journalctl's own words.
    async fn as_it_comes(&self, place: &Place) -> Result<Exit, CommandError> {
        let mut pieces = self.open(place, &self.query(place, &self.args.output)).await?;
        while let Some(piece) = pieces.next().await {
            self.session.console.bytes(&piece.map_err(|err| self.session.api_error(&place.doing(), err))?)?;
        }
        Ok(Exit::Ok)
    }

    fn print(&self, look: Look, source: usize, entry: &Entry) -> Result<(), CommandError> {
        Ok(self.session.console.line(&entry.render(look, &self.sources[source], &self.zone))?)
    }
}
