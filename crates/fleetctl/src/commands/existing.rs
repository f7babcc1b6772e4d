//! `stop`, `unload`, `restart`, `destroy`: commands on units that the cluster has.

use std::collections::BTreeMap;

use fleet_api::v2;

use crate::cli::Block;
use crate::commands::create::{accepted, change, report_state};
use crate::commands::session::Session;
use crate::commands::waiting::{self, Order};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names::{self, Purpose, Selected};
use crate::wait::{Expected, Goal};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To loaded.
    Stop,
    /// To inactive.
    Unload,
    /// Again, where it is.
    Restart,
    /// Away.
    Destroy,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Stop => "stop",
            Verb::Unload => "unload",
            Verb::Restart => "restart",
            Verb::Destroy => "destroy",
        }
    }

    fn goal(self) -> Goal {
        match self {
            Verb::Stop => Goal::Stopped,
            Verb::Unload => Goal::Unloaded,
            Verb::Restart => Goal::Launched,
            Verb::Destroy => Goal::Destroyed,
        }
    }
}

/// Carries one of them out.
pub async fn run(session: &Session<'_>, verb: Verb, units: &[String], block: Block) -> Result<Exit, CommandError> {
    if units.is_empty() {
        return Err(CommandError::NoUnits { command: verb.word() });
    }
    let (arguments, errors) = names::arguments(units, Purpose::Existing);
    let mut exit = session.report_all(&errors);
    let known = session.lookup(&arguments).await?;
    let (selected, errors) = names::units_of(&arguments, &known);
    let errors = session.with_similar(errors).await;
    exit = exit.and(session.report_all(&errors));
    let mut changes = Vec::new();
    for one in &selected {
        match change_of(verb, one) {
            Ok(change) => changes.extend(change),
            Err(err) => exit = exit.and(session.report(&err)),
        }
    }
    let response = change(session, changes).await?;
    let (mut expected, mut in_order) = (BTreeMap::new(), Vec::new());
    for result in response.results {
        match accepted(result) {
            Ok(result) => {
                // Only a restart waits for the counter: a stop may well overtake somebody else's restart.
                let restarts = if verb == Verb::Restart { result.restarts } else { 0 };
                let one = Expected { goal: verb.goal(), generation: result.generation, restarts };
                in_order.push(result.name.clone());
                expected.insert(result.name, one);
            }
            Err(err) => exit = exit.and(session.report(&err)),
        }
    }
    let mut done = Vec::new();
    if block.no_block {
        for name in in_order {
            if !block.quiet {
                session.console.line(&triggered(verb, &known[&name]))?;
            }
            done.push(name);
        }
    } else {
        let order = Order { expected, revision: response.revision, limit: block.limit(), quiet: block.quiet };
        let waited = waiting::wait(session, order, |name, unit| {
            done.push(name.to_owned());
            match verb {
                _ if block.quiet => Ok(()),
                Verb::Stop => report_state(session, unit, v2::State::Loaded),
                Verb::Restart => report_state(session, unit, v2::State::Launched),
                Verb::Unload => Ok(session.console.line(&format!("Unit {name} inactive"))?),
                Verb::Destroy => Ok(session.console.line(&format!("Destroyed {name}"))?),
            }
        })
        .await?;
        exit = exit.and(waited);
    }
    // After nothing but errors there is no success to speak of.
    if let Some(past) = past(verb).filter(|_| !block.quiet && (exit == Exit::Ok || !done.is_empty())) {
        done.sort_by_key(|name| selected.iter().position(|one| one.unit.name == *name));
        session.console.talk(&format!("Successfully {past} units [{}].", done.join(" ")));
    }
    Ok(exit)
}

/// The participle of the line at the end, for the commands that have one.
fn past(verb: Verb) -> Option<&'static str> {
    match verb {
        Verb::Stop => Some("stopped"),
        Verb::Unload => Some("unloaded"),
        Verb::Restart | Verb::Destroy => None,
    }
}

fn triggered(verb: Verb, unit: &v2::Unit) -> String {
    match (verb, unit.global) {
        (Verb::Destroy, _) => format!("Destroyed {}", unit.name),
        (verb, true) => format!("Triggered global unit {} {}", unit.name, verb.word()),
        (verb, false) => format!("Triggered unit {} {}", unit.name, verb.word()),
    }
}

/// What to ask for; nothing if there is nothing to do. Looks at what is *desired*: a unit that waits for a machine can be
/// stopped and unloaded like any other.
fn change_of(verb: Verb, selected: &Selected<'_>) -> Result<Option<v2::Change>, CommandError> {
    let unit = selected.unit;
    let change = v2::Change { name: unit.name.clone(), ..v2::Change::default() };
    let inactive = unit.desired_state == v2::State::Inactive;
    Ok(match verb {
        Verb::Destroy => Some(v2::Change { destroy: true, ..change }),
        Verb::Unload if inactive && unit.placements.is_empty() => None,
        Verb::Unload => Some(v2::Change { desired_state: Some(v2::State::Inactive), ..change }),
        Verb::Stop | Verb::Restart if inactive => {
            // Among many that a pattern matched it is no mistake that one is not there to be stopped.
            if selected.explicit {
                return Err(CommandError::Inactive { verb: verb.word(), name: unit.name.clone() });
            }
            None
        }
        Verb::Stop => Some(v2::Change { desired_state: Some(v2::State::Loaded), ..change }),
        Verb::Restart if unit.desired_state == v2::State::Loaded => {
            Some(v2::Change { desired_state: Some(v2::State::Launched), ..change })
        }
        Verb::Restart => Some(v2::Change { restart: true, ..change }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(verb: Verb, desired: v2::State, explicit: bool, expected: &str) {
        let unit = v2::Unit {
            fitting: None,
            name: "a.service".to_owned(),
            hash: String::new(),
            desired_state: desired,
            current_state: v2::State::Inactive,
            generation: 1,
            restarts: 0,
            global: false,
            description: None,
            placements: Vec::new(),
            waiting: None,
        };
        let got = match change_of(verb, &Selected { unit: &unit, explicit }) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(change)) => serde_json::to_string(&change).expect("a change is JSON"),
            Err(err) => err.to_string(),
        };
        assert_eq!(got, expected, "{verb:?} {desired:?}");
    }

    #[test]
    fn changes() {
        use v2::State::{Inactive, Launched, Loaded};
        let to = |state: &str| format!(r#"{{"name":"a.service","desired_state":"{state}"}}"#);
        check(Verb::Stop, Launched, true, &to("loaded"));
        check(Verb::Stop, Loaded, true, &to("loaded"));
        check(Verb::Stop, Inactive, true, "Unable to stop unit a.service in state inactive");
        check(Verb::Stop, Inactive, false, "nothing");
        check(Verb::Unload, Launched, true, &to("inactive"));
        check(Verb::Unload, Inactive, true, "nothing");
        check(Verb::Restart, Launched, true, r#"{"name":"a.service","restart":true}"#);
        check(Verb::Restart, Loaded, true, &to("launched"));
        check(Verb::Restart, Inactive, true, "Unable to restart unit a.service in state inactive");
        check(Verb::Restart, Inactive, false, "nothing");
        check(Verb::Destroy, Inactive, true, r#"{"name":"a.service","destroy":true}"#);
    }
}
