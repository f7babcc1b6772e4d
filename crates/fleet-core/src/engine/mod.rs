//! The engine: decides which machine runs which unit, as an event machine.

mod event;
mod plan;

pub use event::{Delta, Effect, Event};
pub use plan::{PlacementWrite, Plan, PlanGroup};
