//! Unit names, checked once at the edge.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a unit that fleet may hold: `hello.service`, `hello@.service` (template), `hello@1.service` (instance).
///
/// Holding one means it was checked; nothing below the parser checks again. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName(Arc<str>); // Invariant: accepted by `UnitName::from_str`.

/// Longest unit name in bytes, suffix included.
///
/// Source: systemd.unit(5), DESCRIPTION (systemd 252). Not a choice of ours; the original allowed 256.
pub const UNIT_NAME_LEN_MAX: usize = 255;

/// What kind of unit a name's suffix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are systemd's own")]
pub enum UnitType {
    Automount,
    Device,
    Mount,
    Path,
    Scope,
    Service,
    Slice,
    Socket,
    Swap,
    Target,
    Timer,
}

/// Whether a name stands for itself, for a family, or for one of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form<'a> {
    /// `hello.service`
    Plain,
    /// `hello@.service`: cannot be started.
    Template,
    /// `hello@1.service`: with the instance name `1`.
    Instance(&'a str),
}

/// Why a text is no unit name. The messages begin with the original's words, which people and scripts know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum UnitNameError {
    #[error("unit name cannot be empty")]
    Empty,
    #[error("unit name exceeds maximum length ({UNIT_NAME_LEN_MAX}): it has {len} bytes")]
    TooLong { len: usize },
    #[error("unit name must contain \".\": `{name}` has no type")]
    NoType { name: String },
    #[error("unit name cannot end in \".\": `{name}` has no type")]
    EndsInDot { name: String },
    #[error("invalid unit type: \"{ty}\" in unit name `{name}`")]
    BadType { name: String, ty: String },
    #[error("invalid unit type for template: \"{ty}\" in unit name `{name}`")]
    BadTemplateType { name: String, ty: String },
    #[error("invalid character {ch:?} in unit name `{name}`")]
    BadChar { name: String, ch: char },
    #[error("unit name cannot start in \"@\": `{name}`")]
    StartsWithAt { name: String },
    #[error("unit name `{name}` has nothing before its type")]
    NoPrefix { name: String },
}

/// The unit name that a command line argument means, not checked yet.
///
/// The last path element, with `.service` appended unless it ends in a unit type: `instances/web@1` is
/// `web@1.service`, `./web.socket` is `web.socket`.
pub fn mangle(argument: &str) -> String {
    let trimmed = argument.trim_end_matches('/');
    let last = trimmed.rsplit_once('/').map_or(trimmed, |(_, last)| last);
    let has_type = last.rsplit_once('.').is_some_and(|(_, suffix)| UnitType::of_suffix(suffix).is_some());
    if has_type { last.to_owned() } else { format!("{last}.service") }
}

impl UnitType {
    /// All types with their suffix, in alphabetical order.
    pub const ALL: [(UnitType, &'static str); 11] = [
        (UnitType::Automount, "automount"),
        (UnitType::Device, "device"),
        (UnitType::Mount, "mount"),
        (UnitType::Path, "path"),
        (UnitType::Scope, "scope"),
        (UnitType::Service, "service"),
        (UnitType::Slice, "slice"),
        (UnitType::Socket, "socket"),
        (UnitType::Swap, "swap"),
        (UnitType::Target, "target"),
        (UnitType::Timer, "timer"),
    ];

    /// The type that a suffix without its dot stands for. Case sensitive, as in systemd.
    pub fn of_suffix(suffix: &str) -> Option<UnitType> {
        UnitType::ALL.iter().find(|(_, known)| *known == suffix).map(|(ty, _)| *ty)
    }

    /// The suffix without its dot.
    pub fn suffix(self) -> &'static str {
        UnitType::ALL.iter().find(|(ty, _)| *ty == self).expect("every type is in ALL").1
    }
}

impl UnitName {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its type suffix (`%N`).
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').expect("a unit name has a dot").0
    }

    /// The type.
    pub fn unit_type(&self) -> UnitType {
        let suffix = self.0.rsplit_once('.').expect("a unit name has a dot").1;
        UnitType::of_suffix(suffix).expect("a unit name has a known type")
    }

    /// What stands before the first `@`, or the whole stem (`%p`).
    pub fn prefix(&self) -> &str {
        self.stem().split_once('@').map_or(self.stem(), |(prefix, _)| prefix)
    }

    /// Plain, template or instance.
    pub fn form(&self) -> Form<'_> {
        match self.stem().split_once('@') {
            None => Form::Plain,
            Some((_, "")) => Form::Template,
            Some((_, instance)) => Form::Instance(instance),
        }
    }

    /// The name of the template that this instance is of; `None` for plain units and templates.
    pub fn template(&self) -> Option<UnitName> {
        match self.form() {
            Form::Instance(_) => Some(UnitName(format!("{}@.{}", self.prefix(), self.unit_type().suffix()).into())),
            Form::Plain | Form::Template => None,
        }
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for UnitName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for UnitName {
    type Err = UnitNameError;

    fn from_str(name: &str) -> Result<UnitName, UnitNameError> {
        let owned = || name.to_owned();
        if name.is_empty() {
            return Err(UnitNameError::Empty);
        }
        if UNIT_NAME_LEN_MAX < name.len() {
            return Err(UnitNameError::TooLong { len: name.len() });
        }
        let Some((stem, suffix)) = name.rsplit_once('.') else {
            return Err(UnitNameError::NoType { name: owned() });
        };
        if suffix.is_empty() {
            return Err(UnitNameError::EndsInDot { name: owned() });
        }
        let Some(ty) = UnitType::of_suffix(suffix) else {
            return Err(UnitNameError::BadType { name: owned(), ty: suffix.to_owned() });
        };
        let templated =
            matches!(ty, UnitType::Path | UnitType::Service | UnitType::Socket | UnitType::Target | UnitType::Timer);
        if stem.contains('@') && !templated {
            return Err(UnitNameError::BadTemplateType { name: owned(), ty: suffix.to_owned() });
        }
        let legal = |ch: char| ch.is_ascii_alphanumeric() || ":-_.\\@".contains(ch);
        if let Some(ch) = stem.chars().find(|&ch| !legal(ch)) {
            return Err(UnitNameError::BadChar { name: owned(), ch });
        }
        if stem.starts_with('@') {
            return Err(UnitNameError::StartsWithAt { name: owned() });
        }
        if stem.is_empty() {
            return Err(UnitNameError::NoPrefix { name: owned() });
        }
        Ok(UnitName(name.into()))
    }
}
