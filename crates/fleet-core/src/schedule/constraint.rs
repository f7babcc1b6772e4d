//! The constraints, one by one.

use std::collections::BTreeSet;

use crate::model::{Machine, MachineId};
use crate::unit::{Glob, Requirements, UnitName};

/// Whether the machine by itself, whatever runs there, is what the unit requires: `MachineID`, `MachineMetadata`, and
/// nothing that can never be met.
pub fn fits_alone(requires: &Requirements, id: &MachineId, machine: &Machine) -> bool {
    requires.never.is_empty()
        && requires.machine_id.as_ref().is_none_or(|wanted| id.is_named_by(wanted))
        && unmet_metadata(requires, machine).next().is_none()
}

/// The metadata keys that the machine lacks or has with another value: key, wanted values, what it has.
pub(super) fn unmet_metadata<'a>(
    requires: &'a Requirements,
    machine: &'a Machine,
) -> impl Iterator<Item = (&'a String, &'a BTreeSet<String>, Option<&'a String>)> {
    requires.metadata.iter().filter_map(|(key, values)| {
        let have = machine.metadata.get(key);
        (!have.is_some_and(|have| values.contains(have))).then_some((key, values, have))
    })
}

/// The first of the patterns that matches the name.
pub(super) fn any_match<'a>(patterns: &'a [Glob], name: &UnitName) -> Option<&'a Glob> {
    patterns.iter().find(|pattern| pattern.matches(name.as_str()))
}
