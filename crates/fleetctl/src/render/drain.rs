//! What is said of a machine that is drained: decided here, printed by the shell.

use std::collections::BTreeSet;

use fleet_api::v2::{DrainProgress, DrainStep, DrainUnit};

use crate::wait::short_id;

/// How many units are named in one sentence.
const NAMED_MAX: usize = 5;

/// How a drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something moves or is about to.
    UnderWay,
    /// All that may move has.
    Emptied,
    /// What is left cannot go, or the drain was ended.
    Ended,
}

/// A drain as it goes on.
#[derive(Debug)]
pub struct Emptying {
    machine: String,
    /// The units that are to go; those that nobody wants any more are taken out when they are gone.
    to_go: BTreeSet<String>,
    last: DrainProgress,
    said: String,
}

impl Emptying {
    /// Begins with what is on the machine.
    pub fn new(machine: &str, before: &DrainProgress) -> Emptying {
        let to_go = before.units.iter().filter(|unit| unit.step != DrainStep::Stays);
        let to_go = to_go.map(|unit| unit.name.clone()).collect();
        Emptying { machine: machine.to_owned(), to_go, last: before.clone(), said: String::new() }
    }

    /// Takes in how far it is.
    pub fn take_in(&mut self, progress: &DrainProgress) -> Standing {
        self.last = progress.clone();
        // Some may have come in just before the machine was closed.
        let left: Vec<String> = self.left_units().map(|unit| unit.name.clone()).collect();
        self.to_go.extend(left);
        let is_moving =
            |unit: &DrainUnit| matches!(unit.step, DrainStep::Stopping | DrainStep::Moving | DrainStep::Queued);
        match () {
            () if self.left_units().next().is_none() => Standing::Emptied,
            () if progress.draining.is_none() || !progress.present => Standing::Ended,
            () if progress.braked || self.left_units().any(is_moving) => Standing::UnderWay,
            () => Standing::Ended,
        }
    }

    /// `3 units`.
    pub fn to_move(&self) -> String {
        n_units(self.to_go.len())
    }

    /// How far it is, on one line.
    pub fn sentence(&self) -> String {
        let left: Vec<&DrainUnit> = self.left_units().collect();
        let n_gone = self.to_go.len() - left.len();
        let mut sentence = format!("{n_gone} of {} moved from {}", self.to_move(), self.machine);
        if self.last.braked {
            sentence += "; the brake is on, and nothing moves until every lost machine is back or given up";
        }
        let named: Vec<String> = left.iter().take(NAMED_MAX).map(|unit| of(unit)).collect();
        if !named.is_empty() {
            sentence += &format!("; {}", named.join(", "));
        }
        match left.len() - named.len() {
            0 => sentence,
            n_more => format!("{sentence} and {n_more} more"),
        }
    }

    /// The same, if it is another than the last time.
    pub fn news(&mut self) -> Option<String> {
        let sentence = self.sentence();
        let is_new = sentence != self.said;
        self.said.clone_from(&sentence);
        is_new.then_some(sentence)
    }

    /// How it ended.
    pub fn summary(&self) -> String {
        let n_left = self.left_units().count();
        let n_global = self.last.units.len() - n_left;
        let globals = match n_global {
            0 => String::new(),
            1 => "; 1 global unit stays".to_owned(),
            n => format!("; {n} global units stay"),
        };
        format!("{}: {} of {} moved{globals}", self.machine, self.to_go.len() - n_left, self.to_move())
    }

    /// What is left on the machine, one a line, with the reasons.
    pub fn left(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        if !self.last.present {
            lines.push(format!(
                "{} is not present: its units are placed elsewhere when it has been lost for long enough",
                self.machine
            ));
        } else if self.last.draining.is_none() {
            lines.push(format!("{} was uncordoned or cordoned meanwhile, by somebody else", self.machine));
        }
        lines.extend(self.left_units().map(|unit| match unit.step {
            DrainStep::Stuck => format!("{} stays: no other machine can take it: {}", unit.name, unit.reason),
            DrainStep::Failed => format!("{} stays: {}", unit.name, failed(unit)),
            _ => of(unit),
        }));
        lines
    }

    fn left_units(&self) -> impl Iterator<Item = &DrainUnit> {
        self.last.units.iter().filter(|unit| unit.step != DrainStep::Stays)
    }
}

fn n_units(n: usize) -> String {
    if n == 1 { "1 unit".to_owned() } else { format!("{n} units") }
}

