//! `fleet-units.json`: what stands beside exported unit files, and what they cannot say themselves.
//!
//! Its bytes depend on the units alone, so that an export can live in a repository and a second one of the same cluster is no
//! change there.

use std::collections::BTreeSet;
use std::path::Path;

use fleet_api::v2;
use fleet_core::unit::{Form, UnitName};
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// The manifest's file name. No unit can have it: `json` is no type.
pub const FILE_NAME: &str = "fleet-units.json";

/// The form that is written, and the newest that is read.
const FORMAT: u32 = 1;

/// The manifest. Each unit's file has the unit's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// By name, bytewise.
    pub units: Vec<Entry>,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    pub name: UnitNameText,
    /// What its name makes of it. For readers: an import goes by the name.
    kind: Kind,
    /// Whether it runs on every machine that fits. For readers: an import goes by the file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    global: bool,
    /// How far it is to be taken.
    pub desired_state: v2::State,
}

/// A unit's name, checked when it is read, so that it can be joined to a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UnitNameText(pub UnitName);

impl TryFrom<String> for UnitNameText {
    type Error = String;

    fn try_from(given: String) -> Result<UnitNameText, String> {
        given.parse().map(UnitNameText).map_err(|err| format!("`{given}` names no unit: {err}"))
    }
}

impl From<UnitNameText> for String {
    fn from(name: UnitNameText) -> String {
        name.0.to_string()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Plain,
    Template,
    Instance,
}

impl Manifest {
    /// The manifest of these units.
    pub fn of<'a>(units: impl IntoIterator<Item = (UnitName, &'a v2::Unit)>) -> Manifest {
        let entry = |(name, unit): (UnitName, &v2::Unit)| {
            let kind = match name.form() {
                Form::Plain => Kind::Plain,
                Form::Template => Kind::Template,
                Form::Instance(_) => Kind::Instance,
            };
            Entry { name: UnitNameText(name), kind, global: unit.global, desired_state: unit.desired_state }
        };
        let mut units: Vec<Entry> = units.into_iter().map(entry).collect();
        units.sort_by(|a, b| a.name.cmp(&b.name));
        Manifest { format: FORMAT, units }
    }

    /// Its text.
    ///
    /// # Errors
    /// [`CommandError::Json`].
    pub fn text(&self) -> Result<String, CommandError> {
        Ok(serde_json::to_string_pretty(self).map_err(CommandError::Json)? + "\n")
    }

    /// Reads the text of the manifest at `path`.
    ///
    /// # Errors
    /// [`CommandError::Manifest`], also for one that a newer fleetctl wrote.
    pub fn read(text: &str, path: &Path) -> Result<Manifest, CommandError> {
        /// What every format has.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let refused = |reason: String| CommandError::Manifest { path: path.to_owned(), reason };
        let Format { format } = serde_json::from_str(text).map_err(|err| refused(err.to_string()))?;
        if format != FORMAT {
            return Err(refused(format!("its format is {format}, and this fleetctl reads {FORMAT}")));
        }
        let manifest: Manifest = serde_json::from_str(text).map_err(|err| refused(err.to_string()))?;
        let mut names = BTreeSet::new();
        match manifest.units.iter().find(|entry| !names.insert(&entry.name)) {
            Some(twice) => Err(refused(format!("unit {} occurs twice", twice.name.0))),
            None => Ok(manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::fixture;

    #[test]
    fn text() {
        let unit = |name: &str, desired_state, global| {
            let unit = v2::Unit { global, ..fixture::unit(name, desired_state) };
            (name.parse::<UnitName>().expect("a good name"), unit)
        };
        let units = [
            unit("b.service", v2::State::Launched, true),
            unit("a@1.service", v2::State::Loaded, false),
            unit("a@.service", v2::State::Inactive, false),
        ];
        let manifest = Manifest::of(units.iter().map(|(name, unit)| (name.clone(), unit)));
        let text = manifest.text().expect("JSON");
        expect![[r#"
            {
              "format": 1,
              "units": [
                {
                  "name": "a@.service",
                  "kind": "template",
                  "desired_state": "inactive"
                },
                {
                  "name": "a@1.service",
                  "kind": "instance",
                  "desired_state": "loaded"
                },
                {
                  "name": "b.service",
                  "kind": "plain",
                  "global": true,
                  "desired_state": "launched"
                }
              ]
            }
        "#]]
        .assert_eq(&text);
        assert_eq!(Manifest::read(&text, Path::new("m")).ok(), Some(manifest));
    }

    #[test]
    fn what_is_refused() {
        let check = |text: &str, expected: &str| {
            let err = Manifest::read(text, Path::new("m")).expect_err("it is not one");
            assert!(err.to_string().contains(expected), "{text}: {err}");
        };
        let entry = r#"{"name":"a.service","kind":"plain","desired_state":"loaded"}"#;
        check("", "EOF");
        check(r#"{"format":2}"#, "its format is 2, and this fleetctl reads 1");
        check(r#"{"format":1,"units":[{"name":"../x.service","kind":"plain","desired_state":"loaded"}]}"#, "../x");
        check(&format!(r#"{{"format":1,"units":[{entry},{entry}]}}"#), "unit a.service occurs twice");
        check(&format!(r#"{{"format":1,"units":[{entry}],"more":1}}"#), "unknown field `more`");
    }
}
