//! A unit file as fleet keeps it: its options in order.

use super::parse::{self, Parsed};
use super::{Problem, UnitFileError, UnitHash};

/// One line of a unit file: `NAME=VALUE` in `[SECTION]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitOption {
    /// The section's name, byte for byte, without its brackets.
    pub section: String,
    /// The option's name, without blanks around it.
    pub name: String,
    /// The value, without blanks around it; continuation lines are kept with their backslash and newline.
    pub value: String,
}

impl UnitOption {
    /// An option from its three parts.
    pub fn new(section: impl Into<String>, name: impl Into<String>, value: impl Into<String>) -> UnitOption {
        UnitOption { section: section.into(), name: name.into(), value: value.into() }
    }
}

/// A parsed unit file: all its options, in order. Comments, blank lines and empty sections are not kept.
///
/// Invariant: parsing [`UnitFile::canonical`] gives the same canonical form again.
#[derive(Clone, Debug)]
pub struct UnitFile {
    options: Vec<UnitOption>,
    lines: Vec<u32>, // Of each option, counted from 1.
    lints: Vec<Problem>,
}

impl UnitFile {
    /// Reads the text of a unit file. A file without any option is fine here (see [`super::check`]).
    ///
    /// # Errors
    /// What has no meaning that both fleet and systemd agree on; the error names the line.
    pub fn parse(text: &str) -> Result<UnitFile, UnitFileError> {
        let Parsed { options, lines, lints } = parse::parse(text)?;
        Ok(UnitFile { options, lines, lints: lints.into_sorted() })
    }

    /// A file made of options, as API v1 sends them.
    ///
    /// The result is what reading the written file gives: sections grouped, blanks around names and values gone.
    ///
    /// # Errors
    /// Those of [`UnitFile::parse`], and [`UnitFileError::Smuggled`] for an option that would be read back as something
    /// else: a value with a bare newline would become several options, a name like `#A` none.
    pub fn from_options(options: Vec<UnitOption>) -> Result<UnitFile, UnitFileError> {
        let file = UnitFile::parse(&write(&options))?;
        let mut read_back = file.options.iter();
        for given in grouped(&options) {
            if !read_back.next().is_some_and(|read| same(given, read)) {
                return Err(UnitFileError::Smuggled { option: given.clone() });
            }
        }
        match read_back.next() {
            None => Ok(file),
            Some(extra) => Err(UnitFileError::Smuggled { option: extra.clone() }),
        }
    }

    /// The options in the order of the text.
    pub fn options(&self) -> &[UnitOption] {
        &self.options
    }

    /// The options with the line of the parsed text each began on.
    pub fn options_with_lines(&self) -> impl Iterator<Item = (u32, &UnitOption)> {
        self.lines.iter().copied().zip(&self.options)
    }

    /// What is odd in the text, though it can be read.
    pub fn lints(&self) -> &[Problem] {
        &self.lints
    }

    /// All values of one option, in order. Names are case sensitive.
    pub fn values<'a>(&'a self, section: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |o| o.section == section && o.name == name).map(|o| o.value.as_str())
    }

    /// The first `Description=` of `[Unit]`, or nothing.
    pub fn description(&self) -> &str {
        self.values("Unit", "Description").next().unwrap_or("")
    }

    /// The file written in the one way that is hashed, stored and given to systemd.
    ///
    /// Sections in the order of their first option; in each the options in their order; one empty line between two.
    pub fn canonical(&self) -> String {
        write(&self.options)
    }

    /// The hash of the canonical form, equal to the original's.
    pub fn hash(&self) -> UnitHash {
        UnitHash::of_canonical(&self.canonical())
    }
}

/// Whether `read` is what `given` was meant to be: blanks at the ends and the kind of line end are no difference.
fn same(given: &UnitOption, read: &UnitOption) -> bool {
    given.section == read.section
        && given.name.trim() == read.name
        && given.value.replace("\r\n", "\n").trim() == read.value.trim()
}

fn write(options: &[UnitOption]) -> String {
    let mut out = String::new();
    let mut section = None;
    for option in grouped(options) {
        if section != Some(&option.section) {
            let gap = if section.is_some() { "\n" } else { "" };
            out.extend([gap, "[", &option.section, "]\n"]);
            section = Some(&option.section);
        }
        out.extend([&option.name, "=", &option.value, "\n"]);
    }
    out
}

/// The options, those of one section together, sections in the order of their first option.
fn grouped(options: &[UnitOption]) -> Vec<&UnitOption> {
    let mut first_of_section = std::collections::BTreeMap::new();
    for (idx, option) in options.iter().enumerate() {
        first_of_section.entry(option.section.as_str()).or_insert(idx);
    }
    let mut grouped: Vec<&UnitOption> = options.iter().collect();
    grouped.sort_by_key(|option| first_of_section[option.section.as_str()]); // A stable sort: order inside is kept.
    grouped
}
