//! The create step of `submit`, `load` and `start`: which change is asked for, given the disk and the cluster.
//!
//! A unit is looked for in the cluster, then as a file, then as an instance of a template in the cluster, then of a template
//! file. Reads the disk, talks to nobody.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fleet_api::v2;
use fleet_core::unit::{CheckedUnit, Strictness, UNIT_FILE_LEN_MAX, UnitName, UnitType, activation_problem, check};

use crate::error::CommandError;

/// What the command wants of every unit.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// How far the units are to be taken.
    pub target: v2::State,
    /// Whether a local file may take the place of a different one.
    pub replace: bool,
    /// How mistakes in `[X-Fleet]` are taken.
    pub strictness: Strictness,
}

/// What the cluster has.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The units asked about, and the templates of those that are instances.
    pub units: BTreeMap<String, v2::Unit>,
    /// Files of templates, where an instance may have to be replaced by its template's present file.
    pub template_files: BTreeMap<String, v2::UnitFile>,
}

/// What is to be done for one unit, and said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// What to ask for; nothing if the unit is as wanted already.
    pub change: Option<v2::Change>,
    /// For stdout.
    pub lines: Vec<String>,
    /// For stderr.
    pub warnings: Vec<String>,
    /// Whether the unit will run on every machine that fits, as far as is known here.
    pub global: bool,
}

/// Decides for one unit whose file would be `path`.
///
/// # Errors
/// Everything for which nothing may be changed: no such unit, a broken file, a template that cannot be started, a replacement that
/// this command may not do.
pub fn plan(name: &UnitName, path: &Path, wish: &Wish, known: &Known) -> Result<Planned, CommandError> {
    if wish.target != v2::State::Inactive
        && let Some(problem) = activation_problem(name)
    {
        return Err(CommandError::Template(problem));
    }
    match known.units.get(name.as_str()) {
        Some(unit) => plan_existing(name, path, wish, known, unit),
        None => plan_new(name, path, wish, known),
    }
}

/// The template whose file is needed to decide about `unit`, if there is one: `--replace` of an instance that has no file.
pub fn template_needed(name: &UnitName, path: &Path, known: &Known) -> Option<UnitName> {
    let template = name.template()?;
    let (unit, ours) = (known.units.get(name.as_str())?, known.units.get(template.as_str())?);
    let on_disk = path.exists() || path.with_file_name(template.as_str()).exists();
    (!on_disk && unit.hash != ours.hash).then_some(template)
}

fn plan_existing(
    name: &UnitName,
    path: &Path,
    wish: &Wish,
    known: &Known,
    unit: &v2::Unit,
) -> Result<Planned, CommandError> {
    let mut planned = Planned { global: unit.global, ..Planned::default() };
    let mut change = change_to(name, wish);
    // Nobody expects to stop a unit by loading it.
    if wish.target == v2::State::Loaded && unit.desired_state == v2::State::Launched {
        change.desired_state = None;
        planned.warnings.push(format!("Unit {name} is launched already; `fleetctl stop {name}` stops it"));
    }
    let local = match read(name, path, wish.strictness)? {
        Some(local) => Some(local),
        None => match name.template() {
            Some(template) => {
                read(name, &path.with_file_name(template.as_str()), wish.strictness)?.map(Local::of_template)
            }
            None => None,
        },
    };
    let local = match local {
        None if wish.replace => Some(from_cluster(name, path, wish, known, unit)?),
        local => local,
    };
    if let Some(local) = local {
        if local.hash == unit.hash {
            if wish.replace {
                planned.lines.push(format!("Found same Unit({name}) in Registry, nothing to do"));
            }
        } else if !wish.replace {
            planned.warnings.push(differs(name, &local));
        } else if wish.target < unit.desired_state {
            return Err(CommandError::ReplaceRefused { name: name.to_string(), state: unit.desired_state });
        } else {
            planned.global = local.global;
            change.text = Some(local.text);
            change.replace = true;
        }
    }
    planned.change = (change.text.is_some() || change.desired_state.is_some()).then_some(change);
    Ok(planned)
}

