//! What an import would do: for each unit that is offered, given what the cluster has.

use std::collections::{BTreeMap, BTreeSet};

use fleet_api::v2;
use fleet_core::unit::{CheckedUnit, Form, Problem, Strictness, UnitName, check};
use serde::Serialize;

use super::offer::Offer;

/// How units are to be taken over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Whether a file may take the place of a different one in the cluster.
    pub replace: bool,
    /// Whether only the files are wanted, and no unit is to be taken anywhere yet.
    pub inactive: bool,
}

/// What happens to one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The cluster does not have it yet.
    Create,
    /// The cluster has another file of that name, which this one replaces.
    Replace,
    /// The cluster has it; its desired state is set.
    Set,
    /// It is as wanted already.
    None,
    /// It cannot be taken as it is.
    Refuse,
}

impl Action {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Replace => "replace",
            Action::Set => "set",
            Action::None => "none",
            Action::Refuse => "refuse",
        }
    }
}

/// One unit of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub action: Action,
    /// How far it is taken in the end; nothing if it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<v2::State>,
    /// What will be different from where it came from, and if it is refused, why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What to ask the cluster for.
    #[serde(skip)]
    pub change: Option<v2::Change>,
}

/// Plans an import, by name.
pub fn plan(offers: Vec<Offer>, known: &BTreeMap<String, v2::Unit>, wish: Wish) -> Vec<Planned> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<String> =
        offers.iter().filter(|offer| !seen.insert(&offer.name)).map(|offer| offer.name.clone()).collect();
    let mut planned: Vec<Planned> = Vec::new();
    for offer in offers {
        if twice.contains(&offer.name) {
            let already = planned.iter().any(|planned| planned.name == offer.name);
            planned.extend((!already).then(|| refused(&offer.name, vec!["the source has it twice".to_owned()])));
        } else {
            let existing = known.get(&offer.name);
            planned.push(one(offer, existing, wish));
        }
    }
    planned.sort_by(|a, b| a.name.cmp(&b.name));
    planned
}

fn one(offer: Offer, existing: Option<&v2::Unit>, wish: Wish) -> Planned {
    let Offer { name, text, state, mut notes } = offer;
    let parsed: UnitName = match name.parse() {
        Ok(parsed) => parsed,
        Err(err) => return refused(&name, vec![format!("{err}")]),
    };
    let text = match text {
        Ok(text) => text,
        Err(reason) => return refused(&name, vec![reason]),
    };
    // Mistakes that the original ignored mean here what they meant there; the notes say so.
    let CheckedUnit { file, warnings, .. } = match check(&parsed, &text, Strictness::Lenient) {
        Ok(checked) => checked,
        Err(problems) => return refused(&name, problems.iter().map(note).collect()),
    };
    notes.extend(warnings.iter().map(note));
    if file.options().iter().any(|option| option.section == "Install") {
        notes.push("[Install] has no effect: only the desired state starts units".to_owned());
    }
    let mut state = state.filter(|_| !wish.inactive);
    if let (Form::Template, Some(wanted @ (v2::State::Loaded | v2::State::Launched))) = (parsed.form(), state) {
        notes.push(format!("a template cannot be {}: it becomes inactive", wanted.as_str()));
        state = Some(v2::State::Inactive);
    }
    let mut change = v2::Change { name: name.clone(), lenient: true, ..v2::Change::default() };
    let (action, desired_state) = match existing {
        None => {
            change.text = Some(text);
            change.desired_state = state.filter(|state| *state != v2::State::Inactive);
            (Action::Create, state.unwrap_or(v2::State::Inactive))
        }
        Some(unit) => {
            let other_file = unit.hash != file.hash().to_string();
            if other_file && !wish.replace {
                let why = "the cluster has another file of that name; `--replace` puts this one in its place";
                return refused(&name, vec![why.to_owned()]);
            }
            if other_file {
                change.text = Some(text);
                change.replace = true;
            }
            // To ask for what is so already would be a request to start.
            change.desired_state = state.filter(|state| *state != unit.desired_state);
            let action = match (other_file, change.desired_state) {
                (true, _) => Action::Replace,
                (false, Some(_)) => Action::Set,
                (false, None) => Action::None,
            };
            (action, state.unwrap_or(unit.desired_state))
        }
    };
    let change = (action != Action::None).then_some(change);
    Planned { name, action, desired_state: Some(desired_state), notes, change }
}

fn refused(name: &str, notes: Vec<String>) -> Planned {
    Planned { name: name.to_owned(), action: Action::Refuse, desired_state: None, notes, change: None }
}

fn note(problem: &Problem) -> String {
    let place = problem.line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{place}{}{hint}", problem.message)
}

