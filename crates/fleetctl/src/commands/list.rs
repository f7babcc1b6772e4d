//! `list-units`, `list-unit-files`, `list-machines`.

use fleet_api::v2;
use fleet_core::unit::Glob;
use serde::Serialize;

use crate::cli::{Format, ListMachines, ListUnitFiles, ListUnits, TableArgs, UnitArgs};
use crate::commands::session::{Session, machine_among};
use crate::commands::watching;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names;
use crate::render::layout::Table;
use crate::render::table::{self, Chosen, Columns, UnitRow};
use crate::select::{self, MACHINE_STATES, Selection};
use crate::wait;

/// A list of units as the command line asks for it.
pub trait UnitTable {
    /// The units that have rows, with nothing in them that has none.
    fn select(&self, units: Vec<v2::Unit>) -> Vec<v2::Unit>;
    /// What is shown of them, and a key for each row.
    fn table(&self, units: &[v2::Unit]) -> (Vec<String>, Table);
}

struct Units {
    selection: Selection,
    chosen: Chosen<UnitRow>,
    full: bool,
}

struct UnitFiles {
    selection: Selection,
    chosen: Chosen<v2::Unit>,
    full: bool,
}

impl UnitTable for Units {
    fn select(&self, units: Vec<v2::Unit>) -> Vec<v2::Unit> {
        self.selection.of_units(units)
    }

    fn table(&self, units: &[v2::Unit]) -> (Vec<String>, Table) {
        let rows = table::unit_rows(units);
        let keys = rows.iter().map(|row| format!("{} {}", row.name, row.machine.machine)).collect();
        (keys, self.chosen.table(&rows, self.full))
    }
}

impl UnitTable for UnitFiles {
    fn select(&self, units: Vec<v2::Unit>) -> Vec<v2::Unit> {
        self.selection.of_files(units)
    }

    fn table(&self, units: &[v2::Unit]) -> (Vec<String>, Table) {
        let keys = units.iter().map(|unit| unit.name.clone()).collect();
        (keys, self.chosen.table(units, self.full))
    }
}

/// `list-units`.
pub async fn units(session: &Session<'_>, args: &ListUnits) -> Result<Exit, CommandError> {
    let chosen = choose(&table::units(), &args.table)?;
    let mut given = args.state.clone();
    given.extend(args.failed.then(|| "failed".to_owned()));
    let states = select::states(&given, None, "")?;
    let selection = Selection { refused: args.failed, ..selection(session, &args.units, states).await? };
    run(session, &args.table, args.watch, &args.units, &Units { selection, chosen, full: args.table.full }).await
}

/// `list-unit-files`.
pub async fn unit_files(session: &Session<'_>, args: &ListUnitFiles) -> Result<Exit, CommandError> {
    let chosen = choose(&table::unit_files(), &args.table)?;
    if chosen.has("tmachine") {
        session.console.talk("WARNING: The \"tmachine\" field is deprecated. Use \"target\" instead");
    }
    let known = [v2::State::Inactive, v2::State::Loaded, v2::State::Launched].map(v2::State::as_str);
    let states = select::states(&args.state, Some(&known), "; systemd's are in `list-units`")?;
    let selection = selection(session, &args.units, states).await?;
    run(session, &args.table, args.watch, &args.units, &UnitFiles { selection, chosen, full: args.table.full }).await
}

async fn run(
    session: &Session<'_>,
    args: &TableArgs,
    watch: bool,
    units: &UnitArgs,
    table: &impl UnitTable,
) -> Result<Exit, CommandError> {
    if watch {
        return watching::units(session, args, table).await;
    }
    let globs: Vec<String> = patterns(&units.units)?.iter().map(|glob| glob.as_str().to_owned()).collect();
    let mut list = session.call("list the units", session.client.units(&globs)).await?;
    list.units = table.select(list.units);
    let names = list.units.iter().map(|unit| unit.name.as_str());
    if !structured(session, args.output, &list, names)? {
        print(session, args.full, !args.no_legend, &table.table(&list.units).1)?;
    }
    Ok(Exit::Ok)
}

