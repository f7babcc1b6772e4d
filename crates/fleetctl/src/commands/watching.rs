//! `--watch` of lists: what changes. Units come from the API's watch, machines are read anew when its events speak of one.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use fleet_api::v2::EventKind;
use fleet_api::{EventFilter, WatchStream, v2};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::{Format, TableArgs};
use crate::commands::list::UnitTable;
use crate::commands::session::Session;
use crate::commands::waiting::RECONNECT_PAUSE;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::render::layout::Table;

/// For how long changes are gathered before they are shown: what comes together is shown together, and nobody notices the delay.
const GATHER: Duration = Duration::from_millis(100);

/// What stands for the state in the last row that is printed of a unit that has none any more.
const GONE: &str = "gone";

/// Shows a list of units, and goes on with what changes. It ends with Ctrl-C, or when nobody reads any more.
pub async fn units(session: &Session<'_>, args: &TableArgs, table: &impl UnitTable) -> Result<Exit, CommandError> {
    let mut view = View { session, args, shown: None };
    let everything = v2::WatchRequest::default();
    let mut stream = Some(open(session, &everything).await?);
    let mut picture = Picture::default();
    let mut due = None;
    let mut reader_gone = pin!(session.console.reader_gone());
    loop {
        tokio::select! {
            event = next(&mut stream, session, &everything) => match event {
                Some(event) => {
                    picture.take(event);
                    due = due.or_else(|| picture.is_whole().then(|| Instant::now() + GATHER));
                }
                None => {
                    session.console.talk(LOST);
                    picture.begin_again();
                }
            },
            () = until(due) => {
                due = None;
                let units = table.select(picture.units.values().cloned().collect());
                let (keys, table) = table.table(&units);
                view.show("unit", units.iter().map(|unit| (unit.name.clone(), unit)), keys, table)?;
            }
            () = &mut reader_gone => return Ok(Exit::Ok),
        }
    }
}

/// Opens a watch of units.
pub async fn open(session: &Session<'_>, request: &v2::WatchRequest) -> Result<WatchStream, CommandError> {
    session.open_stream("follow the units", session.client.watch(request)).await
}

/// The events of a watch that has no end: `None` once each time that it breaks. Then all is told anew, as it is at the revision that was
/// seen last or a later one.
pub fn endless<'a, 'b>(
    session: &'a Session<'b>,
    request: v2::WatchRequest,
) -> impl Stream<Item = Option<v2::WatchEvent>> + use<'a, 'b> {
    let first = async move { (open(session, &request).await.ok(), request) };
    let next = move |(mut stream, mut request): (Option<WatchStream>, v2::WatchRequest)| async move {
        let event = next(&mut stream, session, &request).await;
        request.revision = request.revision.max(event.as_ref().map_or(0, |event| event.revision));
        Some((event, (stream, request)))
    };
    first.into_stream().map(move |begin| stream::unfold(begin, next)).flatten()
}

