//! The judge: what must hold of a cluster, and a planner that works from nothing.
//!
//! [`invariants`] says what is wrong with a picture, [`plan`] says what the rules of `docs/placement.md` make of it, and
//! [`brake`] which machines the brake waits for.
//! Both are written to be read, not to be fast: they look at everything each time, and they call nothing of
//! [`crate::schedule`] or [`crate::engine`] (only the noun [`crate::engine::Plan`] is shared), so that a mistake there
//! cannot hide here. Tests compare the engine with them.

mod brake;
mod diff;
mod invariants;
mod planner;
mod rules;

pub use brake::brake;
pub use invariants::{Violation, invariants};
pub use planner::plan;
