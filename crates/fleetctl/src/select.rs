//! Which units and machines a list shows: by name, type, machine and state.

use fleet_api::v2;
use fleet_core::unit::{Glob, UnitType};

use crate::error::CommandError;
use crate::render::table::{self, UnitRow};
use crate::wait;

/// States of a machine, as `list-machines --state` has them.
pub const MACHINE_STATES: [&str; 6] = ["present", "lost", "absent", "given-up", "cordoned", "draining"];

/// What is asked for. Of each kind one must fit; of a kind that is empty everything does.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// For names of units.
    pub globs: Vec<Glob>,
    /// A machine's whole ID.
    pub machine: Option<String>,
    /// Words for states.
    pub states: Vec<String>,
    /// Whether also what systemd refused fits, as if that were one of the states.
    pub refused: bool,
    /// Types of units, without the dot.
    pub types: Vec<String>,
}

impl Selection {
    /// Whether the unit's name and type fit.
    pub fn fits_name(&self, name: &str) -> bool {
        let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
        (self.globs.is_empty() || self.globs.iter().any(|glob| glob.matches(name))) && fits(&self.types, &[suffix])
    }

    /// Whether a row of `list-units` fits: systemctl takes load, active and sub states alike.
    pub fn fits_row(&self, row: &UnitRow) -> bool {
        let state = &row.state;
        self.fits_name(&row.name)
            && self.machine.as_ref().is_none_or(|machine| *machine == row.machine.machine)
            && (fits(&self.states, &[&state.active, &state.sub, &state.load])
                || self.refused && !state.error.is_empty())
    }

    /// Whether a row of `list-unit-files` fits, by its desired or its current state.
    pub fn fits_file(&self, unit: &v2::Unit) -> bool {
        let on = |machine: &String| unit.placements.iter().any(|one| one.placed && one.machine == *machine);
        self.fits_name(&unit.name)
            && self.machine.as_ref().is_none_or(on)
            && fits(&self.states, &[unit.desired_state.as_str(), unit.current_state.as_str()])
    }

    /// The units that have rows in `list-units`, with those of their placements alone.
    pub fn of_units(&self, units: Vec<v2::Unit>) -> Vec<v2::Unit> {
        let chosen = |mut unit: v2::Unit| {
            let rows = table::unit_rows(std::slice::from_ref(&unit));
            let on: Vec<String> =
                rows.iter().filter(|row| self.fits_row(row)).map(|row| row.machine.machine.clone()).collect();
            unit.placements.retain(|placement| on.contains(&placement.machine));
            (!on.is_empty()).then_some(unit)
        };
        units.into_iter().filter_map(chosen).collect()
    }

    /// The units that have rows in `list-unit-files`.
    pub fn of_files(&self, units: Vec<v2::Unit>) -> Vec<v2::Unit> {
        units.into_iter().filter(|unit| wait::exists(unit) && self.fits_file(unit)).collect()
    }

    /// Whether a machine is in one of the states.
    pub fn fits_machine(&self, machine: &v2::Machine) -> bool {
        let is = [
            ("present", machine.present),
            ("lost", machine.lost.is_some() && !machine.given_up),
            ("absent", !machine.present && machine.lost.is_none() && !machine.given_up),
            ("given-up", machine.given_up),
            ("cordoned", machine.cordoned),
            ("draining", machine.draining.is_some()),
        ];
        let states: Vec<&str> = is.into_iter().filter_map(|(state, is)| is.then_some(state)).collect();
        fits(&self.states, &states)
    }
}

fn fits(wanted: &[String], has: &[&str]) -> bool {
    wanted.is_empty() || wanted.iter().any(|word| has.contains(&word.as_str()))
}

/// Reads `--type`: types with commas between, as systemctl takes them.
///
/// # Errors
/// [`CommandError::BadFlag`].
pub fn types(given: &[String]) -> Result<Vec<String>, CommandError> {
    let known: Vec<&str> = UnitType::ALL.iter().map(|(_, suffix)| *suffix).collect();
    let reason = || format!("the types of units are {}", known.join(", "));
    words(given, "type", |word| if known.contains(&word) { Ok(()) } else { Err(reason()) })
}

/// Reads `--state` of a list whose states are `known`; `None` for systemd's, of which there are too many to tell.
///
/// # Errors
/// [`CommandError::BadFlag`].
pub fn states(given: &[String], known: Option<&[&str]>, hint: &str) -> Result<Vec<String>, CommandError> {
    words(given, "state", |word| match known {
        Some(known) if !known.contains(&word) => Err(format!("the states here are {}{hint}", known.join(", "))),
        _ => Ok(()),
    })
}

