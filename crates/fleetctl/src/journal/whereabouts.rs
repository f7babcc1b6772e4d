//! Where the journals are that are followed: units move, get their first machine, and come to new machines.
//!
//! The picture of each unit goes in as the API's watch tells it, and out comes what is to be done about its journals. What has happened
//! between two pictures is seen by their difference, so a watch that broke may be opened again at any time.

use std::collections::{BTreeMap, BTreeSet};

use fleet_api::v2::{Placement, State, Unit, WatchEvent};
use fleet_core::unit::Glob;

use crate::wait::{self, legend};

/// One unit's journal on one machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The unit.
    pub unit: String,
    /// The machine's ID.
    pub machine: String,
    /// Its address, if it says one.
    pub ip: Option<String>,
}

impl Place {
    /// One of the places of a unit.
    pub fn new(unit: &Unit, placement: &Placement) -> Place {
        Place { unit: unit.name.clone(), machine: placement.machine.clone(), ip: placement.ip.clone() }
    }

    /// The machine, as people see it.
    pub fn shown(&self) -> String {
        legend(&self.machine, self.ip.as_deref())
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A word to whoever reads.
    Say(String),
    /// The unit was placed there: its journal is read from that moment on.
    Begin(Place),
    /// The unit is there no more, and what it said last is on its way.
    End(Place),
}

/// Which units are meant, and where they are.
#[derive(Debug)]
pub struct Whereabouts {
    names: BTreeSet<String>,
    globs: Vec<Glob>,
    /// What the IDs of the machines begin with that are asked for; nothing for all.
    machine: String,
    trails: BTreeMap<String, Trail>,
    told: Told,
}

/// Whether each unit was told of, as far as there are any.
#[derive(Debug)]
enum Told {
    /// The picture is being told; these were in it. What is not in it is gone, which is known at its end.
    Some(BTreeSet<String>),
    All,
}

/// One unit.
#[derive(Debug, Default)]
struct Trail {
    /// Where its journal is read, by machine: where it is placed, and where it is being taken away.
    read: BTreeMap<String, Place>,
    /// Where it is placed, by machine.
    placed: BTreeMap<String, Place>,
    /// Where it was placed last.
    last: Option<Place>,
    /// What was said of it being on no machine, since it is on none.
    said: Option<Nowhere>,
}

/// Why nothing is to be read of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Nowhere {
    Destroyed,
    Unwanted,
    NoMachine(String),
    /// It is there, which is not what was asked for.
    Elsewhere(String),
}

impl Whereabouts {
    /// Those units are meant, and those that match, on machines whose ID begins with `machine`.
    pub fn new(names: BTreeSet<String>, globs: Vec<Glob>, machine: &str) -> Whereabouts {
        let (machine, trails) = (machine.to_owned(), BTreeMap::new());
        Whereabouts { names, globs, machine, trails, told: Told::Some(BTreeSet::new()) }
    }

    /// A unit as it is at the begin, with the places where its journal is read already.
    ///
    /// Gives a word on why there are none, if it was asked for by its name.
    pub fn begin(&mut self, unit: &Unit, places: &[Place]) -> Option<String> {
        let here: Vec<&Placement> = fitting(unit, &self.machine).collect();
        let trail = self.trails.entry(unit.name.clone()).or_default();
        trail.read = places.iter().map(|place| (place.machine.clone(), place.clone())).collect();
        trail.go_to(unit, &here);
        let nowhere = trail.is_nowhere(Some(unit)).filter(|_| self.names.contains(&unit.name))?;
        Some(nowhere.sentence(&unit.name, None))
    }

    /// Whether no unit is known that is meant.
    pub fn is_empty(&self) -> bool {
        self.trails.is_empty()
    }

    /// The names to watch; none for all units.
    pub fn watched(&self) -> Vec<String> {
        if self.globs.is_empty() { self.names.iter().cloned().collect() } else { Vec::new() }
    }

    /// The watch is opened anew: everything is told once more.
    pub fn begin_again(&mut self) {
        self.told = Told::Some(BTreeSet::new());
    }

