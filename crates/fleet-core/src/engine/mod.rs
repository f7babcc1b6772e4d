//! The engine: decides which machine runs which unit, as an event machine.
//!
//! It keeps a picture of the cluster with indexes, takes in changes, and answers with plans of placement writes. The
//! rules are those of `docs/placement.md`; [`crate::check::plan`] has them in their plainest form, and the tests hold
//! the two against each other.
//!
//! Reading order: [`Event`], [`Effect`] and [`Plan`], then `planner` (the rounds), `settle`, `moves`, `waiting` (the
//! three steps), `loss` (machines that are absent), `standing` (what that, drains and reports allow), `picture` (what is
//! believed, and what a change makes dirty), `patterns` and `load` (the indexes),
//! `journal` (from changes to writes). `forecast` asks what would come of it all.

mod event;
mod forecast;
mod journal;
mod load;
mod loss;
mod moves;
mod patterns;
mod picture;
mod plan;
mod planner;
mod settle;
mod slots;
mod standing;
mod waiting;

pub use event::{Delta, Effect, Event};
pub use forecast::{FORECAST_PLANS_MAX, Fate, fates, forecast};
pub use loss::EngineConfig;
pub use plan::{BrakeWrite, PlacementWrite, Plan, PlanGroup};

use std::collections::BTreeMap;

use crate::model::{Absence, Brake, MachineId, Revision, Timestamp};
use loss::Losses;
use picture::Picture;

/// How long the engine waits for its own writes to come back through the watch before it takes the watch for broken
/// and asks for a full look.
///
/// Milliseconds. Too short: needless full looks while the store is slow. Too long: a broken watch stops planning for as
/// long.
pub const ECHO_WAIT_MS: u64 = 5_000;

/// Decides for the cluster. One at a time does: the leader.
///
/// It plans at once when something changed, but never while a plan of its own is on the way: the picture already has
/// the plan's outcome in it, and what happens meanwhile waits until the store has shown that outcome too.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    picture: Picture,
    losses: Losses,
    state: State,
    /// The moment that was asked for last, and has not come.
    wake: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A full look is needed.
    Blind {
        /// Whether what was known before it is still true of who was absent: the look was asked for at once, and not
        /// because something was missed.
        keeps_clocks: bool,
    },
    /// The picture is the store's.
    Watching,
    /// A plan is being written.
    Writing,
    /// A plan is written; the watch has not come to that revision yet.
    AwaitingEcho { revision: Revision, until: Timestamp },
}

impl Default for State {
    fn default() -> State {
        State::Blind { keeps_clocks: false }
    }
}

impl Engine {
    /// An engine that knows nothing; its first event is an [`Event::Snapshot`].
    ///
    /// The configuration has to be said: one that begins anew once forgot what the operator had set.
    pub fn new(config: EngineConfig) -> Engine {
        Engine { losses: Losses::new(config), ..Engine::default() }
    }

    /// Whether so many machines are lost that nothing is moved.
    pub fn brake(&self) -> Option<&Brake> {
        self.losses.brake()
    }

    /// The machines that have orders and are not present, and how far each was given up when it was last planned, as if
    /// there were no brake.
    pub fn absences(&self) -> BTreeMap<MachineId, Absence> {
        self.losses.absences()
    }

    /// Takes in one event. Total: an event that does not fit the moment is ignored.
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let brake_before = self.losses.brake().cloned();
        let mut effects = self.take_in(now, event);
        if !matches!(self.state, State::Blind { .. }) {
            self.losses.update(now, &mut self.picture);
            self.plan(&mut effects);
        }
        if self.losses.brake() != brake_before.as_ref() {
            effects.push(Effect::Alarm(self.losses.brake().cloned()));
        }
        self.ask_for_tick(&mut effects);
        effects
    }

    fn take_in(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        match event {
            Event::Snapshot(cluster) => {
                let keeps_clocks = matches!(self.state, State::Blind { keeps_clocks: true });
                let given_up = cluster.absent.iter().filter(|(_, absence)| **absence == Absence::GivenUp);
                let given_up = given_up.map(|(id, _)| id.clone()).collect();
                self.losses.start_anew(given_up, cluster.brake.clone(), keeps_clocks);
                self.picture = Picture::of(cluster);
                if matches!(self.state, State::Blind { .. }) {
                    self.state = State::Watching;
                }
            }
            Event::Changed { revision, deltas } => {
                for delta in &deltas {
                    if let Delta::MachinePut { id, .. } = delta {
                        self.losses.came_back(id);
                    }
                }
                if matches!(self.state, State::Blind { .. }) || revision <= self.picture.revision {
                    return Vec::new();
                }
                for delta in deltas {
                    match delta {
                        Delta::GivenUpChanged { id, given_up } => self.losses.set_given_up(id, given_up),
                        Delta::BrakeChanged { brake } => self.losses.set_stored_brake(brake),
                        other => self.picture.apply(other),
                    }
                }
                self.picture.revision = revision;
            }
            Event::Written { revision } => {
                if self.state == State::Writing {
                    self.state = State::AwaitingEcho { revision, until: now.plus_ms(ECHO_WAIT_MS) };
                }
            }
            Event::NotWritten => {
                if self.state == State::Writing {
                    return self.look_again(true);
                }
            }
            Event::Tick => {
                if self.wake.is_some_and(|at| at <= now) {
                    self.wake = None;
                }
                if let State::AwaitingEcho { until, .. } = self.state
                    && until <= now
                {
                    return self.look_again(false);
                }
            }
        }
        Vec::new()
    }

    /// Plans, if the picture is the store's.
    fn plan(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Blind { .. } | State::Writing => return,
            State::AwaitingEcho { revision, .. } if self.picture.revision < revision => return,
            State::Watching | State::AwaitingEcho { .. } => (),
        }
        let plan = Plan { brake: self.losses.plan_brake(), ..self.picture.plan() };
        if plan.is_empty() {
            self.state = State::Watching;
        } else {
            self.state = State::Writing;
            effects.push(Effect::Write(plan));
        }
    }

    fn look_again(&mut self, keeps_clocks: bool) -> Vec<Effect> {
        self.picture = Picture::default();
        self.state = State::Blind { keeps_clocks };
        vec![Effect::Resync]
    }

    fn ask_for_tick(&mut self, effects: &mut Vec<Effect>) {
        let next = match self.state {
            // There is nothing to do before the look has come, whatever the time.
            State::Blind { .. } => None,
            State::AwaitingEcho { until, .. } => Some(until).into_iter().chain(self.losses.next_due()).min(),
            State::Watching | State::Writing => self.losses.next_due(),
        };
        if next != self.wake {
            self.wake = next;
            effects.extend(next.map(Effect::Wake));
        }
    }
}