/// `list-machines`.
pub async fn machines(session: &Session<'_>, args: &ListMachines) -> Result<Exit, CommandError> {
    let chosen = choose(&table::machines(), &args.table)?;
    let states = select::states(&args.state, Some(&MACHINE_STATES), "; systemd's are in `list-units`")?;
    let selection = Selection { states, ..Selection::default() };
    if args.watch {
        let mut said = false;
        return watching::machines(session, &args.table, |list| {
            let (list, errors) = chosen_machines(list, &args.machines, &selection);
            if !std::mem::replace(&mut said, true) {
                session.report_all(&errors);
            }
            let table = chosen.table(&list.machines, args.table.full);
            (list.machines, table)
        })
        .await;
    }
    let list = session.call("list the machines", session.client.machines()).await?;
    let (list, errors) = chosen_machines(list, &args.machines, &selection);
    let exit = session.report_all(&errors);
    let ids = list.machines.iter().map(|machine| machine.id.as_str());
    if !structured(session, args.table.output, &list, ids)? {
        if let Some(brake) = &list.brake {
            session.console.talk(&wait::brake(brake));
        }
        print(session, args.table.full, !args.table.no_legend, &chosen.table(&list.machines, args.table.full))?;
    }
    Ok(exit)
}

/// The machines that are asked for: by `given`, IDs, addresses or globs, and by state.
fn chosen_machines(
    mut list: v2::MachineList,
    given: &[String],
    selection: &Selection,
) -> (v2::MachineList, Vec<CommandError>) {
    let (mut ids, mut errors) = (Vec::new(), Vec::new());
    for one in given {
        let found = if names::is_glob(one) {
            names::patterns(one).map(|globs| {
                let fits = |machine: &&v2::Machine| globs.iter().any(|glob| glob.matches(&machine.id));
                list.machines.iter().filter(fits).map(|machine| machine.id.clone()).collect()
            })
        } else {
            machine_among(one, &list.machines).map(|id| vec![id])
        };
        match found {
            Ok(found) => ids.extend(found),
            Err(err) => errors.push(err),
        }
    }
    let is_given = |machine: &v2::Machine| given.is_empty() || ids.contains(&machine.id);
    list.machines.retain(|machine| is_given(machine) && selection.fits_machine(machine));
    (list, errors)
}

/// Prints `value` for programs, or `names` alone, if that is asked for; else does nothing and says so.
pub fn structured<'a>(
    session: &Session<'_>,
    output: Format,
    value: &impl Serialize,
    names: impl Iterator<Item = &'a str>,
) -> Result<bool, CommandError> {
    match output {
        Format::Text | Format::Wide => return Ok(false),
        Format::Json => session.json(value)?,
        Format::Yaml => session.yaml(value)?,
        Format::Name => {
            for name in names {
                session.console.line(name)?;
            }
        }
    }
    Ok(true)
}

fn choose<Row>(columns: &Columns<Row>, args: &TableArgs) -> Result<Chosen<Row>, CommandError> {
    columns.choose(args.fields.as_deref(), args.output == Format::Wide)
}

async fn selection(session: &Session<'_>, args: &UnitArgs, states: Vec<String>) -> Result<Selection, CommandError> {
    let types = select::types(&args.types)?;
    let patterns = patterns(&args.units)?;
    let machine = match &args.machine {
        Some(given) => {
            let list = session.call("list the machines", session.client.machines()).await?;
            Some(machine_among(given, &list.machines)?)
        }
        None => None,
    };
    Ok(Selection { globs: patterns, machine, states, types, refused: false })
}

/// The units that match one of `given`, names or globs; all if there is none.
fn patterns(given: &[String]) -> Result<Vec<Glob>, CommandError> {
    let mut globs = Vec::new();
    for one in given {
        let pattern = if names::is_glob(one) { one.clone() } else { names::escape(names::unit_name(one)?.as_str()) };
        globs.extend(names::patterns(&pattern)?);
    }
    Ok(globs)
}

/// Prints a table as it is to look on this stdout.
pub fn print(session: &Session<'_>, full: bool, with_header: bool, table: &Table) -> Result<(), CommandError> {
    let screen = session.console.screen().map(|screen| if full { usize::MAX } else { screen.width });
    let text: String = table.lines(with_header, screen).iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    Ok(session.console.bytes(text.as_bytes())?)
}