    /// Takes in what the watch tells.
    pub fn take(&mut self, event: &WatchEvent) -> Vec<Step> {
        if event.name.is_empty() {
            let Told::Some(told) = std::mem::replace(&mut self.told, Told::All) else { return Vec::new() };
            let gone: Vec<String> = self.trails.keys().filter(|name| !told.contains(*name)).cloned().collect();
            return gone.iter().flat_map(|name| self.look(name, None)).collect();
        }
        if !self.names.contains(&event.name) && !self.globs.iter().any(|glob| glob.matches(&event.name)) {
            return Vec::new();
        }
        if let Told::Some(told) = &mut self.told {
            told.insert(event.name.clone());
        }
        self.look(&event.name, event.unit.as_ref())
    }

    fn look(&mut self, name: &str, unit: Option<&Unit>) -> Vec<Step> {
        let here: Vec<&Placement> = unit.into_iter().flat_map(|unit| fitting(unit, &self.machine)).collect();
        let trail = self.trails.entry(name.to_owned()).or_default();
        let (before, last) = (trail.placed.clone(), trail.last.clone());
        if let Some(unit) = unit {
            trail.go_to(unit, &here);
        } else {
            trail.placed.clear();
        }
        // A unit that was never seen anywhere is not missed by those who did not name it.
        let missed = self.names.contains(name) || last.is_some();
        let words = match trail.is_nowhere(unit) {
            Some(nowhere) => missed.then(|| nowhere.sentence(name, last.as_ref())).into_iter().collect(),
            None => trail.moves(name, unit, &before, last.as_ref()),
        };
        let mut steps: Vec<Step> = words.into_iter().map(Step::Say).collect();
        trail.read.retain(|machine, place| {
            let stays = here.iter().any(|placement| placement.machine == *machine);
            if !stays {
                steps.push(Step::End(place.clone()));
            }
            stays
        });
        for (machine, place) in &trail.placed {
            if trail.read.insert(machine.clone(), place.clone()).is_none() {
                steps.push(Step::Begin(place.clone()));
            }
        }
        steps
    }
}

/// Where a unit is, as far as that is asked for.
fn fitting<'a>(unit: &'a Unit, machine: &str) -> impl Iterator<Item = &'a Placement> {
    unit.placements.iter().filter(move |placement| placement.machine.starts_with(machine))
}

impl Trail {
    fn go_to(&mut self, unit: &Unit, here: &[&Placement]) {
        let placed = here.iter().filter(|placement| placement.placed);
        self.placed = placed.map(|placement| (placement.machine.clone(), Place::new(unit, placement))).collect();
        self.last = self.placed.values().next().cloned().or_else(|| self.last.take());
    }

    /// What there is to say of where it is, if it was placed at `before`, and was anywhere at `last`.
    fn moves(
        &self,
        name: &str,
        unit: Option<&Unit>,
        before: &BTreeMap<String, Place>,
        last: Option<&Place>,
    ) -> Vec<String> {
        let came = self.placed.values().filter(|place| !before.contains_key(&place.machine));
        if !unit.is_some_and(|unit| unit.global) {
            return came.map(|place| moved(name, last, place)).collect();
        }
        let went = before.values().filter(|place| !self.placed.is_empty() && !self.placed.contains_key(&place.machine));
        let came = came.map(|place| match last {
            Some(_) => format!("{name} is on {}, too: its journal there is followed as well", place.shown()),
            None => moved(name, None, place),
        });
        came.chain(went.map(|place| format!("{name} is on {} no more", place.shown()))).collect()
    }

    /// Why nothing is to be read of it, if that is so and was not said yet. While it only moves there is nothing to say.
    fn is_nowhere(&mut self, unit: Option<&Unit>) -> Option<Nowhere> {
        if !self.placed.is_empty() {
            self.said = None;
            return None;
        }
        let nowhere = match unit.filter(|unit| wait::exists(unit)) {
            None => Nowhere::Destroyed,
            Some(unit) if unit.desired_state == State::Inactive => Nowhere::Unwanted,
            Some(unit) => match unit.placements.iter().find(|placement| placement.placed) {
                Some(elsewhere) => Nowhere::Elsewhere(legend(&elsewhere.machine, elsewhere.ip.as_deref())),
                None => Nowhere::NoMachine(unit.waiting.as_ref().and_then(wait::no_machine)?),
            },
        };
        // Reasons change, and to wait goes on.
        let is_new = match (&self.said, &nowhere) {
            (Some(Nowhere::NoMachine(_)), Nowhere::NoMachine(_)) => false,
            (said, nowhere) => said.as_ref() != Some(nowhere),
        };
        self.said = Some(nowhere.clone());
        is_new.then_some(nowhere)
    }
}

