//! From arguments to units: names with and without suffix, paths, directories, globs.
//!
//! Two steps. [`arguments`] looks at the disk only and says what each argument means; [`units_of`] chooses among the units
//! that the cluster has. Nothing here talks to fleetd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fleet_api::v2;
use fleet_core::unit::{Form, Glob, UnitName, UnitType, mangle};

use crate::error::CommandError;

/// What the arguments are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Unit files that are to be given to the cluster.
    Submit,
    /// The same, and to be taken to machines: templates among many files are passed over, for they cannot be.
    Activate,
    /// Units that the cluster has.
    Existing,
}

/// One meaning of an argument.
#[derive(Clone, Debug)]
pub enum Argument {
    /// One unit.
    Unit {
        /// Its name.
        name: UnitName,
        /// Where its file is, if there is one: the argument itself, with the suffix.
        path: PathBuf,
        /// Whether the user named this unit. If not, it was found in a directory or by a glob, and it is no mistake when the cluster
        /// does not have it or nothing is to be done.
        explicit: bool,
    },
    /// All units of the cluster that match.
    Pattern {
        /// As the user wrote it.
        given: String,
        /// What to match names with: a name matches if one of them does.
        globs: Vec<Glob>,
    },
}

/// Characters that make an argument a glob. None of them can be in a unit name.
const GLOB_CHARS: [char; 3] = ['*', '?', '['];

/// Reads arguments. Those that mean nothing are in the second list; each unit is there once, where it was named first.
pub fn arguments(given: &[String], purpose: Purpose) -> (Vec<Argument>, Vec<CommandError>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for argument in given {
        match read_argument(argument, purpose) {
            Ok(arguments) => found.extend(arguments),
            Err(err) => errors.push(err),
        }
    }
    // An explicit mention counts for more than one by a directory, wherever it stands.
    let explicit: BTreeSet<UnitName> = found
        .iter()
        .filter_map(|argument| match argument {
            Argument::Unit { name, explicit: true, .. } => Some(name.clone()),
            Argument::Unit { .. } | Argument::Pattern { .. } => None,
        })
        .collect();
    let mut seen = BTreeSet::new();
    found.retain_mut(|argument| match argument {
        Argument::Unit { name, explicit: is_explicit, .. } => {
            *is_explicit = explicit.contains(name);
            seen.insert(name.clone())
        }
        Argument::Pattern { .. } => true,
    });
    (found, errors)
}

/// Names of units that must be known to decide about `arguments`, as globs for the API; `None` if they are so many that
/// it is better to ask for all units.
pub fn lookup_globs(arguments: &[Argument]) -> Option<Vec<String>> {
    let mut globs = BTreeSet::new();
    for argument in arguments {
        match argument {
            Argument::Unit { name, .. } => {
                globs.insert(escape(name.as_str()));
                globs.extend(name.template().map(|template| escape(template.as_str())));
            }
            Argument::Pattern { globs: patterns, .. } => {
                globs.extend(patterns.iter().map(|glob| glob.as_str().to_owned()))
            }
        }
    }
    (globs.len() <= LOOKUP_GLOBS_MAX).then(|| globs.into_iter().collect())
}

/// Most globs in one request. They are part of the URL, and URLs of more than some kilobytes are refused here and there.
pub const LOOKUP_GLOBS_MAX: usize = 50;

/// A unit that a command is to act on.
#[derive(Clone, Debug)]
pub struct Selected<'a> {
    /// The unit.
    pub unit: &'a v2::Unit,
    /// Whether the user named it, see [`Argument::Unit`].
    pub explicit: bool,
}

/// Chooses the units of the cluster that `arguments` mean, each once, in the order of the arguments, then by name.
///
/// An explicit name that the cluster does not have, and a pattern without a match, are errors of their own.
pub fn units_of<'a>(
    arguments: &[Argument],
    known: &'a BTreeMap<String, v2::Unit>,
) -> (Vec<Selected<'a>>, Vec<CommandError>) {
    let (mut selected, mut errors) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for argument in arguments {
        match argument {
            Argument::Unit { name, explicit, .. } => {
                if let Some(unit) = known.get(name.as_str()) {
                    selected.extend(seen.insert(unit.name.as_str()).then_some(Selected { unit, explicit: *explicit }));
                } else if *explicit {
                    errors.push(CommandError::UnknownUnit { name: name.to_string(), similar: Vec::new() });
                }
            }
            Argument::Pattern { given, globs } => {
                let mut matches =
                    known.values().filter(|unit| globs.iter().any(|glob| glob.matches(&unit.name))).peekable();
                if matches.peek().is_none() {
                    errors.push(CommandError::NoMatch { given: given.clone(), looked: IN_CLUSTER });
                }
                for unit in matches {
                    selected.extend(seen.insert(unit.name.as_str()).then_some(Selected { unit, explicit: false }));
                }
            }
        }
    }
    (selected, errors)
}

