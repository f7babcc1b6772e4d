//! The one door: every unit file that enters the cluster, from the command line or the API, passes [`check`].

use super::problem::Problems;
use super::section::Section;
use super::{Form, GUARD_UNIT, Problem, Requirements, UnitFile, UnitName, systemd};

/// What happens to lines of `[X-Fleet]` that the original took in silence and that do not do what they seem to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are errors.
    #[default]
    Strict,
    /// They are warnings, and mean what they meant in the original: for files that worked there.
    Lenient,
}

/// A unit file that may enter the cluster under the name it was checked with.
#[derive(Clone, Debug)]
pub struct CheckedUnit {
    /// The file.
    pub file: UnitFile,
    /// What it asks of a machine; equal to [`Requirements::of`] this name and file.
    pub requirements: Requirements,
    /// What is odd, by line.
    pub warnings: Vec<Problem>,
}

/// Checks the text of a unit file together with the name it shall have.
///
/// A template is checked as any of its instances would be.
///
/// # Errors
/// All that is wrong, problems of the whole file first, then by line; at most [`super::PROBLEMS_MAX`]. A text that
/// cannot be read has exactly one. Never an empty list.
pub fn check(name: &UnitName, text: &str, strictness: Strictness) -> Result<CheckedUnit, Vec<Problem>> {
    let file = UnitFile::parse(text).map_err(|error| vec![Problem::from(error)])?;
    let mut findings = Findings::new(strictness);
    for lint in file.lints() {
        findings.warn(lint.clone());
    }
    if file.options().is_empty() {
        let problem = Problem::new(None, format!("the file of unit `{name}` has no option in any section"));
        findings
            .error(problem.hint("a section starts with a line such as `[Service]`, an option is a line `NAME=VALUE`"));
    } else {
        if name.as_str() == GUARD_UNIT {
            let problem = Problem::new(None, format!("`{name}` is the name of fleet's own guard on each machine"));
            findings.error(problem.hint("give the unit another name"));
        }
        systemd::check_file(name, &file, &mut findings);
        Section::to_check(name, &file).check(&mut findings);
    }
    if !findings.errors.is_empty() {
        return Err(findings.errors.into_sorted());
    }
    let requirements = Requirements::of(name, &file);
    Ok(CheckedUnit { file, requirements, warnings: findings.warnings.into_sorted() })
}

/// Why this unit cannot have a target state other than `inactive`, if it cannot.
pub fn activation_problem(name: &UnitName) -> Option<Problem> {
    match name.form() {
        Form::Template => {
            let instance = format!("{}@1.{}", name.prefix(), name.unit_type().suffix());
            let problem = Problem::new(None, format!("cannot activate template \"{name}\""));
            Some(problem.hint(format!("start an instance of it, such as `{instance}`")))
        }
        Form::Plain | Form::Instance(_) => None,
    }
}

/// What the checks have found so far.
pub(super) struct Findings {
    strictness: Strictness,
    errors: Problems,
    warnings: Problems,
}

impl Findings {
    pub(super) fn new(strictness: Strictness) -> Findings {
        Findings { strictness, errors: Problems::default(), warnings: Problems::default() }
    }

    /// Wrong whatever the strictness.
    pub(super) fn error(&mut self, problem: Problem) {
        self.errors.push(problem);
    }

    /// Wrong, unless the file is taken leniently.
    pub(super) fn strict(&mut self, problem: Problem) {
        match self.strictness {
            Strictness::Strict => self.errors.push(problem),
            Strictness::Lenient => self.warnings.push(problem),
        }
    }

    /// Only odd.
    pub(super) fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }
}
