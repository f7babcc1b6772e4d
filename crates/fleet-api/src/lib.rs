//! The HTTP API of fleet: what goes over the wire, and a client for it.
//!
//! The types here are promises of their own: nothing inside fleet is serialised directly, each is converted by hand.
//! [`v2`] is the API that `fleetctl` speaks; [`Client`] is the way to it, over a unix socket or TCP. [`v1`] is what clients of the
//! original speak; [`ClientV1`] reads the units of a cluster that speaks nothing else. The guide is `docs/api-v2.md`; what is served is described for other languages in `docs/openapi-v2.json`.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use fleet_api::{Client, ClientError, Terms, v2};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("unix:///run/fleet.sock".parse()?, Some(Duration::from_secs(10)))?;
//!
//! // What there is.
//! for unit in client.units(&["web@*.service".to_owned()]).await?.units {
//!     let machines: Vec<&str> = unit.placements.iter().map(|placement| placement.machine.as_str()).collect();
//!     println!("{} is {} on {}", unit.name, unit.current_state.as_str(), machines.join(", "));
//! }
//!
//! // Change a unit, if nobody else has since it was read.
//! let unit = client.unit("web@1.service").await?;
//! let loaded = v2::UnitPatch { desired_state: Some(v2::State::Loaded), restart: false };
//! match client.patch_unit(&unit.name, loaded, &Terms::only_at(unit.generation)).await {
//!     Ok(changed) => println!("generation {}", changed.result.generation),
//!     Err(ClientError::Problem(problem)) if problem.is(v2::ProblemKind::PreconditionFailed) => println!("{problem}"),
//!     Err(err) => return Err(err.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/start_and_follow.rs` starts a unit and follows it by the stream of events.
//!
//! Times are milliseconds since the Unix epoch where a field ends in `_ms`. Every call may fail with a [`ClientError`]: nobody
//! answered, the answer is not fleet's, or a [`v2::Problem`], whose [`v2::ProblemKind`] is for programs.

pub mod backup;
mod calls;
mod client;
mod client_v1;
mod endpoint;
mod error;
mod events;
mod exec;
mod observe;
pub mod tls;
pub mod v1;
pub mod v2;

pub use calls::Terms;
pub use client::{Client, ClientBuilder, TextStream, WatchStream};
pub use client_v1::ClientV1;
pub use endpoint::{Endpoint, EndpointError};
pub use error::ClientError;
pub use events::{EventFilter, EventStream};
pub use exec::ExecStream;
pub use observe::Exchange;
