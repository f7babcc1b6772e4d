//! `export`: all units as files, and a manifest of what files cannot say.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use fleet_api::v2;
use fleet_core::unit::UnitName;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::transfer::manifest::{FILE_NAME, Manifest};
use crate::wait;

/// `export`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ExportArgs {
    /// Where to: a new or empty directory, or that of an earlier export, which is brought up to date
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

const HELP: &str = "\
Each unit's file is written as its user wrote it, under the unit's name; fleet-units.json lists the units with their desired states. The \
bytes depend on nothing else, so a repository shows what changed between two exports. `fleetctl import DIR` reads it back. What operators \
said of machines (metadata, cordon, drain) is not in it: `fleetctl backup` keeps that.";

/// Files that are asked for at once.
const AT_ONCE: usize = 16;

/// How often a unit is read again that changed between the list and its file.
const READS_MAX: usize = 10;

/// Exports.
pub async fn run(session: &Session<'_>, args: &ExportArgs) -> Result<Exit, CommandError> {
    let folder = &args.folder;
    let earlier = earlier_export(folder)?;
    let list = session.call("list the units", session.client.units(&[])).await?;
    let units = list.units.into_iter().filter(wait::exists);
    let read = stream::iter(units).map(|unit| read(session, unit)).buffered(AT_ONCE);
    let read: Vec<Option<(v2::Unit, v2::UnitFile)>> = read.try_collect().await?;
    let mut units = Vec::new();
    for (unit, file) in read.into_iter().flatten() {
        let name: UnitName =
            unit.name.parse().map_err(|err| CommandError::BadName { given: unit.name.clone(), err })?;
        units.push((name, unit, file));
    }
    let manifest = Manifest::of(units.iter().map(|(name, unit, _)| (name.clone(), unit)));
    let text = manifest.text()?;
    fs::create_dir_all(folder).map_err(|err| CommandError::Write { path: folder.clone(), err })?;
    for (name, _, file) in &units {
        write(&folder.join(name.as_str()), &file.text)?;
    }
    // Last, so that what it names is there.
    write(&folder.join(FILE_NAME), &text)?;
    let names: BTreeSet<&UnitName> = units.iter().map(|(name, ..)| name).collect();
    for gone in earlier.iter().filter(|name| !names.contains(name)) {
        let path = folder.join(gone.as_str());
        match fs::remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(CommandError::Write { path, err }),
            Ok(()) | Err(_) => (),
        }
    }
    session.console.talk(&format!("{} units are in {}", units.len(), folder.display()));
    Ok(Exit::Ok)
}

/// The units of the export that is in the folder already.
fn earlier_export(folder: &Path) -> Result<Vec<UnitName>, CommandError> {
    let path = folder.join(FILE_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Manifest::read(&text, &path)?.units.into_iter().map(|entry| entry.name.0).collect()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => match fs::read_dir(folder) {
            // What is hidden (`.git`) is nobody's unit.
            Ok(entries) => {
                let others = |entry: io::Result<fs::DirEntry>| {
                    entry.is_ok_and(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
                };
                if entries.into_iter().any(others) {
                    return Err(CommandError::NoExport { path: folder.to_owned() });
                }
                Ok(Vec::new())
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(err) => Err(CommandError::Read { path: folder.to_owned(), err }),
        },
        Err(err) => Err(CommandError::Read { path, err }),
    }
}

/// A unit with the file that belongs to it; nothing if it was destroyed meanwhile.
async fn read(session: &Session<'_>, listed: v2::Unit) -> Result<Option<(v2::Unit, v2::UnitFile)>, CommandError> {
    let name = listed.name.clone();
    let mut unit = listed;
    for _ in 0..READS_MAX {
        let doing = format!("read the file of {name}");
        let Some(file) = there(session.call(&doing, session.client.unit_file(&name)).await)? else { return Ok(None) };
        if file.hash == unit.hash {
            return Ok(Some((unit, file)));
        }
        let doing = format!("look at {name}");
        match there(session.call(&doing, session.client.unit(&name)).await)? {
            Some(now) if wait::exists(&now) => unit = now,
            Some(_) | None => return Ok(None),
        }
    }
    Err(CommandError::Restless { name })
}

/// Nothing for a unit that does not exist.
fn there<T>(answer: Result<T, CommandError>) -> Result<Option<T>, CommandError> {
    match answer {
        Err(err) if err.exit() == Exit::NoSuchUnit => Ok(None),
        other => other.map(Some),
    }
}

/// Writes a file whole or not at all; one that has this text already is left as it is.
fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let failed = |err| CommandError::Write { path: path.to_owned(), err };
    let beside = path.with_file_name(".fleetctl-export.tmp");
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(failed)
}