#[cfg(test)]
mod tests {
    use fleet_core::unit::UnitFile;

    use super::*;
    use crate::fixture;

    const TEXT: &str = "[Service]\nExecStart=/bin/a\n";

    #[track_caller]
    fn check(offers: &[(&str, &str, Option<v2::State>)], existing: &[(&str, &str)], wish: Wish, expected: &[&str]) {
        let offers = offers
            .iter()
            .map(|(name, text, state)| Offer { state: *state, ..Offer::file(name, Ok((*text).to_owned())) });
        let known = existing.iter().map(|(name, text)| {
            let hash = UnitFile::parse(text).expect("a file").hash().to_string();
            ((*name).to_owned(), v2::Unit { hash, ..fixture::unit(name, v2::State::Loaded) })
        });
        let show = |planned: &Planned| {
            let state = planned.desired_state.map_or("-", v2::State::as_str);
            let change = planned.change.as_ref().map_or_else(String::new, |change| {
                let asked = change.desired_state.map_or("-", v2::State::as_str);
                format!(" [{}{asked}]", if change.text.is_some() { "file " } else { "" })
            });
            let notes: String = planned.notes.iter().map(|note| format!("; {note}")).collect();
            format!("{} {} {state}{change}{notes}", planned.name, planned.action.as_str())
        };
        let planned = plan(offers.collect(), &known.collect(), wish);
        assert_eq!(planned.iter().map(show).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn new_units() {
        let wish = Wish::default();
        check(
            &[
                ("b.service", TEXT, Some(v2::State::Launched)),
                ("a.service", TEXT, Some(v2::State::Inactive)),
                ("c.service", TEXT, None),
                ("d@.service", TEXT, Some(v2::State::Launched)),
            ],
            &[],
            wish,
            &[
                "a.service create inactive [file -]",
                "b.service create launched [file launched]",
                "c.service create inactive [file -]",
                "d@.service create inactive [file -]; a template cannot be launched: it becomes inactive",
            ],
        );
        let inactive = Wish { inactive: true, ..wish };
        let launched = [("b.service", TEXT, Some(v2::State::Launched))];
        check(&launched, &[], inactive, &["b.service create inactive [file -]"]);
        check(&launched, &[("b.service", TEXT)], inactive, &["b.service none loaded"]);
    }

    #[test]
    fn units_that_exist() {
        let other = "[Service]\nExecStart=/bin/b\n";
        let (launched, loaded) = (Some(v2::State::Launched), Some(v2::State::Loaded));
        let existing = [("a.service", TEXT), ("b.service", other), ("c.service", TEXT), ("d.service", TEXT)];
        let offers = [
            ("a.service", TEXT, launched),
            ("b.service", TEXT, launched),
            ("c.service", TEXT, loaded),
            ("d.service", TEXT, None),
        ];
        let clash = "the cluster has another file of that name; `--replace` puts this one in its place";
        check(
            &offers,
            &existing,
            Wish::default(),
            &[
                "a.service set launched [launched]",
                &format!("b.service refuse -; {clash}"),
                "c.service none loaded",
                "d.service none loaded",
            ],
        );
        let replace = Wish { replace: true, ..Wish::default() };
        check(&offers[1..2], &existing, replace, &["b.service replace launched [file launched]"]);
    }

    #[test]
    fn what_differs_and_what_cannot_be() {
        check(
            &[
                ("a.service", "[Service]\nExecStart=/bin/a\n\n[Install]\nWantedBy=multi-user.target\n", None),
                ("b.service", "[Service]\nExecStart=/bin/b\n\n[X-Fleet]\nMachineMetdata=a=b\n", None),
                ("c.scope", "[Scope]\nA=b\n", None),
                ("d.busname", TEXT, None),
                ("e.service", "[Service\n", None),
                ("f.service", TEXT, None),
                ("f.service", TEXT, None),
            ],
            &[],
            Wish::default(),
            &[
                "a.service create inactive [file -]; [Install] has no effect: only the desired state starts units",
                "b.service create inactive [file -]; line 5: unrecognized requirement in [X-Fleet] section: \
                 \"MachineMetdata\" (did you mean `MachineMetadata`?)",
                "c.scope refuse -; cannot load `c.scope`: systemd has scopes only for running processes, not from files \
                 (write a service)",
                "d.busname refuse -; invalid unit type: \"busname\" in unit name `d.busname`",
                "e.service refuse -; line 1: unable to find end of section: `[Service` has no `]` (a section starts with a \
                 line such as `[Service]`)",
                "f.service refuse -; the source has it twice",
            ],
        );
    }
}
