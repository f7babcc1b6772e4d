//! The engine: decides which machine runs which unit, as an event machine.
//!
//! It keeps a picture of the cluster with indexes, takes in changes, and answers with plans of placement writes. The
//! rules are those of `docs/placement.md`; [`crate::check::plan`] has them in their plainest form, and the tests hold
//! the two against each other.
//!
//! Reading order: [`Event`], [`Effect`] and [`Plan`], then `planner` (the rounds), `settle`, `moves`, `waiting` (the
//! three steps), `picture` (what is believed, and what a change makes dirty), `patterns` and `load` (the indexes),
//! `journal` (from changes to writes).

mod event;
mod journal;
mod load;
mod moves;
mod patterns;
mod picture;
mod plan;
mod planner;
mod settle;
mod slots;
mod waiting;

pub use event::{Delta, Effect, Event};
pub use plan::{PlacementWrite, Plan, PlanGroup};

use crate::model::{Revision, Timestamp};
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
    /// The newest revision that the picture has taken in.
    seen: Revision,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing is known: a full look is needed.
    #[default]
    Blind,
    /// The picture is the store's.
    Watching,
    /// A plan is being written.
    Writing,
    /// A plan is written; the watch has not come to that revision yet.
    AwaitingEcho { revision: Revision, until: Timestamp },
}

impl Engine {
    /// An engine that knows nothing; its first event is an [`Event::Snapshot`].
    pub fn new() -> Engine {
        Engine::default()
    }

    /// Takes in one event. Total: an event that does not fit the moment is ignored.
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        match event {
            Event::Snapshot { revision, cluster } => {
                self.picture = Picture::of(cluster);
                self.seen = revision;
                if self.state == State::Blind {
                    self.state = State::Watching;
                }
                self.go_on()
            }
            Event::Changed { revision, deltas } => {
                if self.state == State::Blind || revision <= self.seen {
                    return Vec::new();
                }
                for delta in deltas {
                    self.picture.apply(delta);
                }
                self.seen = revision;
                self.go_on()
            }
            Event::Written { revision } => {
                if self.state != State::Writing {
                    return Vec::new();
                }
                let until = now.plus_ms(ECHO_WAIT_MS);
                self.state = State::AwaitingEcho { revision, until };
                if self.seen < revision { vec![Effect::Wake(until)] } else { self.go_on() }
            }
            Event::NotWritten => match self.state {
                State::Writing => self.look_again(),
                State::Blind | State::Watching | State::AwaitingEcho { .. } => Vec::new(),
            },
            Event::Tick => match self.state {
                State::AwaitingEcho { until, .. } if until <= now => self.look_again(),
                State::Blind | State::Watching | State::Writing | State::AwaitingEcho { .. } => Vec::new(),
            },
        }
    }

    /// Plans, if the picture is the store's.
    fn go_on(&mut self) -> Vec<Effect> {
        match self.state {
            State::Blind | State::Writing => return Vec::new(),
            State::AwaitingEcho { revision, .. } if self.seen < revision => return Vec::new(),
            State::Watching | State::AwaitingEcho { .. } => (),
        }
        let plan = self.picture.plan();
        if plan.is_empty() {
            self.state = State::Watching;
            return Vec::new();
        }
        self.state = State::Writing;
        vec![Effect::Write(plan)]
    }

    fn look_again(&mut self) -> Vec<Effect> {
        *self = Engine::default();
        vec![Effect::Resync]
    }
}
