//! Which machine may run what, and why not.

mod constraint;

pub use constraint::fits_alone;
