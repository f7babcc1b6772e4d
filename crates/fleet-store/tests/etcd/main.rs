//! The store over etcd, on real etcd servers of the tests' own: the conformance suite, and all that goes wrong.
//!
//! Needs `etcd` and `etcdctl` (`cargo xtask test` installs them).

mod conformance;
mod faults;
mod members;
mod proxy;
mod secrets;
mod server;
mod traffic;
