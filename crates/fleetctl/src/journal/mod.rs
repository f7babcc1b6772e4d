//! The journals of several units or machines as one: entries are read from journalctl's JSON, put in the order of time, and
//! printed with where they come from; `whereabouts` says which journals those are while units move. Pure; `commands::journal` brings
//! the entries, the pictures and the time.

mod entry;
mod merge;
mod whereabouts;

pub use entry::{Entry, Look, Source};
pub use merge::{HOLD_MS, Merge};
pub use whereabouts::{Place, Step, Whereabouts};
