//! The typed view of the store: which key holds what, and what a cluster of such keys amounts to.
//!
//! [`Key`] is the only place that formats and reads keys. [`record`] says what the values are and how they look in the
//! store. [`View`] is the whole cluster as records, kept up to date by a watch. [`ops`] makes guarded transactions from a
//! view and a wish, [`restore`] from a view and a backup. Nothing here does I/O or decides anything.

mod key;
pub mod ops;
pub mod record;
pub mod restore;
mod stand_in;
mod value;
mod view;

pub use key::{Key, MetadataKey, MetadataKeyError, RequestId, RequestIdError};
pub use record::{
    CordonRecord, DrainRecord, FileRecord, GivenUpRecord, LeaderRecord, MachineRecord, MetadataRecord, OperatorsRecord,
    RequestRecord, Rest, TemplateRef, UnitRecord,
};
pub use value::{VALUE_VERSION, Value, ValueError};
pub use view::{MachineEntry, StoredFile, UnreadableReason, View};
