//! What fleet decides, without doing any of it.
//!
//! Everything here is synchronous and deterministic: equal input gives an equal answer. There is no I/O, no clock, no
//! randomness, no async, no metrics and no wire format in this crate; `clippy.toml` beside it makes that executable.
//!
//! Reading order: [`unit`] (names, unit files, `[X-Fleet]`), [`model`] (machines, units, placements), [`schedule`]
//! (which machine may run what, and why not), [`engine`] and [`agent`] (the two event machines), [`check`] (the judge,
//! which does not call the code it judges).

pub mod agent;
pub mod check;
pub mod engine;
pub mod model;
pub mod schedule;
pub mod unit;
