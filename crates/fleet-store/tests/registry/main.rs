//! The registry: its keys and values, the view of a cluster, and the operations made from it.

mod ops;
mod restore;
mod support;
mod values;
mod view;
