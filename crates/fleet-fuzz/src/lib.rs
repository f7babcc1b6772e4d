//! What the fuzz targets do with their input: functions that return, or panic with what does not hold.
//!
//! They are apart from `fuzz/`, which needs a nightly compiler, so that every run of the tests can put the kept corpus through them
//! (`tests/corpus.rs`) and no target rots. `cargo xtask fuzz` looks for new input.
//!
//! Inputs are texts that a person can read and write: bytes that are no UTF-8 are replaced, except where fleet itself has to
//! cope with them.

mod page_token;
mod request;
mod rig;
mod unit_file;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the program in `fuzz/` and of its folder in `fuzz/corpus/`.
    pub name: &'static str,
    /// What it does with one input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 3] = [
    Target { name: "unit_file", run: unit_file::run },
    Target { name: "request", run: request::run },
    Target { name: "page_token", run: page_token::run },
];

/// Runs the target of this name; the programs in `fuzz/` are no more than this call.
///
/// # Panics
/// If what must hold does not, and if there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a program in fuzz/ names a target");
    (target.run)(input);
}
