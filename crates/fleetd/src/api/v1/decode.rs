//! Reading request bodies as the original's decoder read them, because clients were written against that.
//!
//! Names of fields match in any letter case, unknown ones are skipped, of equal ones the last counts, and `null` is as if
//! nothing were there. Only the first JSON value of a body is read. Values of a wrong type are errors.

use std::fmt;

use fleet_core::unit::UnitOption;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

/// Why a body cannot be read, in the original's words where there is nothing to add.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("EOF")]
    Empty,
    #[error("unexpected EOF")]
    Ended,
    #[error("{0}")]
    Json(serde_json::Error),
}

/// The body of a `PUT` of a unit. What is absent is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PutBody {
    pub name: String,
    pub desired_state: String,
    pub options: Vec<UnitOption>,
}

/// One operation of a `PATCH` of metadata. What is absent is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchOp {
    pub op: String,
    pub path: String,
    pub value: String,
}

/// Reads the body of a `PUT` with at most `options_max` options.
pub fn put(body: &[u8], options_max: usize) -> Result<PutBody, DecodeError> {
    let fields = PutFields { body: PutBody::default(), options_max };
    read(body, Object { fields, null: Null::Nothing }).map(|fields| fields.body)
}

/// Reads the body of a `PATCH` of metadata.
pub fn patch(body: &[u8]) -> Result<Vec<PatchOp>, DecodeError> {
    let list = List {
        what: "an operation",
        max: usize::MAX,
        seed: || Object { fields: PatchOp::default(), null: Null::Nothing },
    };
    read(body, list)
}

fn read<'de, S: DeserializeSeed<'de>>(body: &'de [u8], seed: S) -> Result<S::Value, DecodeError> {
    if body.trim_ascii().is_empty() {
        return Err(DecodeError::Empty);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    // Not `end()`: what follows the first value does not matter.
    seed.deserialize(&mut json).map_err(|err| match err.is_eof() {
        true => DecodeError::Ended,
        false => DecodeError::Json(err),
    })
}

/// A value with named fields, being read.
trait Fields {
    /// What it is, for messages.
    const WHAT: &'static str;

    /// Takes the value of the field of this name, which is in lower case, from the map.
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;

    /// Takes a string that stands in the place of the object; most do not.
    fn take_text<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        Err(E::invalid_type(Unexpected::Str(text), &Self::WHAT))
    }
}

struct PutFields {
    body: PutBody,
    options_max: usize,
}

impl Fields for PutFields {
    const WHAT: &'static str = "a unit: an object";

    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => text(map, &mut self.body.name),
            "desiredstate" => text(map, &mut self.body.desired_state),
            // They are not the client's to say, but if they are there they are text.
            "currentstate" | "machineid" => text(map, &mut String::new()),
            "options" => {
                let option = || Object { fields: OptionFields(UnitOption::new("", "", "")), null: Null::Refused };
                let options = map.next_value_seed(List { what: "an option", max: self.options_max, seed: option })?;
                self.body.options = options.into_iter().map(|fields| fields.0).collect();
                Ok(())
            }
            _ => skip(map),
        }
    }
}

struct OptionFields(UnitOption);

impl Fields for OptionFields {
    const WHAT: &'static str = "an option: an object";

    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "section" => text(map, &mut self.0.section),
            "name" => text(map, &mut self.0.name),
            "value" => text(map, &mut self.0.value),
            _ => skip(map),
        }
    }
}

impl Fields for PatchOp {
    const WHAT: &'static str = "an operation: an object";

    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "op" => text(map, &mut self.op),
            "path" => text(map, &mut self.path),
            "value" => {
                let fields = ValueFields(std::mem::take(&mut self.value));
                self.value = map.next_value_seed(Object { fields, null: Null::Nothing })?.0;
                Ok(())
            }
            _ => skip(map),
        }
    }
}

/// The value of an operation: the documentation of the original showed it as it is, its code took it only in an object.
struct ValueFields(String);

impl Fields for ValueFields {
    const WHAT: &'static str = "a value: a string, or an object with it as `value`";

    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "value" => text(map, &mut self.0),
            _ => skip(map),
        }
    }

    fn take_text<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        text.clone_into(&mut self.0);
        Ok(())
    }
}

/// Takes a string, or `null` for none.
fn text<'de, A: MapAccess<'de>>(map: &mut A, into: &mut String) -> Result<(), A::Error> {
    if let Some(value) = map.next_value::<Option<String>>()? {
        *into = value;
    }
    Ok(())
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// What `null` in the place of an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Null {
    /// An object without fields.
    Nothing,
    /// A mistake.
    Refused,
}

/// Reads one value with named fields.
struct Object<F> {
    fields: F,
    null: Null,
}

