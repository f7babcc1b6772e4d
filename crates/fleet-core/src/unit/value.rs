//! How the values of `[X-Fleet]` are split, and the specifiers they may hold.

use super::{Form, UnitName};

/// Splits one value of the `[X-Fleet]` section as the original does.
///
/// A value that starts and ends with `"` is a list: each `"` is dropped and toggles "inside quotes", and each blank
/// (U+0020 only) outside of quotes ends an entry, so two blanks make an empty one. There is no escape. Every other
/// value is one entry, verbatim.
pub fn split_value(value: &str) -> Vec<String> {
    if !(value.starts_with('"') && value.ends_with('"')) {
        return vec![value.to_owned()];
    }
    let mut entries = Vec::new();
    let mut entry = String::new();
    let mut quoted = false;
    for ch in value.chars() {
        match ch {
            '"' => quoted = !quoted,
            ' ' if !quoted => entries.push(std::mem::take(&mut entry)),
            _ => entry.push(ch),
        }
    }
    entries.push(entry);
    entries
}

/// Replaces `%n`, `%N`, `%p` and `%i` in an `[X-Fleet]` value, or in a description, by the parts of `name`.
///
/// As in the original each specifier is replaced in the whole text before the next one is looked for; there is no `%%`
/// and nothing is unescaped. Every other `%x` stays as it is.
pub fn expand_specifiers(name: &UnitName, text: &str) -> String {
    Specifiers::of(name).expand(text)
}

/// What the four specifiers stand for.
pub(super) struct Specifiers {
    pub(super) full: String,
    stem: String,
    prefix: String,
    instance: String,
}

/// What `%i` stands for while a template is checked: itself, since the instance is not known yet.
///
/// Names cannot hold a `%`, so it matches nothing that it should not, and `*` matches it as it will the instance.
const UNKNOWN_INSTANCE: &str = "%i";

impl Specifiers {
    /// Those of `name`; a template's `%i` is empty, as in the original.
    pub(super) fn of(name: &UnitName) -> Specifiers {
        let instance = match name.form() {
            Form::Instance(instance) => instance,
            Form::Plain | Form::Template => "",
        };
        Specifiers {
            full: name.as_str().to_owned(),
            stem: name.stem().to_owned(),
            prefix: name.prefix().to_owned(),
            instance: instance.to_owned(),
        }
    }

    /// Those of any instance of the template `name`: `%i` stays `%i`.
    pub(super) fn of_any_instance(name: &UnitName) -> Specifiers {
        let stem = format!("{}@{UNKNOWN_INSTANCE}", name.prefix());
        Specifiers {
            full: format!("{stem}.{}", name.unit_type().suffix()),
            stem,
            prefix: name.prefix().to_owned(),
            instance: UNKNOWN_INSTANCE.to_owned(),
        }
    }

    pub(super) fn expand(&self, text: &str) -> String {
        // Most values have none, and four copies of each are not worth making.
        if !text.contains('%') {
            return text.to_owned();
        }
        text.replace("%n", &self.full)
            .replace("%N", &self.stem)
            .replace("%p", &self.prefix)
            .replace("%i", &self.instance)
    }
}

/// An expanded value with the unknown instance of a template replaced by one that could be.
pub(super) fn with_some_instance(expanded: &str) -> String {
    expanded.replace(UNKNOWN_INSTANCE, "1")
}