fn words(
    given: &[String],
    flag: &'static str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, CommandError> {
    let words = given.iter().flat_map(|list| list.split(','));
    let checked = |word: &str| match check(word) {
        Ok(()) => Ok(word.to_owned()),
        Err(reason) => Err(CommandError::BadFlag { flag, value: word.to_owned(), reason }),
    };
    words.map(checked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn selection(machine: &str, states: &[&str], types: &[&str]) -> Selection {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let machine = Some(machine.to_owned()).filter(|machine| !machine.is_empty());
        Selection { machine, states: words(states), types: words(types), ..Selection::default() }
    }

    #[track_caller]
    fn check(selection: &Selection, expected_units: &str, expected_files: &str) {
        let mut both = fixture::placed("both.service", fixture::state("active", "running", "success"));
        both.global = true;
        let failed = fixture::state("failed", "failed", "exit-code");
        both.placements.push(v2::Placement {
            machine: "9a8b7c6d00".to_owned(),
            state: Some(failed),
            ..both.placements[0].clone()
        });
        let one = fixture::placed("one.timer", fixture::state("active", "waiting", "success"));
        let nowhere = fixture::unit("nowhere.service", v2::State::Loaded);
        let units = vec![both, nowhere, one];
        let show = |units: Vec<v2::Unit>| {
            let one = |unit: &v2::Unit| format!("{}:{}", unit.name, unit.placements.len());
            units.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(show(selection.of_units(units.clone())), expected_units);
        assert_eq!(show(selection.of_files(units)), expected_files);
    }

    #[test]
    fn units_and_files() {
        check(&Selection::default(), "both.service:2 one.timer:1", "both.service:2 nowhere.service:0 one.timer:1");
        check(&selection("9a8b7c6d00", &[], &[]), "both.service:1", "both.service:2");
        check(&selection("", &["failed"], &[]), "both.service:1", "");
        check(&selection("", &["waiting", "failed"], &[]), "both.service:1 one.timer:1", "");
        check(&selection("", &["loaded"], &[]), "both.service:2 one.timer:1", "nowhere.service:0");
        check(&selection("", &[], &["timer", "path"]), "one.timer:1", "one.timer:1");
        check(&selection("4f1c2a7d00", &["active"], &["service"]), "both.service:1", "");
        let glob = Selection { globs: vec![Glob::new("o*").expect("a glob")], ..Selection::default() };
        check(&glob, "one.timer:1", "one.timer:1");
    }

    #[test]
    fn what_systemd_refused_has_failed_too() {
        let refused =
            v2::UnitState { error: "systemd refused to start it".to_owned(), ..fixture::state("inactive", "dead", "") };
        let failed = fixture::placed("failed.service", fixture::state("failed", "failed", "exit-code"));
        let units = [fixture::placed("refused.service", refused), failed];
        let rows = |refused: bool| -> Vec<String> {
            let selection = Selection { refused, ..selection("", &["failed"], &[]) };
            selection.of_units(units.to_vec()).into_iter().map(|unit| unit.name).collect()
        };
        assert_eq!(rows(true), ["refused.service", "failed.service"]);
        assert_eq!(rows(false), ["failed.service"]);
    }

    #[test]
    fn machines() {
        let present = v2::Machine { cordoned: true, ..fixture::machine("a") };
        let lost = v2::Machine { present: false, lost: Some(v2::Lost { silent_ms: 1 }), ..fixture::machine("b") };
        let given_up = v2::Machine { given_up: true, ..lost.clone() };
        let absent = v2::Machine { present: false, ..fixture::machine("d") };
        for (state, expected) in [
            ("present", [true, false, false, false]),
            ("lost", [false, true, false, false]),
            ("given-up", [false, false, true, false]),
            ("absent", [false, false, false, true]),
            ("cordoned", [true, false, false, false]),
            ("draining", [false; 4]),
        ] {
            let selection = selection("", &[state], &[]);
            assert_eq!([&present, &lost, &given_up, &absent].map(|machine| selection.fits_machine(machine)), expected);
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        let said = |read: Result<Vec<String>, CommandError>| read.expect_err("an error").to_string();
        assert_eq!(
            said(types(&["service,thing".to_owned()])),
            "`--type` has the value `thing`: the types of units are automount, device, mount, path, scope, service, slice, socket, swap, target, timer"
        );
        assert_eq!(
            said(states(&["failed".to_owned()], Some(&["inactive", "loaded"]), "; more")),
            "`--state` has the value `failed`: the states here are inactive, loaded; more"
        );
        assert_eq!(states(&["a,b".to_owned(), "c".to_owned()], None, "").expect("any"), ["a", "b", "c"]);
    }
}
