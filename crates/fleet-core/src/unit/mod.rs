//! The unit language: names, unit files, the `[X-Fleet]` section, and what is refused at the door.
//!
//! [`check`] is the one door: the command line and the API both let a unit file in through it, and nothing below it
//! checks again. Absent here: where files are kept, which machine runs what, and every call to systemd.
//!
//! Reading order: `name`, `file` and `parse` (text to options and back), `value` (how `[X-Fleet]` values are split and
//! which specifiers they know), `requirements` (what the section asks for), `check`, `disk` (what systemd gets to see).

mod check;
mod disk;
mod file;
mod glob;
mod hash;
mod name;
mod parse;
mod problem;
mod requirements;
mod section;
mod spelling;
mod systemd;
mod value;

pub use check::{CheckedUnit, Strictness, activation_problem, check};
pub use disk::{GUARD_UNIT, STOP_WITHIN_S, on_disk, slice_for};
pub use file::{UnitFile, UnitOption};
pub use glob::{GLOB_LEN_MAX, Glob, GlobError};
pub use hash::{UnitHash, UnitHashError};
pub use name::{Form, UNIT_NAME_LEN_MAX, UnitName, UnitNameError, UnitType, mangle};
pub use parse::{UNIT_FILE_LEN_MAX, UnitFileError};
pub use problem::{PROBLEMS_MAX, Problem};
pub use requirements::{Requirements, WhenIsolated};
pub use section::FLEET_VALUES_MAX;
pub use value::{expand_specifiers, split_value};

/// The section that is fleet's own. systemd ignores every section whose name starts with `X-`.
pub const FLEET_SECTION: &str = "X-Fleet";