fn plan_new(name: &UnitName, path: &Path, wish: &Wish, known: &Known) -> Result<Planned, CommandError> {
    let mut planned = Planned::default();
    let mut change = change_to(name, wish);
    if let Some(local) = read(name, path, wish.strictness)? {
        planned.global = local.global;
        change.text = Some(local.text);
        planned.change = Some(change);
        return Ok(planned);
    }
    let Some(template) = name.template() else {
        return Err(CommandError::FoundNowhere {
            name: name.to_string(),
            path: path.to_owned(),
            beside: what_was_meant(path),
            similar: Vec::new(),
        });
    };
    let local = read(name, &path.with_file_name(template.as_str()), wish.strictness)?.map(Local::of_template);
    match (known.units.get(template.as_str()), local) {
        (Some(ours), local) => {
            planned.global = ours.global;
            change.from_template = true;
            planned
                .warnings
                .extend(local.filter(|local| local.hash != ours.hash).map(|local| differs(&template, &local)));
        }
        (None, Some(local)) => {
            planned.global = local.global;
            change.text = Some(local.text);
        }
        (None, None) => {
            return Err(CommandError::NoTemplate { name: name.to_string(), template: template.to_string() });
        }
    }
    planned.change = Some(change);
    Ok(planned)
}

/// What has the name without its suffix, or with another: a directory, or a unit file of another type.
fn what_was_meant(path: &Path) -> Option<PathBuf> {
    let directory = Some(path.with_extension("")).filter(|path| path.is_dir());
    let of_type = |(_, suffix): &(UnitType, &str)| Some(path.with_extension(suffix)).filter(|path| path.is_file());
    directory.or_else(|| UnitType::ALL.iter().find_map(of_type))
}

fn change_to(name: &UnitName, wish: &Wish) -> v2::Change {
    v2::Change {
        name: name.to_string(),
        lenient: wish.strictness == Strictness::Lenient,
        desired_state: (wish.target != v2::State::Inactive).then_some(wish.target),
        ..v2::Change::default()
    }
}

/// A unit file at hand, checked.
struct Local {
    path: PathBuf,
    text: String,
    hash: String,
    global: bool,
    is_template: bool,
}

impl Local {
    fn of_template(self) -> Local {
        Local { is_template: true, ..self }
    }
}

/// For `--replace` without a local file: the present file of the instance's template in the cluster.
fn from_cluster(
    name: &UnitName,
    path: &Path,
    wish: &Wish,
    known: &Known,
    unit: &v2::Unit,
) -> Result<Local, CommandError> {
    let none = || CommandError::NothingToReplace { name: name.to_string(), path: path.to_owned() };
    let template = name.template().ok_or_else(none)?;
    let ours = known.units.get(template.as_str()).ok_or_else(none)?;
    if ours.hash == unit.hash {
        let path = PathBuf::from(template.as_str());
        let (hash, global) = (ours.hash.clone(), ours.global);
        return Ok(Local { path, text: String::new(), hash, global, is_template: true });
    }
    let file = known.template_files.get(template.as_str()).ok_or_else(none)?;
    let local = checked(name, Path::new(template.as_str()), file.text.clone(), wish.strictness)?;
    Ok(local.of_template())
}

/// Reads and checks a unit file; `None` if there is none.
fn read(name: &UnitName, path: &Path, strictness: Strictness) -> Result<Option<Local>, CommandError> {
    let cannot_read = |err| CommandError::Read { path: path.to_owned(), err };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            // A link that leads nowhere is a mistake and not a missing file.
            return if path.is_symlink() { Err(cannot_read(err)) } else { Ok(None) };
        }
        Err(err) => return Err(cannot_read(err)),
    };
    if metadata.is_dir() {
        return Ok(None);
    }
    let too_large = || {
        let reason = format!("it has more than {UNIT_FILE_LEN_MAX} bytes");
        cannot_read(io::Error::new(io::ErrorKind::FileTooLarge, reason))
    };
    if (UNIT_FILE_LEN_MAX as u64) < metadata.len() {
        return Err(too_large());
    }
    let text = std::fs::read_to_string(path).map_err(cannot_read)?;
    checked(name, path, text, strictness).map(Some)
}

fn checked(name: &UnitName, path: &Path, text: String, strictness: Strictness) -> Result<Local, CommandError> {
    match check(name, &text, strictness) {
        Ok(CheckedUnit { file, requirements, .. }) => Ok(Local {
            path: path.to_owned(),
            text,
            hash: file.hash().to_string(),
            global: requirements.global,
            is_template: false,
        }),
        Err(problems) => Err(CommandError::BrokenFile { path: path.to_owned(), name: name.to_string(), problems }),
    }
}

fn differs(name: &UnitName, local: &Local) -> String {
    let what = if local.is_template { "local template unit file" } else { "local unit file" };
    format!("WARNING: Unit {name} in registry differs from {what} {}. Add --replace to override.", local.path.display())
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
