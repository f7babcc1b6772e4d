//! `list-units`, `list-unit-files`, `list-machines`.

use fleet_api::v2;

use crate::cli::{Format, ListMachines, ListUnitFiles, ListUnits};
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names;
use crate::render::table;
use crate::wait;

/// `list-units`.
pub async fn units(session: &Session<'_>, args: &ListUnits) -> Result<Exit, CommandError> {
    let columns = table::units();
    let chosen = columns.choose(args.table.fields.as_deref())?;
    let list = fetch(session, &args.units).await?;
    match args.table.output {
        Format::Json => session.json(&list)?,
        Format::Text => {
            print(session, &chosen.render(&table::unit_rows(&list.units), args.table.full, args.table.no_legend))?;
        }
    }
    Ok(Exit::Ok)
}

/// `list-unit-files`.
pub async fn unit_files(session: &Session<'_>, args: &ListUnitFiles) -> Result<Exit, CommandError> {
    let columns = table::unit_files();
    let chosen = columns.choose(args.table.fields.as_deref())?;
    if chosen.has("tmachine") {
        session.console.talk("WARNING: The \"tmachine\" field is deprecated. Use \"target\" instead");
    }
    let mut list = fetch(session, &args.units).await?;
    list.units.retain(wait::exists);
    match args.table.output {
        Format::Json => session.json(&list)?,
        Format::Text => print(session, &chosen.render(&list.units, args.table.full, args.table.no_legend))?,
    }
    Ok(Exit::Ok)
}

/// `list-machines`.
pub async fn machines(session: &Session<'_>, args: &ListMachines) -> Result<Exit, CommandError> {
    let columns = table::machines();
    let chosen = columns.choose(args.table.fields.as_deref())?;
    let list = session.call("list the machines", session.client.machines()).await?;
    match args.table.output {
        Format::Json => session.json(&list)?,
        Format::Text => {
            if let Some(brake) = &list.brake {
                session.console.talk(&wait::brake(brake));
            }
            print(session, &chosen.render(&list.machines, args.table.full, args.table.no_legend))?;
        }
    }
    Ok(Exit::Ok)
}

/// The units that match one of `given`, names or globs; all if there is none.
async fn fetch(session: &Session<'_>, given: &[String]) -> Result<v2::UnitList, CommandError> {
    let mut globs = Vec::new();
    for one in given {
        if names::is_glob(one) {
            globs.extend(names::patterns(one)?.iter().map(|glob| glob.as_str().to_owned()));
        } else {
            globs.push(names::escape(names::unit_name(one)?.as_str()));
        }
    }
    session.call("list the units", session.client.units(&globs)).await
}

fn print(session: &Session<'_>, lines: &[String]) -> Result<(), CommandError> {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    Ok(session.console.bytes(text.as_bytes())?)
}