fn moved(name: &str, last: Option<&Place>, to: &Place) -> String {
    let shown = to.shown();
    match last {
        None => format!("{name} is on {shown}: its journal begins"),
        Some(last) if last.machine == to.machine => format!("{name} is on {shown} again: its journal goes on"),
        Some(last) => format!("{name} moved from {} to {shown}: its journal goes on there", last.shown()),
    }
}

impl Nowhere {
    fn sentence(&self, name: &str, last: Option<&Place>) -> String {
        let goes_on = if last.is_some() { "goes on" } else { "begins" };
        let then = format!("its journal {goes_on} when it is placed");
        match self {
            Nowhere::Destroyed => format!("{name} does not exist any more: {then}"),
            Nowhere::Unwanted => format!("{name} is on no machine, as was asked for: {then}"),
            Nowhere::NoMachine(reasons) => format!("{name} is on no machine, for none can take it ({reasons}): {then}"),
            Nowhere::Elsewhere(machine) => {
                format!("{name} is on {machine} now: {then} on the machine that was asked for")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet_api::v2::{Refusal, Waiting};

    use super::*;
    use crate::fixture;

    /// Reads `web@1:launched:a,b-`: a unit, what is wanted of it, and its machines; it is being taken away from those with a `-`. Behind
    /// `!` there is why no machine can take it. A lone `web@1` does not exist; `-` has no name. `*` marks a global unit.
    fn event(text: &str) -> WatchEvent {
        let event = |name: &str, unit| WatchEvent { revision: 1, name: name.to_owned(), unit };
        let mut parts = text.split(':');
        let name = match parts.next().expect("a name") {
            "-" => return event("", None),
            name => format!("{name}.service"),
        };
        let Some(state) = parts.next() else { return event(&name, None) };
        let (state, global) = state.strip_suffix('*').map_or((state, false), |state| (state, true));
        let state = if state == "launched" { State::Launched } else { State::Inactive };
        let mut unit = Unit { global, ..fixture::unit(&name, state) };
        let rest = parts.next().unwrap_or_default();
        if let Some(reason) = rest.strip_prefix('!') {
            let (constraint, reason) = (reason.to_owned(), String::new());
            let refusals = vec![Refusal { machines: vec!["a".to_owned()], constraint, reason }];
            unit.waiting = Some(Waiting { summary: String::new(), machines: 1, refusals });
        } else {
            unit.placements = rest.split(',').filter(|id| !id.is_empty()).map(placement).collect();
        }
        event(&name, Some(unit))
    }

    fn placement(text: &str) -> Placement {
        let (machine, placed) = text.strip_suffix('-').map_or((text, true), |machine| (machine, false));
        let (done, state, lost) = (false, None, None);
        Placement { machine: machine.to_owned(), ip: Some(format!("10.0.0.{machine}")), placed, done, state, lost }
    }

    fn show(step: &Step) -> String {
        match step {
            Step::Say(word) => format!("say: {word}"),
            Step::Begin(place) => format!("begin {} {}", place.unit, place.machine),
            Step::End(place) => format!("end {} {}", place.unit, place.machine),
        }
    }

    /// Units as they are at the begin, then what is told, and after each `=>` what is to be done. `begin again` opens the watch anew.
    #[track_caller]
    fn check(names: &str, glob: &str, machine: &str, script: &str) {
        let names = names.split_whitespace().map(|name| format!("{name}.service")).collect();
        let globs = glob.split_whitespace().map(|glob| Glob::new(glob).expect("a glob")).collect();
        let mut whereabouts = Whereabouts::new(names, globs, machine);
        let mut seen = String::new();
        let mut steps: Vec<String> = Vec::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("=>")) {
            seen += &format!("{line}\n");
            if let Some(begin) = line.strip_prefix("at first ") {
                let unit = event(begin).unit.expect("a unit");
                let places: Vec<Place> = fitting(&unit, machine).map(|one| Place::new(&unit, one)).collect();
                steps.extend(whereabouts.begin(&unit, &places).map(|word| format!("say: {word}")));
            } else if line == "begin again" {
                whereabouts.begin_again();
            } else {
                steps.extend(whereabouts.take(&event(line)).iter().map(show));
            }
            steps.drain(..).for_each(|step| seen += &format!("=> {step}\n"));
        }
        let wanted: String =
            script.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_drained_machine_is_left() {
        check(
            "web db",
            "",
            "",
            "at first web:launched:a
             at first db:launched:b
             web:launched:a
             db:launched:b
             -
             web:launched:a-
             web:launched:
             => end web.service a
             web:launched:b
             => say: web.service moved from a.../10.0.0.a to b.../10.0.0.b: its journal goes on there
             => begin web.service b
             web:launched:b
             db:launched:b
             -",
        );
    }

    #[test]
    fn the_new_machine_has_it_before_the_old_one_has_let_go() {
        check(
            "web",
            "",
            "",
            "at first web:launched:a
             web:launched:a-,b
             => say: web.service moved from a.../10.0.0.a to b.../10.0.0.b: its journal goes on there
             => begin web.service b
             web:launched:b
             => end web.service a
             web:launched:a,b-
             => say: web.service moved from b.../10.0.0.b to a.../10.0.0.a: its journal goes on there
             => begin web.service a
             web:launched:a-,b
             => say: web.service moved from a.../10.0.0.a to b.../10.0.0.b: its journal goes on there",
        );
    }

    #[test]
    fn what_happened_while_nobody_told() {
        check(
            "web db api",
            "",
            "",
            "at first web:launched:a
             at first db:launched:a
             at first api:launched:a
             begin again
             web:launched:b
             => say: web.service moved from a.../10.0.0.a to b.../10.0.0.b: its journal goes on there
             => end web.service a
             => begin web.service b
             api:launched:a
             -
             => say: db.service does not exist any more: its journal goes on when it is placed
             => end db.service a
             db:launched:a
             => say: db.service is on a.../10.0.0.a again: its journal goes on
             => begin db.service a",
        );
    }

    #[test]
    fn a_unit_that_is_nowhere_yet_or_any_more() {
        check(
            "web",
            "",
            "",
            "at first web:inactive
             => say: web.service is on no machine, as was asked for: its journal begins when it is placed
             web:inactive
             web:launched:
             web:launched:!disk=ssd
             => say: web.service is on no machine, for none can take it (1 machine: disk=ssd): its journal begins when it is placed
             web:launched:!disk=nvme
             web:launched:a
             => say: web.service is on a.../10.0.0.a: its journal begins
             => begin web.service a
             web:inactive:a-
             => say: web.service is on no machine, as was asked for: its journal goes on when it is placed
             web:inactive
             => end web.service a
             web
             => say: web.service does not exist any more: its journal goes on when it is placed
             web:launched:b
             => say: web.service moved from a.../10.0.0.a to b.../10.0.0.b: its journal goes on there
             => begin web.service b",
        );
    }

    #[test]
    fn a_global_unit_comes_to_new_machines() {
        check(
            "log",
            "",
            "",
            "at first log:launched*:a,b
             log:launched*:a,b,c
             => say: log.service is on c.../10.0.0.c, too: its journal there is followed as well
             => begin log.service c
             log:launched*:b,c
             => say: log.service is on a.../10.0.0.a no more
             => end log.service a
             log:inactive*:b-,c-
             => say: log.service is on no machine, as was asked for: its journal goes on when it is placed
             log:inactive*
             => end log.service b
             => end log.service c",
        );
    }

    #[test]
    fn new_units_that_match() {
        check(
            "",
            "web@*",
            "",
            "at first web@1:launched:a
             at first web@2:inactive
             web@1:launched:a
             web@2:inactive
             db:launched:a
             -
             web@3:launched:
             web@3:launched:!none
             web@3:launched:b
             => say: web@3.service is on b.../10.0.0.b: its journal begins
             => begin web@3.service b
             begin again
             web@2:inactive
             web@3:launched:b
             -
             => say: web@1.service does not exist any more: its journal goes on when it is placed
             => end web@1.service a",
        );
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let glob = vec![Glob::new("web@*").expect("a glob")];
        assert!(Whereabouts::new(names(&["a.service"]), glob, "").watched().is_empty(), "all, for others may match");
        assert_eq!(Whereabouts::new(names(&["a.service"]), Vec::new(), "").watched(), ["a.service"]);
    }

    #[test]
    fn only_one_machine() {
        check(
            "web",
            "",
            "a",
            "at first web:launched:a
             web:launched:b
             => say: web.service is on b.../10.0.0.b now: its journal goes on when it is placed on the machine that was asked for
             => end web.service a
             web:launched:c
             => say: web.service is on c.../10.0.0.c now: its journal goes on when it is placed on the machine that was asked for
             web:launched:a
             => say: web.service is on a.../10.0.0.a again: its journal goes on
             => begin web.service a",
        );
    }
}
