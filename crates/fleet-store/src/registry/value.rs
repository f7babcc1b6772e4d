//! Values as bytes: JSON with a version in it.
//!
//! Three pairs were thought of. *Old reader, new data*: fields that a reader does not know are skipped, so a field can be
//! added without a new version; the version grows only when old readers would get it wrong, and then they refuse the value
//! instead of misreading it. *New reader, old data*: a field that is added later is optional. *Old writer*: the one value
//! that is read, changed and written back by whoever comes (a unit's) carries the fields it does not know along.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version written into values, and the newest that is read.
pub const VALUE_VERSION: u32 = 1;

/// A record as the store's bytes.
pub trait Value: Sized {
    /// The bytes.
    fn encode(&self) -> Vec<u8>;

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`ValueError`]. Who reads a whole registry reports it and goes on without this value.
    fn decode(bytes: &[u8]) -> Result<Self, ValueError>;
}

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not what this key holds.
    #[error("the value is not of the expected form: {0}")]
    Form(String),
    /// Written by a fleet that this one is too old for.
    #[error("the value has version {found}, and this fleet reads up to {VALUE_VERSION}: upgrade fleet here")]
    Version {
        /// The value's version.
        found: u32,
    },
    /// One field holds something impossible.
    #[error("the value's field `{field}`: {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// All wire types begin with their version.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// Reads a wire type after having looked at its version.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ValueError> {
    let form = |err: serde_json::Error| ValueError::Form(err.to_string());
    let Version { v: found } = serde_json::from_slice(bytes).map_err(form)?;
    if VALUE_VERSION < found {
        return Err(ValueError::Version { found });
    }
    serde_json::from_slice(bytes).map_err(form)
}

/// Writes a wire type.
pub(super) fn to_json(wire: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(wire).expect("wire types have text keys and no fallible parts")
}

/// Reads one field that has a typed form.
pub(super) fn field<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, ValueError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|err: T::Err| ValueError::Field { field, reason: err.to_string() })
}
