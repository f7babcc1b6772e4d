//! How things look: tables, errors, what is waited for. Text out of values; printing is the console's.

pub mod drain;
pub mod error;
pub mod layout;
pub mod plan;
pub mod progress;
pub mod table;