fn of(unit: &DrainUnit) -> String {
    let name = &unit.name;
    match (unit.step, &unit.to) {
        (DrainStep::Stays, _) => format!("{name} stays"),
        (DrainStep::Stopping, _) => format!("{name} is being stopped first"),
        (DrainStep::Moving, Some(to)) => format!("{name} is not up on {} yet", short_id(to)),
        (DrainStep::Moving, None) => format!("{name} waits for units that go with it"),
        (DrainStep::Failed, _) => format!("{name} {}", failed(unit)),
        (DrainStep::Queued, _) => format!("{name} waits for its turn"),
        (DrainStep::Stuck, _) => format!("{name} fits nowhere else"),
    }
}

fn failed(unit: &DrainUnit) -> String {
    let to = unit.to.as_deref().map_or_else(|| "its new machine".to_owned(), short_id);
    format!("has failed on {to} and runs on here; see `fleetctl status {}`", unit.name)
}

#[cfg(test)]
mod tests {
    use fleet_api::v2::Draining;

    use super::*;

    fn progress(units: &[(&str, DrainStep)]) -> DrainProgress {
        let unit = |(name, step): &(&str, DrainStep)| DrainUnit {
            name: (*name).to_owned(),
            step: *step,
            to: matches!(step, DrainStep::Moving | DrainStep::Failed).then(|| "9a8b7c6d00".to_owned()),
            reason: if *step == DrainStep::Stuck { "1 machine: cordoned".to_owned() } else { String::new() },
        };
        let draining = Some(Draining { since_ms: 0, max_at_once: 4 });
        DrainProgress { revision: 1, draining, present: true, braked: false, units: units.iter().map(unit).collect() }
    }

    #[test]
    fn a_drain_from_begin_to_end() {
        use DrainStep::{Failed, Moving, Queued, Stays, Stopping, Stuck};
        let mut emptying = Emptying::new(
            "4f1c2a7d...",
            &progress(&[("a", Stuck), ("b", Stuck), ("c", Stuck), ("d", Stuck), ("e", Stuck), ("g", Stays)]),
        );
        let steps = [
            progress(&[("a", Moving), ("b", Stopping), ("c", Queued), ("d", Queued), ("e", Stuck), ("g", Stays)]),
            progress(&[("a", Moving), ("b", Stopping), ("c", Queued), ("d", Queued), ("e", Stuck), ("g", Stays)]),
            DrainProgress { braked: true, ..progress(&[("c", Queued), ("e", Stuck), ("g", Stays)]) },
            progress(&[("d", Failed), ("e", Stuck), ("g", Stays)]),
        ];
        let mut seen = String::new();
        for step in steps {
            let standing = emptying.take_in(&step);
            seen += &format!("{standing:?}: {}\n", emptying.news().unwrap_or_default());
        }
        seen += &format!("{}\n{}\n", emptying.summary(), emptying.left().join("\n"));
        expect_test::expect![[r#"
            UnderWay: 0 of 5 units moved from 4f1c2a7d...; a is not up on 9a8b7c6d... yet, b is being stopped first, c waits for its turn, d waits for its turn, e fits nowhere else
            UnderWay: 
            UnderWay: 3 of 5 units moved from 4f1c2a7d...; the brake is on, and nothing moves until every lost machine is back or given up; c waits for its turn, e fits nowhere else
            Ended: 3 of 5 units moved from 4f1c2a7d...; d has failed on 9a8b7c6d... and runs on here; see `fleetctl status d`, e fits nowhere else
            4f1c2a7d...: 3 of 5 units moved; 1 global unit stays
            d stays: has failed on 9a8b7c6d... and runs on here; see `fleetctl status d`
            e stays: no other machine can take it: 1 machine: cordoned
        "#]].assert_eq(&seen);

        assert_eq!(emptying.take_in(&progress(&[("g", Stays)])), Standing::Emptied);
        assert_eq!(emptying.left(), [""; 0]);
        let ended = DrainProgress { draining: None, ..progress(&[("c", Queued)]) };
        assert_eq!(emptying.take_in(&ended), Standing::Ended);
        assert_eq!(
            emptying.left(),
            ["4f1c2a7d... was uncordoned or cordoned meanwhile, by somebody else", "c waits for its turn"]
        );
        let lost = DrainProgress { present: false, ..progress(&[("c", Stuck)]) };
        assert_eq!(emptying.take_in(&lost), Standing::Ended);
    }
}