/// The next event; `None` once for a stream that broke. A broken one is opened again, however long that takes.
async fn next(
    stream: &mut Option<WatchStream>,
    session: &Session<'_>,
    request: &v2::WatchRequest,
) -> Option<v2::WatchEvent> {
    loop {
        match stream {
            Some(events) => match events.next().await {
                Some(Ok(event)) => return Some(event),
                Some(Err(_)) | None => {
                    *stream = None;
                    return None;
                }
            },
            None => {
                tokio::time::sleep(RECONNECT_PAUSE).await;
                *stream = open(session, request).await.ok();
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The units as the watch tells of them.
#[derive(Debug, Default)]
struct Picture {
    units: BTreeMap<String, v2::Unit>,
    /// While all units are told of once: those that were, for what is not among them is gone. `None` after that.
    told: Told,
}

#[derive(Debug)]
enum Told {
    Some(BTreeSet<String>),
    All,
}

impl Default for Told {
    fn default() -> Told {
        Told::Some(BTreeSet::new())
    }
}

impl Picture {
    fn take(&mut self, event: v2::WatchEvent) {
        if event.name.is_empty() {
            if let Told::Some(told) = std::mem::replace(&mut self.told, Told::All) {
                self.units.retain(|name, _| told.contains(name));
            }
            return;
        }
        if let Told::Some(told) = &mut self.told {
            told.insert(event.name.clone());
        }
        match event.unit {
            Some(unit) => self.units.insert(event.name, unit),
            None => self.units.remove(&event.name),
        };
    }

    fn is_whole(&self) -> bool {
        matches!(self.told, Told::All)
    }

    fn begin_again(&mut self) {
        self.told = Told::default();
    }
}

/// Shows the machines, and goes on with what changes. `look` chooses among them, and gives what to show with a key for each row.
pub async fn machines(
    session: &Session<'_>,
    args: &TableArgs,
    mut look: impl FnMut(v2::MachineList) -> (Vec<v2::Machine>, Table),
) -> Result<Exit, CommandError> {
    let mut view = View { session, args, shown: None };
    let filter = EventFilter { kinds: KINDS_OF_MACHINES.to_vec(), ..EventFilter::default() };
    let open = || session.open_stream("follow the machines", session.client.events(&filter));
    let fetch = || session.call("list the machines", session.client.machines());
    // Heard from here on, so nothing is missed between the list and the first event.
    let mut events = open().await?;
    let mut due = Some(Instant::now());
    let mut reader_gone = pin!(session.console.reader_gone());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(_)) => due = due.or_else(|| Some(Instant::now() + GATHER)),
                Some(Err(_)) | None => {
                    session.console.talk(LOST);
                    events = loop {
                        tokio::time::sleep(RECONNECT_PAUSE).await;
                        if let Ok(events) = open().await {
                            break events;
                        }
                    };
                    due = Some(Instant::now());
                }
            },
            () = until(due) => {
                due = None;
                // A list that cannot be read means that the events will end as well.
                if let Ok(list) = fetch().await {
                    let (machines, table) = look(list);
                    let named = machines.iter().map(|machine| (machine.id.clone(), machine));
                    let keys = machines.iter().map(|machine| machine.id.clone()).collect();
                    view.show("machine", named, keys, table)?;
                }
            }
            () = &mut reader_gone => return Ok(Exit::Ok),
        }
    }
}

/// What is said when the connection breaks.
pub const LOST: &str = "lost fleetd; trying to reach it again";

/// The events after which the list of machines may be another one. Placements are in it as a number.
const KINDS_OF_MACHINES: [EventKind; 8] = [
    EventKind::Machine,
    EventKind::Metadata,
    EventKind::Cordon,
    EventKind::Drain,
    EventKind::GivenUp,
    EventKind::Brake,
    EventKind::Placement,
    EventKind::Reset,
];

/// What has been shown, and how.
struct View<'a, 'b> {
    session: &'a Session<'b>,
    args: &'a TableArgs,
    /// `None` before the first time.
    shown: Option<Shown>,
}

/// What programs are told of by name, and rows by their keys.
#[derive(Default)]
struct Shown {
    items: BTreeMap<String, Value>,
    rows: BTreeMap<String, Vec<String>>,
}

