//! The HTTP API of fleet: what goes over the wire, and a client for it.
//!
//! The types here are promises of their own: nothing inside fleet is serialised directly, each is converted by hand.
//! [`v2`] is the API that `fleetctl` speaks; [`Client`] is the way to it, over a unix socket or TCP. [`v1`] is what clients of the
//! original speak.

mod client;
pub mod v1;
pub mod v2;

pub use client::{Client, ClientError, Endpoint, EndpointError, TextStream, WatchStream};
