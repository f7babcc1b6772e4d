//! Units as a source offers them: a directory, a dump, another cluster.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fleet_api::{v1, v2};
use fleet_core::unit::{UNIT_FILE_LEN_MAX, UnitFile, UnitOption, UnitType};

use super::dump;
use super::manifest::{FILE_NAME, Manifest};
use crate::error::CommandError;

/// One unit that could be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name as the source has it; whether it is one is for the plan to say.
    pub name: String,
    /// Its file, or why that cannot be had.
    pub text: Result<String, String>,
    /// How far it is to be taken, if the source says it.
    pub state: Option<v2::State>,
    /// What is to be said of it, whatever becomes of it.
    pub notes: Vec<String>,
}

impl Offer {
    /// A unit with its file, of which nothing else is known.
    pub fn file(name: &str, text: Result<String, String>) -> Offer {
        Offer { name: name.to_owned(), text, state: None, notes: Vec::new() }
    }
}

/// What is at `path`: an exported directory, one of plain unit files, or a dump.
///
/// # Errors
/// What makes the source as a whole useless; what is wrong with one unit is in its offer.
pub fn at(path: &Path) -> Result<Vec<Offer>, CommandError> {
    let cannot_read = |err| CommandError::Read { path: path.to_owned(), err };
    if std::fs::metadata(path).map_err(cannot_read)?.is_dir() {
        return directory(path);
    }
    let text = std::fs::read_to_string(path).map_err(cannot_read)?;
    dump::read(&text).map_err(|reason| CommandError::Dump { path: path.to_owned(), reason })
}

fn directory(folder: &Path) -> Result<Vec<Offer>, CommandError> {
    let mut offers = BTreeMap::new();
    for name in unit_files(folder)? {
        let text = read(&folder.join(&name)).map_err(|err| err.to_string());
        offers.insert(name.clone(), Offer::file(&name, text));
    }
    let path = folder.join(FILE_NAME);
    let manifest = match std::fs::read_to_string(&path) {
        Ok(text) => Manifest::read(&text, &path)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(offers.into_values().collect()),
        Err(err) => return Err(CommandError::Read { path, err }),
    };
    for offer in offers.values_mut() {
        offer.notes.push(format!("it is not in {FILE_NAME}, which says how far units are taken"));
    }
    for entry in manifest.units {
        let name = entry.name.0.to_string();
        let missing = || Offer::file(&name, Err(format!("it is in {FILE_NAME} and has no file `{name}` beside it")));
        let offer = offers.entry(name.clone()).or_insert_with(missing);
        offer.state = Some(entry.desired_state);
        offer.notes.clear();
    }
    Ok(offers.into_values().collect())
}

/// The names of the files in a directory that have a unit's suffix, also where they are no unit's name.
fn unit_files(folder: &Path) -> Result<Vec<String>, CommandError> {
    let cannot_read = |err| CommandError::Read { path: folder.to_owned(), err };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot_read)? {
        let entry = entry.map_err(cannot_read)?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
        let is_unit = suffix.is_some_and(|suffix| {
            UnitType::ALL.iter().any(|(_, known)| *known == suffix) || dump::GONE_TYPES.contains(&suffix)
        });
        // Hidden files are editors' business, unless a manifest names them.
        if is_unit && !name.starts_with('.') && !entry.path().is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

fn read(path: &PathBuf) -> io::Result<String> {
    let len = std::fs::metadata(path)?.len();
    if (UNIT_FILE_LEN_MAX as u64) < len {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {UNIT_FILE_LEN_MAX} bytes")));
    }
    std::fs::read_to_string(path)
}

/// A unit as API v1 tells of it.
pub fn from_v1(unit: v1::Unit) -> Offer {
    let options = unit.options.into_iter().map(|option| UnitOption::new(option.section, option.name, option.value));
    let file = UnitFile::from_options(options.collect());
    let mut offer = Offer::file(&unit.name, file.map(|file| file.canonical()).map_err(|err| err.to_string()));
    match dump::state(&unit.desired_state) {
        Some(state) => offer.state = Some(state),
        None => offer.notes.push(format!("its desired state `{}` is none; taken as inactive", unit.desired_state)),
    }
    offer
}
