//! The journals of several units or machines as one: entries are read from journalctl's JSON, put in the order of time, and
//! printed with where they come from. Pure; `commands::journal` brings the entries and the time.

mod entry;
mod merge;

pub use entry::{Entry, Look, Source};
pub use merge::{HOLD_MS, Merge};