impl View<'_, '_> {
    /// Shows things of which `what` is the word, and the table of them with a key for each row.
    fn show<'a, T: Serialize + 'a>(
        &mut self,
        what: &str,
        named: impl Iterator<Item = (String, &'a T)>,
        keys: Vec<String>,
        table: Table,
    ) -> Result<(), CommandError> {
        let first = self.shown.is_none();
        let before = self.shown.take().unwrap_or_default();
        let mut now = Shown::default();
        match self.args.output {
            Format::Text | Format::Wide => match self.session.console.screen() {
                Some(screen) => {
                    let width = if self.args.full { usize::MAX } else { screen.width };
                    let lines = table.lines(!self.args.no_legend, Some(width));
                    self.session.console.redraw(&fit(lines, screen.height))?;
                }
                None => {
                    let changed = changes(&before.rows, &keys, &table);
                    for line in changed.lines(first && !self.args.no_legend, None) {
                        self.session.console.line(&line)?;
                    }
                    now.rows = keys.into_iter().zip(table.rows).collect();
                }
            },
            Format::Name | Format::Json | Format::Yaml => {
                for (name, item) in named {
                    now.items.insert(name, serde_json::to_value(item).map_err(CommandError::Json)?);
                }
                self.tell(what, &before.items, &now.items)?;
            }
        }
        self.shown = Some(now);
        Ok(())
    }

    /// What is another than before: its name, or one object; without the thing itself if it is gone.
    fn tell(
        &self,
        what: &str,
        before: &BTreeMap<String, Value>,
        now: &BTreeMap<String, Value>,
    ) -> Result<(), CommandError> {
        let gone = before.keys().filter(|name| !now.contains_key(*name)).map(|name| (name, &Value::Null));
        let changed = now.iter().filter(|(name, item)| before.get(*name) != Some(item));
        for (name, item) in changed.chain(gone) {
            let object = serde_json::json!({ "name": name, what: item });
            match self.args.output {
                Format::Name => self.session.console.line(name)?,
                // A line for each, so that programs can read it as it comes.
                Format::Json => self.session.console.line(&object.to_string())?,
                Format::Yaml | Format::Text | Format::Wide => {
                    self.session.console.line("---")?;
                    self.session.yaml(&object)?;
                }
            }
        }
        Ok(())
    }
}

/// The rows that are others than before, and one each for those that are gone.
fn changes(before: &BTreeMap<String, Vec<String>>, keys: &[String], table: &Table) -> Table {
    let mut rows: Vec<Vec<String>> = keys
        .iter()
        .zip(&table.rows)
        .filter(|(key, row)| before.get(*key) != Some(row))
        .map(|(_, row)| row.clone())
        .collect();
    let now: BTreeSet<&String> = keys.iter().collect();
    let gone = before.iter().filter(|(key, _)| !now.contains(key)).map(|(_, row)| {
        let cell = |(column, cell): (&&str, &String)| match *column {
            "unit" | "machine" | "desc" => cell.clone(),
            "active" | "state" => GONE.to_owned(),
            _ => "-".to_owned(),
        };
        table.columns.iter().zip(row).map(cell).collect()
    });
    rows.extend(gone);
    Table { columns: table.columns.clone(), rows }
}

/// As many lines as the screen has, without its last, where the cursor stands; the last says how many are missing.
fn fit(mut lines: Vec<String>, height: usize) -> Vec<String> {
    let n_lines_max = height.saturating_sub(1).max(1);
    if n_lines_max < lines.len() {
        let n_missing = lines.len() - n_lines_max + 1;
        lines.truncate(n_lines_max - 1);
        lines.push(format!("... and {n_missing} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn event(name: &str, state: Option<v2::State>) -> v2::WatchEvent {
        v2::WatchEvent { revision: 1, name: name.to_owned(), unit: state.map(|state| fixture::unit(name, state)) }
    }

    #[test]
    fn what_is_not_told_again_is_gone() {
        let mut picture = Picture::default();
        for name in ["a.service", "b.service"] {
            picture.take(event(name, Some(v2::State::Loaded)));
            assert!(!picture.is_whole());
        }
        picture.take(event("", None));
        assert!(picture.is_whole());
        picture.take(event("c.service", Some(v2::State::Loaded)));
        picture.begin_again();
        picture.take(event("b.service", Some(v2::State::Launched)));
        assert!(!picture.is_whole());
        assert_eq!(picture.units.len(), 3, "nothing is gone before all is told");
        picture.take(event("", None));
        assert_eq!(picture.units.keys().collect::<Vec<_>>(), ["b.service"]);
        picture.take(event("b.service", None));
        assert!(picture.units.is_empty());
    }

    #[test]
    fn changes_alone_are_appended() {
        let table = |rows: &[[&str; 3]]| {
            let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
            Table { columns: vec!["unit", "active", "sub"], rows }
        };
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let first = table(&[["a", "active", "running"], ["b", "active", "running"], ["c", "active", "running"]]);
        assert_eq!(changes(&BTreeMap::new(), &keys(&["a", "b", "c"]), &first), first);
        let before = keys(&["a", "b", "c"]).into_iter().zip(first.rows).collect();
        let now = table(&[["a", "active", "running"], ["b", "failed", "failed"], ["d", "active", "running"]]);
        assert_eq!(
            changes(&before, &keys(&["a", "b", "d"]), &now),
            table(&[["b", "failed", "failed"], ["d", "active", "running"], ["c", "gone", "-"]])
        );
    }

    #[test]
    fn as_much_as_the_screen_holds() {
        let lines = |n: usize| (1..=n).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(fit(lines(3), 4), ["1", "2", "3"]);
        assert_eq!(fit(lines(5), 4), ["1", "2", "... and 3 more"]);
        assert_eq!(fit(lines(5), usize::MAX).len(), 5);
        assert_eq!(fit(lines(2), 0), ["... and 2 more"]);
    }
}
