//! Acceptance tests: a person at a desk types `fleetctl`, and the machines' own systemds are asked whether it came true.
//!
//! Every test drives the programs `fleetd` and `fleetctl` that lie beside the test executable (`cargo build --bins`), on
//! machines that are real systemd user managers. The judge is systemd, not fleet: `systemctl` on the machine says what runs
//! there. Where a comment says "promise N", it means line N of the list of what the tutorial that fleet is known by promises
//! (its unit files are in `examples/`).
//!
//! Worlds (`world`) are cheap: tests that count machines or take something down have one of their own, the others
//! share one and use unit names of their own.

mod api_v1;
mod api_v2;
mod backups;
mod bad_units;
mod commands;
mod daemon;
mod desk;
mod examples;
mod fleetctl;
mod followed;
mod following;
mod golden;
mod guarded;
mod journals;
mod judge;
mod operator;
mod placement;
mod regressions;
mod secure;
mod several;
mod shows;
mod ssh;
mod told;
mod transfer;
mod unit_files;
mod world;
