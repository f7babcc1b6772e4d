//! The unit language: names, unit files, the `[X-Fleet]` section, and what is refused at the door.

mod glob;
mod hash;
mod name;
mod requirements;

pub use glob::{Glob, GlobError};
pub use hash::{UnitHash, UnitHashError};
pub use name::{Form, UNIT_NAME_LEN_MAX, UnitName, UnitNameError, UnitType};
pub use requirements::Requirements;
