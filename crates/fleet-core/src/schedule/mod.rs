//! Which machine may run what, and why not: the constraints, typed refusals, and explanations in words.
//!
//! The rules as a whole are told in `docs/placement.md`. Placing itself is the engine's ([`crate::engine`]), which keeps
//! indexes for it; here one unit is held against each machine, with every reason that speaks against it.
//!
//! Reading order: [`Refusal`], [`explain`], then `look` (where the reasons are found) and `constraint`.

mod constraint;
mod drain;
mod explain;
mod look;
mod refusal;

pub use constraint::fits_alone;
pub use drain::{DrainStep, explain_drain, is_drained};
pub use explain::{Answer, Explanation, Reason, Situation, explain, explain_choice};
pub use refusal::{PeerState, Refusal};
