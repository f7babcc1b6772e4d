//! What users ask for, and what they were told became of it.

use std::collections::{BTreeMap, BTreeSet};

use fleet_api::v2;
use fleet_core::model::TargetState;
use fleet_core::unit::{UnitFile, UnitName};
use fleet_store::registry::View;

use crate::units::Family;

/// One wish of a user about one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It shall exist in this version and be taken so far.
    Put(u64, TargetState),
    /// It shall be taken so far, if it exists.
    Set(TargetState),
    /// It shall be restarted, if it exists.
    Restart,
    /// It shall not exist.
    Destroy,
}

/// A unit as it may be: its version and how far it is to be taken, or that it does not exist.
type Possible = Option<(u64, TargetState)>;

impl Wish {
    /// The wish as a daemon is asked for it.
    pub(crate) fn change(self, name: &UnitName) -> v2::Change {
        let mut change = v2::Change {
            name: name.to_string(),
            text: None,
            from_template: false,
            replace: false,
            lenient: false,
            desired_state: None,
            restart: false,
            destroy: false,
            generation: None,
        };
        match self {
            Wish::Put(version, target) => {
                change.text = Some(Family::of(name).text(name, version));
                change.replace = true;
                change.desired_state = Some(state(target));
            }
            Wish::Set(target) => change.desired_state = Some(state(target)),
            Wish::Restart => change.restart = true,
            Wish::Destroy => change.destroy = true,
        }
        change
    }

    /// What becomes of a unit; `None` if the wish cannot be granted.
    fn granted(self, unit: Possible) -> Option<Possible> {
        match (self, unit) {
            (Wish::Put(version, target), _) => Some(Some((version, target))),
            (Wish::Set(target), Some((version, _))) => Some(Some((version, target))),
            // A restart of what is not to run is a start.
            (Wish::Restart, Some((version, _))) => Some(Some((version, TargetState::Launched))),
            (Wish::Destroy, Some(_)) => Some(None),
            (Wish::Set(_) | Wish::Restart | Wish::Destroy, None) => None,
        }
    }
}

fn state(target: TargetState) -> v2::State {
    match target {
        TargetState::Inactive => v2::State::Inactive,
        TargetState::Loaded => v2::State::Loaded,
        TargetState::Launched => v2::State::Launched,
    }
}

/// What a user was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// It is so already.
    Same,
    /// It was refused, because there is no such unit.
    NoSuchUnit,
    /// It was refused, and nothing was written.
    NotWritten,
    /// No answer, or that nothing is known.
    Unknown,
}

/// What each unit can be by all that users were told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    possible: BTreeMap<UnitName, BTreeSet<Possible>>,
    /// Units about which a user waits for an answer: nobody asks for more of them meanwhile.
    busy: BTreeSet<UnitName>,
    /// Until when a wish of which nothing is known may still be carried out, because its request is under way.
    open_until_ms: BTreeMap<UnitName, u64>,
}

/// How long a request may be under way after its daemon died. Milliseconds; source: `Weather::foul`.
const UNDER_WAY_MS: u64 = 3_100;

impl Ledger {
    /// Begins a wish; `false` if another one about the unit is under way.
    pub(crate) fn begin(&mut self, unit: &UnitName) -> bool {
        self.busy.insert(unit.clone())
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.busy.is_empty()
    }

    /// Notes the answer. An acknowledged wish is carried out; one of which nothing is known may be, now or later, until
    /// another one about the unit is acknowledged.
    ///
    /// # Errors
    /// The answer cannot be true.
    pub(crate) fn answered(&mut self, now_ms: u64, unit: &UnitName, wish: Wish, answer: Answer) -> Result<(), String> {
        self.busy.remove(unit);
        let is_settled = self.open_until_ms.get(unit).is_none_or(|until_ms| *until_ms < now_ms);
        let possible = self.possible.entry(unit.clone()).or_insert_with(|| BTreeSet::from([None]));
        let after: BTreeSet<Possible> = possible.iter().filter_map(|&before| wish.granted(before)).collect();
        match answer {
            Answer::Done if after.is_empty() => {
                return Err(format!("{wish:?} of {unit} was acknowledged, and there was no such unit"));
            }
            Answer::Done => *possible = after,
            Answer::Same => {
                let is_so = |before: &Possible| wish.granted(*before) == Some(*before);
                let same: BTreeSet<Possible> = possible.iter().copied().filter(is_so).collect();
                if same.is_empty() {
                    return Err(format!(
                        "{unit} was said to be {wish:?} already, and users were told that it is one of {possible:?}"
                    ));
                }
                if is_settled {
                    *possible = same;
                }
            }
            Answer::NoSuchUnit => {
                if !possible.contains(&None) {
                    return Err(format!(
                        "{unit} was said not to exist, and users were told that it is one of {possible:?}"
                    ));
                }
                if is_settled {
                    *possible = BTreeSet::from([None]);
                }
            }
            Answer::Unknown => {
                possible.extend(after);
                self.open_until_ms.insert(unit.clone(), now_ms + UNDER_WAY_MS);
            }
            Answer::NotWritten => (),
        }
        Ok(())
    }

    /// The units that exist, for all that is known.
    pub(crate) fn existing(&self) -> Vec<UnitName> {
        let exists = |(unit, possible): (&UnitName, &BTreeSet<Possible>)| {
            possible.iter().any(Option::is_some).then(|| unit.clone())
        };
        self.possible.iter().filter_map(exists).collect()
    }

    /// Where the store is not as it has to be by what users were told.
    pub(crate) fn contradictions(&self, view: &View) -> Vec<String> {
        let mut found = Vec::new();
        for (unit, possible) in &self.possible {
            let stored = view.units().get(unit);
            let is_it = |possible: &Possible| match (possible, stored) {
                (None, None) => true,
                (Some((version, target)), Some(stored)) => {
                    let text = Family::of(unit).text(unit, *version);
                    let hash = UnitFile::parse(&text).map(|file| file.hash());
                    stored.target == *target && hash.as_ref().is_ok_and(|hash| *hash == stored.hash)
                }
                (None, Some(_)) | (Some(_), None) => false,
            };
            if !possible.iter().any(is_it) {
                let stored = stored.map(|stored| (stored.hash.short().to_string(), stored.target));
                found.push(format!("users were told that {unit} is one of {possible:?}, and it is {stored:?}"));
            }
        }
        found
    }
}
