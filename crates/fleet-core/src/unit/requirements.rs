//! What a unit's `[X-Fleet]` section asks of the machine it runs on.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Findings, Strictness};
use super::section::Section;
use super::{Form, Glob, UnitFile, UnitName};

/// The `[X-Fleet]` section of one unit, with its name's specifiers filled in.
///
/// An empty one (the default) may run anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// `MachineID`: the whole ID or its first eight characters.
    pub machine_id: Option<String>,
    /// `MachineOf`: all of these must be placed on the same machine.
    pub machine_of: BTreeSet<UnitName>,
    /// `MachineMetadata`: for each key (AND) one of the values (OR).
    pub metadata: BTreeMap<String, BTreeSet<String>>,
    /// `Conflicts`: no other unit on the machine may match.
    pub conflicts: Vec<Glob>,
    /// `Replaces`: matching units are moved to another machine.
    pub replaces: Vec<Glob>,
    /// `Global`: on every machine that fits.
    pub global: bool,
    /// `WhenIsolated`: what becomes of it on a machine that has lost the cluster.
    pub when_isolated: WhenIsolated,
    /// Why no machine can ever fit, if that is so (only files accepted leniently have such reasons).
    pub never: Vec<String>,
}

/// What becomes of a unit on a machine that nobody hears of any more, and that hears of nobody.
///
/// One of two promises has to be given up then, and the unit's file says which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhenIsolated {
    /// It goes on running, and another copy is started elsewhere: at least one runs.
    #[default]
    Keep,
    /// It is stopped before another copy is started elsewhere: at most one runs.
    Stop,
}

impl WhenIsolated {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            WhenIsolated::Keep => "keep",
            WhenIsolated::Stop => "stop",
        }
    }
}

impl Requirements {
    /// Reads the section of a file that is in the cluster already: total, and lenient where the file is malformed.
    ///
    /// A template has requirements too, with an empty `%i`, but never a reason in `never`: it is not placed at all.
    pub fn of(name: &UnitName, file: &UnitFile) -> Requirements {
        let mut requirements = Section::of(name, file).read(&mut Findings::new(Strictness::Lenient));
        if name.form() == Form::Template {
            requirements.never.clear();
        }
        requirements
    }
}
