//! What the document says of parameters that several operations have. How they are read is in `extract` and `terms`.
#![expect(dead_code, reason = "fields that nobody reads: the document is made from their types")]

use utoipa::IntoParams;

/// The unit that a path is about.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfUnit {
    /// The unit's name, with its suffix
    #[param(example = "hello.service")]
    name: String,
}

/// The machine that a path is about.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfMachine {
    /// The machine's ID, or its first eight characters
    id: String,
}

/// The condition of a write to a unit.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfUnit {
    /// Only if the unit is still at this tag: its `ETag` (412 otherwise)
    #[param(rename = "If-Match", pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#)]
    if_match: Option<String>,
}

/// The condition of a write to a machine.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMachine {
    /// Only if the machine is still at this tag: its `ETag` (412 otherwise)
    #[param(rename = "If-Match", pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#)]
    if_match: Option<String>,
}

/// What keeps a request from taking effect twice.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Key {
    /// A word of this request alone: under it, it takes effect once
    #[param(rename = "Idempotency-Key", pattern = "^[!-~]([ -~]{0,253}[!-~])?$")]
    key: Option<String>,
}

/// Which units a list is of, by name and place.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfUnits {
    /// Globs, one of which the name has to match
    name: Option<Vec<String>>,
    /// Machine IDs, on one of which it has to be
    machine: Option<Vec<String>>,
}

/// Which units a list is of, by what systemd says.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ActiveIn {
    /// systemd's active states, one of which a machine has to say
    active: Option<Vec<String>>,
}

/// The piece of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Piece {
    /// Most entries; without it the list is whole
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// The `next` of the page before this one
    after: Option<String>,
}
