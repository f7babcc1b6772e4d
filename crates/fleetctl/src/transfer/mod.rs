//! Units on their way from one cluster to another: what `export` writes, what `import` reads, and what an import would change.
//!
//! `manifest` is the list beside exported files, `dump` reads what somebody printed with the original's `fleetctl`, `offer` is a
//! unit as a source offers it, `plan` says what becomes of each. Nothing here talks to a cluster.

pub mod dump;
pub mod manifest;
pub mod offer;
pub mod plan;
