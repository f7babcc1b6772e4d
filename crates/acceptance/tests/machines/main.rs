//! Tests on whole machines: each has its own `fleetd` as a service of its system and an address on a network that can be
//! cut; etcd is the store. `cargo xtask test --machines` runs them; they need root.
//!
//! The judge is each machine's own systemd, asked from the box and not through the network, so that a machine that is cut
//! off can be asked as well.
//!
//! - `smoke`: what `.ci/run` runs.
//! - `shows`: what a cluster promises when etcd, a `fleetd`, a machine or the network fails.
//! - `packages`: `fleetd` as a service.
//! - `field`: machines with fleet on them, and a person at each; `samples`: what ran where and when.

mod field;
mod packages;
mod samples;
mod shows;
mod smoke;