const IN_CLUSTER: &str = "among the units of the cluster: `fleetctl list-unit-files` shows them";

/// Checks one unit name as typed: the last part of a path, with `.service` if it has no suffix of a type.
///
/// # Errors
/// [`CommandError::BadName`].
pub fn unit_name(given: &str) -> Result<UnitName, CommandError> {
    mangle(given).parse().map_err(|err| CommandError::BadName { given: given.to_owned(), err })
}

/// Patterns over names as typed: as they are, and with `.service` for those who leave the suffix off.
///
/// # Errors
/// [`CommandError::BadPattern`].
pub fn patterns(given: &str) -> Result<Vec<Glob>, CommandError> {
    let glob = |pattern: &str| Glob::new(pattern).map_err(|_| CommandError::BadPattern { given: given.to_owned() });
    let mut globs = vec![glob(given)?];
    let with_suffix = mangle(given);
    if with_suffix != given {
        globs.push(glob(&with_suffix)?);
    }
    Ok(globs)
}

/// Whether an argument is a glob and no name.
pub fn is_glob(given: &str) -> bool {
    given.contains(GLOB_CHARS)
}

/// A name as a glob that matches it alone. A backslash is the one character of names that globs take for something else.
pub fn escape(name: &str) -> String {
    name.replace('\\', "\\\\")
}

fn read_argument(given: &str, purpose: Purpose) -> Result<Vec<Argument>, CommandError> {
    let (directory, last) = match given.rsplit_once('/') {
        Some(("", last)) => (Some(Path::new("/")), last),
        Some((directory, last)) => (Some(Path::new(directory)), last),
        None => (None, given),
    };
    if directory.is_some_and(|directory| is_glob(&directory.to_string_lossy())) {
        return Err(CommandError::BadPattern { given: given.to_owned() });
    }
    if is_glob(last) {
        let globs = patterns(last)?;
        // Without a path, a pattern over existing units is one over names in the cluster. With a path it means files, or
        // `destroy 'instances/*'` would destroy all that there is.
        if directory.is_some() || purpose != Purpose::Existing {
            let found = files_in(directory.unwrap_or(Path::new(".")), directory, purpose, |name| {
                globs.iter().any(|glob| glob.matches(name))
            })?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        if directory.is_some() {
            return Err(CommandError::NoMatch { given: given.to_owned(), looked: "among the unit files on disk" });
        }
        if purpose == Purpose::Submit {
            return Err(CommandError::NoMatch { given: given.to_owned(), looked: "among the unit files here" });
        }
        return Ok(vec![Argument::Pattern { given: given.to_owned(), globs }]);
    }
    // A bare word is a unit's name, whatever directories there are; a path may be a directory.
    if directory.is_some() && Path::new(given).is_dir() {
        let directory = Path::new(given);
        let found = files_in(directory, Some(directory), purpose, |_| true)?;
        if found.is_empty() {
            let that = if purpose == Purpose::Activate { " that can be started" } else { "" };
            return Err(CommandError::NoFiles { path: directory.to_owned(), that });
        }
        return Ok(found);
    }
    let name = unit_name(given)?;
    let path = match directory {
        Some(directory) => directory.join(name.as_str()),
        None => PathBuf::from(name.as_str()),
    };
    Ok(vec![Argument::Unit { name, path, explicit: true }])
}

/// The unit files of a directory whose names are wanted, by name. `shown` is the directory as the paths are to show it.
fn files_in(
    directory: &Path,
    shown: Option<&Path>,
    purpose: Purpose,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Argument>, CommandError> {
    let cannot_read = |err| CommandError::Read { path: directory.to_owned(), err };
    let mut found = BTreeMap::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // A pattern over a directory that is not there matches nothing.
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(cannot_read(err)),
    };
    for entry in entries {
        let entry = entry.map_err(cannot_read)?;
        // What is no unit's name is no unit file: editors' backups, hidden files, README.
        let Some(name) = entry.file_name().to_str().filter(|name| has_type(name)).and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let name: UnitName = name;
        let passed_over = purpose == Purpose::Activate && name.form() == Form::Template;
        // Behind a link there may be a file; a directory may have any name.
        if wanted(name.as_str()) && !passed_over && !entry.path().is_dir() {
            let path = shown.map_or_else(|| PathBuf::from(name.as_str()), |shown| shown.join(name.as_str()));
            found.insert(name, path);
        }
    }
    Ok(found.into_iter().map(|(name, path)| Argument::Unit { name, path, explicit: false }).collect())
}

fn has_type(name: &str) -> bool {
    !name.starts_with('.')
        && UnitType::ALL.iter().any(|(_, suffix)| name.rsplit_once('.').is_some_and(|(_, s)| s == *suffix))
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
