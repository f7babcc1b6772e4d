//! The hash of a unit file.

use std::fmt;
use std::str::FromStr;

use sha1::{Digest as _, Sha1};

/// SHA-1 of a unit file's canonical form: two files with equal hashes mean the same to fleet.
///
/// SHA-1 because the original's hashes, which people have in scripts and lists, must stay valid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitHash([u8; 20]);

impl UnitHash {
    /// The hash of a canonical form.
    pub fn of_canonical(canonical: &str) -> UnitHash {
        UnitHash(Sha1::digest(canonical.as_bytes()).into())
    }

    /// The first seven hex digits.
    pub fn short(&self) -> String {
        let mut hex = self.to_string();
        hex.truncate(7);
        hex
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Display for UnitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UnitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 40 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no unit file hash: it has 40 hex digits")]
pub struct UnitHashError {
    /// What was given.
    pub given: String,
}

impl FromStr for UnitHash {
    type Err = UnitHashError;

    fn from_str(given: &str) -> Result<UnitHash, UnitHashError> {
        let error = || UnitHashError { given: given.to_owned() };
        if given.len() != 40 || !given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        let mut bytes = [0; 20];
        for (idx, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&given[2 * idx..2 * idx + 2], 16).map_err(|_| error())?;
        }
        Ok(UnitHash(bytes))
    }
}