impl<'de, F: Fields> DeserializeSeed<'de> for Object<F> {
    type Value = F;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<F, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Fields> Visitor<'de> for Object<F> {
    type Value = F;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(F::WHAT)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<F, E> {
        match self.null {
            Null::Nothing => Ok(self.fields),
            Null::Refused => Err(E::invalid_type(Unexpected::Unit, &F::WHAT)),
        }
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<F, E> {
        self.fields.take_text(text)?;
        Ok(self.fields)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<F, A::Error> {
        while let Some(mut name) = map.next_key::<String>()? {
            name.make_ascii_lowercase();
            self.fields.take(&name, &mut map)?;
        }
        Ok(self.fields)
    }
}

/// Reads a list; `null` is an empty one.
struct List<S> {
    what: &'static str,
    max: usize,
    /// Makes what reads one entry.
    seed: S,
}

impl<'de, F: Fields, S: Fn() -> Object<F>> DeserializeSeed<'de> for List<S> {
    type Value = Vec<F>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<F>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Fields, S: Fn() -> Object<F>> Visitor<'de> for List<S> {
    type Value = Vec<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list, each entry {}", self.what)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<F>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<F>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = seq.next_element_seed((self.seed)())? {
            if self.max <= list.len() {
                return Err(A::Error::custom(format_args!("more than {} entries, each {}", self.max, self.what)));
            }
            list.push(entry);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_put(body: &str, expected: &str) {
        let shown = match put(body.as_bytes(), 3) {
            Ok(PutBody { name, desired_state, options }) => {
                let options = options.iter().map(|o| format!(" [{}]{}={}", o.section, o.name, o.value));
                format!("{name}:{desired_state}{}", options.collect::<String>())
            }
            Err(err) => error(&err),
        };
        assert_eq!(shown, expected, "{body}");
    }

    /// Without the place, which is the parser's business.
    fn error(err: &DecodeError) -> String {
        format!("error: {}", err.to_string().split(" at line ").next().unwrap_or_default())
    }

    #[test]
    fn units() {
        check_put("{}", ":");
        check_put("null", ":");
        check_put(r#"{"name":"a","desiredState":"loaded"}"#, "a:loaded");
        check_put(
            r#"{"NAME":"a","DesiredSTATE":"loaded","OPTIONS":[{"Name":"n","SECTION":"s","value":"v"}]}"#,
            "a:loaded [s]n=v",
        );
        check_put(r#"{"name":"a","name":"b","Name":"c"}"#, "c:");
        check_put(r#"{"name":"a","name":null,"options":null,"x":{"y":[1e999]}}"#, "a:");
        check_put(r#"{"options":[{}, {"value":"v","z":1}]}"#, ": []= []=v");
        check_put(r#"{"options":[{"name":"a"}],"options":[{"name":"b"}]}"#, ": []b=");
        check_put(r#" {"name":"a"} and what follows {"#, "a:");
        check_put(r#"{"name":"a","currentState":"x","machineID":null}"#, "a:");
        check_put("", "error: EOF");
        check_put(
            " 
",
            "error: EOF",
        );
        check_put(r#"{"name":"#, "error: unexpected EOF");
        check_put(r#"{"name":"a""#, "error: unexpected EOF");
        check_put("[]", "error: invalid type: sequence, expected a unit: an object");
        check_put(r#""a""#, r#"error: invalid type: string "a", expected a unit: an object"#);
        check_put(r#"{"name":1}"#, "error: invalid type: integer `1`, expected a string");
        check_put(r#"{"machineID":1}"#, "error: invalid type: integer `1`, expected a string");
        check_put(r#"{"options":[null]}"#, "error: invalid type: null, expected an option: an object");
        check_put(r#"{"options":{}}"#, "error: invalid type: map, expected a list, each entry an option");
        check_put(r#"{"options":[{},{},{}]}"#, ": []= []= []=");
        check_put(r#"{"options":[{},{},{},{}]}"#, "error: more than 3 entries, each an option");
    }

    #[test]
    fn operations() {
        let check = |body: &str, expected: &str| {
            let shown = match patch(body.as_bytes()) {
                Ok(ops) => ops.iter().map(|PatchOp { op, path, value }| format!("{op} {path} {value};")).collect(),
                Err(err) => error(&err),
            };
            assert_eq!(shown, expected, "{body}");
        };
        check("[]", "");
        check("null", "");
        check(r#"[{"op":"add","path":"/m","value":{"value":"v"}}]"#, "add /m v;");
        check(r#"[{"op":"add","path":"/m","value":"v"},{"OP":"remove","value":null}]"#, "add /m v;remove  ;");
        check(r#"[{"value":{}},{"value":{"VALUE":null,"x":1}},{}, null]"#, "  ;  ;  ;  ;");
        check("", "error: EOF");
        check("[", "error: unexpected EOF");
        check("{}", "error: invalid type: map, expected a list, each entry an operation");
        check(
            r#"[{"value":1}]"#,
            "error: invalid type: integer `1`, expected a value: a string, or an object with it as `value`",
        );
    }
}
