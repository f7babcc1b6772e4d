//! Reading `[X-Fleet]`: from lines to [`Requirements`], with a word about each line that does not say what it seems to.

use crate::model::{MACHINE_ID_SHORT_LEN, MachineId};

use super::check::Findings;
use super::problem::{Problem, shown};
use super::spelling::nearest;
use super::value::{Specifiers, split_value, with_some_instance};
use super::{
    FLEET_SECTION, Form, Glob, Requirements, UNIT_NAME_LEN_MAX, UnitFile, UnitName, UnitNameError, UnitOption,
    WhenIsolated, mangle,
};

/// The options of `[X-Fleet]` with all their spellings, in the order in which their values count.
///
/// This table is all that is known of names: a new option is a line here and a reader in [`Section::read`].
const OPTIONS: [(Key, &str, &[&str]); 7] = [
    (Key::MachineId, "MachineID", &["MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID"]),
    (Key::MachineOf, "MachineOf", &["X-ConditionMachineOf", "MachineOf"]),
    (Key::MachineMetadata, "MachineMetadata", &["X-ConditionMachineMetadata", "MachineMetadata"]),
    (Key::Conflicts, "Conflicts", &["X-Conflicts", "Conflicts"]),
    (Key::Replaces, "Replaces", &["Replaces"]),
    (Key::Global, "Global", &["Global"]),
    (Key::WhenIsolated, "WhenIsolated", &["WhenIsolated"]),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    MachineId,
    MachineOf,
    MachineMetadata,
    Conflicts,
    Replaces,
    Global,
    WhenIsolated,
}

/// Texts that are true or false, in any letter case. The original took every text but the true ones for false.
const TRUE: [&str; 5] = ["true", "yes", "1", "on", "t"];
const FALSE: [&str; 6] = ["false", "no", "0", "off", "f", ""];

/// Length of a systemd machine ID. `MachineID=` matches all of it or its short form, no other part of it.
const MACHINE_ID_LEN: usize = 32;

/// How many values all options of the section may have together.
///
/// Each pattern is held against each name when the file is checked, and against every unit of the cluster later.
pub const FLEET_VALUES_MAX: usize = 1000;

/// The section `[X-Fleet]` of one file under one name.
pub(super) struct Section<'a> {
    file: &'a UnitFile,
    specifiers: Specifiers,
}

/// One value of an option, split and expanded.
struct Value<'a> {
    line: u32,
    /// The option's name as it is spelled on the line.
    spelling: &'a str,
    /// All that stands behind the `=`.
    given: &'a str,
    text: String,
}

impl<'a> Section<'a> {
    /// The section as `name` reads it.
    pub(super) fn of(name: &'a UnitName, file: &'a UnitFile) -> Section<'a> {
        Section { file, specifiers: Specifiers::of(name) }
    }

    /// The section as it is checked: a template's as any instance will read it, since that is who its lines are for.
    pub(super) fn to_check(name: &'a UnitName, file: &'a UnitFile) -> Section<'a> {
        match name.form() {
            Form::Template => Section { file, specifiers: Specifiers::of_any_instance(name) },
            Form::Plain | Form::Instance(_) => Section::of(name, file),
        }
    }

    /// Reports every problem there is, unknown options and impossible combinations included.
    pub(super) fn check(&self, findings: &mut Findings) {
        let n_others: usize =
            OPTIONS.iter().filter(|(key, ..)| *key != Key::Conflicts).map(|(key, ..)| self.values(*key).len()).sum();
        let n_values = n_others + self.conflicts().len();
        if FLEET_VALUES_MAX < n_values {
            let message = format!("[{FLEET_SECTION}] has {n_values} values, at most {FLEET_VALUES_MAX}");
            findings.error(Problem::new(None, message).hint("a pattern such as `web@*.service` covers many units"));
            return;
        }
        self.check_spelling(findings);
        self.read(findings);
        self.check_combinations(findings);
    }

    /// Reads all options. What is malformed is reported and then has the meaning the original gave it.
    pub(super) fn read(&self, findings: &mut Findings) -> Requirements {
        let mut requirements = Requirements {
            conflicts: read_globs(&self.conflicts(), findings),
            replaces: read_globs(&self.values(Key::Replaces), findings),
            global: self.read_global(findings),
            when_isolated: self.read_when_isolated(findings),
            ..Requirements::default()
        };
        self.read_machine_id(&mut requirements, findings);
        self.read_machine_of(&mut requirements, findings);
        self.read_metadata(&mut requirements, findings);
        requirements
    }

    fn read_machine_id(&self, requirements: &mut Requirements, findings: &mut Findings) {
        let values = self.values(Key::MachineId);
        let Some((first, others)) = values.split_first() else { return };
        for other in others.iter().filter(|other| other.text != first.text) {
            let message = format!("has no effect: only the first machine ID counts, {}", shown(&first.text));
            findings.warn(other.problem(&message));
        }
        let id = &first.text;
        if with_some_instance(id).parse::<MachineId>().is_err() {
            let problem = first.problem("no machine can have this ID");
            requirements.never.push(problem.message.clone());
            findings.strict(
                problem.hint("write the ID that `fleetctl list-machines --full` shows, on one line without quotes"),
            );
        } else if id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && id.len() < MACHINE_ID_LEN
            && MACHINE_ID_SHORT_LEN < id.len()
        {
            let problem = first.problem("this is a part of a machine ID, which matches no machine");
            findings.warn(problem.hint("write the whole ID, or exactly its first 8 characters"));
        }
        requirements.machine_id = Some(id.clone());
    }

    fn read_machine_of(&self, requirements: &mut Requirements, findings: &mut Findings) {
        for value in self.values(Key::MachineOf) {
            let unsatisfiable = match with_some_instance(&value.text).parse::<UnitName>() {
                Ok(_) if value.text == self.specifiers.full => {
                    let problem = value.problem("a unit is always on its own machine");
                    findings.strict(problem.hint("remove the line, or name the unit that this one shall follow"));
                    continue;
                }
                Ok(peer) if peer.form() == Form::Template => value
                    .problem("a template is never placed, so nothing can be where it is")
                    .hint("name an instance; `%i` stands for this unit's own instance name"),
                Ok(peer) => {
                    requirements.machine_of.insert(peer);
                    continue;
                }
                Err(_) if value.text.contains("\\\n") => value.problem(CONTINUED).hint(ONE_LINE_EACH),
                Err(_) if value.text.contains(char::is_whitespace) => {
                    value.problem("this is one unit name with blanks in it, not several").hint(value.quoted_hint())
                }
                Err(error) => {
                    let problem = value.problem(&error.to_string());
                    match error {
                        UnitNameError::Empty if !value.given.is_empty() => {
                            problem.hint("write exactly one blank between two quoted values")
                        }
                        UnitNameError::NoType { .. } => {
                            problem.hint(format!("write `{}={}`", value.spelling, mangle(&value.text)))
                        }
                        _ if value.text.contains(['*', '?', '[']) => {
                            problem.hint("patterns are for Conflicts and Replaces; MachineOf takes whole names")
                        }
                        _ => problem,
                    }
                }
            };
            requirements.never.push(unsatisfiable.message.clone());
            findings.strict(unsatisfiable);
        }
    }

    fn read_metadata(&self, requirements: &mut Requirements, findings: &mut Findings) {
        for value in self.values(Key::MachineMetadata) {
            let parts: Vec<&str> = value.text.split('=').collect();
            // Malformed conditions are no conditions, as in the original: an old file goes on running where it ran.
            let [key, wanted] = parts[..] else {
                let problem =
                    value.problem("this is not one condition `key=value`, so it would be no condition at all");
                findings.strict(match value.text.contains("\\\n") {
                    true => problem.hint(ONE_LINE_EACH),
                    false if value.text.contains([' ', '\t', '"', '\'', ',']) => problem.hint(value.quoted_hint()),
                    false => problem.hint("write `MachineMetadata=key=value`; neither part can hold a `=`"),
                });
                continue;
            };
            if key.is_empty() || wanted.is_empty() {
                let missing = if key.is_empty() { "key" } else { "value" };
                let problem = value.problem(&format!("the {missing} is missing, so it would be no condition at all"));
                findings.strict(problem.hint("write `MachineMetadata=key=value`"));
                continue;
            }
            if key.trim() != key {
                let problem = value.problem(&format!("no machine has the key {}, with a blank at its end", shown(key)));
                let (key, wanted) = (key.trim(), wanted.trim());
                findings.strict(problem.hint(format!("write `MachineMetadata={key}={wanted}`")));
            } else if wanted.trim() != wanted {
                findings.warn(value.problem(&format!("the blank is part of the value {}", shown(wanted))));
            }
            requirements.metadata.entry(key.to_owned()).or_default().insert(wanted.to_owned());
        }
    }

    fn read_global(&self, findings: &mut Findings) -> bool {
        let values = self.values(Key::Global);
        for value in &values {
            let known = is_true(&value.text) || FALSE.iter().any(|word| value.text.eq_ignore_ascii_case(word));
            // Of a template with `Global=%i` only the instances can tell.
            if !known && with_some_instance(&value.text) == value.text {
                findings
                    .strict(value.problem("neither true nor false, so it would be false").hint("write `Global=true`"));
            }
        }
        values.last().is_some_and(|value| is_true(&value.text))
    }

    /// The original does not know the option, so there is no old file whose meaning a wrong value could keep.
    fn read_when_isolated(&self, findings: &mut Findings) -> WhenIsolated {
        let mut chosen = WhenIsolated::default();
        for value in self.values(Key::WhenIsolated) {
            let known = [WhenIsolated::Keep, WhenIsolated::Stop].into_iter().find(|word| word.as_str() == value.text);
            // Of a template with `WhenIsolated=%i` only the instances can tell.
            if known.is_none() && with_some_instance(&value.text) == value.text {
                let what = "neither keep nor stop, so it would not count";
                findings.strict(value.problem(what).hint("write `WhenIsolated=keep` or `WhenIsolated=stop`"));
            }
            chosen = known.unwrap_or(chosen);
        }
        chosen
    }

    /// Unknown options, and options and sections that were meant for fleet but are not where it looks.
    fn check_spelling(&self, findings: &mut Findings) {
        let names = || OPTIONS.iter().map(|(_, name, _)| *name);
        let spellings = || OPTIONS.iter().flat_map(|(_, _, spellings)| spellings.iter().copied());
        let mut last_section = None;
        for (line, UnitOption { section, name, value }) in self.file.options_with_lines() {
            if section == FLEET_SECTION {
                if value.is_empty() && matches!(name.as_str(), "Conflicts" | "X-Conflicts" | "Replaces") {
                    let message =
                        format!("`{name}=` has no effect: an empty line does not take back the lines before it");
                    findings.warn(Problem::new(line, message).hint("remove it, and the lines that shall not count"));
                }
                if !spellings().any(|known| known == name) {
                    let message = format!("unrecognized requirement in [{FLEET_SECTION}] section: {name:?}");
                    let hint = match nearest(name, names()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("fleet knows {}", names().collect::<Vec<_>>().join(", ")),
                    };
                    findings.strict(Problem::new(line, message).hint(hint));
                }
            } else if nearest(section, [FLEET_SECTION]).is_some() {
                if last_section != Some(section) {
                    let message =
                        format!("section {} is not fleet's, so its options would have no effect", shown(section));
                    findings.strict(Problem::new(line, message).hint(format!("write `[{FLEET_SECTION}]`")));
                }
            } else if name != "Conflicts" && spellings().any(|known| known == name) {
                // `Conflicts` is an option of systemd's as well, in `[Unit]`.
                let message = format!("`{name}` in section {} has no effect", shown(section));
                findings.warn(Problem::new(line, message).hint(format!("move it to `[{FLEET_SECTION}]`")));
            }
            last_section = Some(section);
        }
    }

    /// The original's rules on which options exclude each other, in its order and with its words.
    ///
    /// Unlike the original they are held against the expanded values, so what `%p` hides is found as well.
    fn check_combinations(&self, findings: &mut Findings) {
        let (peers, conflicts, replaces) = (self.values(Key::MachineOf), self.conflicts(), self.values(Key::Replaces));
        // What is malformed matches nothing here; `read` has reported it.
        let globs = |values: &[Value<'_>]| -> Vec<Glob> {
            values.iter().filter_map(|value| Glob::new(&value.text).ok()).collect()
        };
        let patterns = [(globs(&conflicts), "conflict"), (globs(&replaces), "replace")];
        for peer in peers.iter().map(|peer| &peer.text) {
            for (globs, kind) in &patterns {
                for glob in globs.iter().filter(|glob| glob.matches(peer)).map(Glob::as_str) {
                    let message = format!("unresolvable requirements: peer {peer:?} matches {kind} {glob:?}");
                    findings.error(Problem::new(None, message));
                }
            }
        }
        let target = !self.values(Key::MachineId).is_empty();
        let global = self.values(Key::Global).last().is_some_and(|value| is_true(&value.text));
        let (peers, conflicts, replaces) = (!peers.is_empty(), !conflicts.is_empty(), !replaces.is_empty());
        for (both, message) in [
            (target && peers, "MachineID cannot be used with Peers"),
            (target && conflicts, "MachineID cannot be used with Conflicts"),
            (target && global, "MachineID cannot be used with Global"),
            (target && replaces, "MachineID cannot be used with Replaces"),
            (global && peers, "Global cannot be used with Peers"),
            (global && replaces, "Global cannot be used with Replaces"),
            (conflicts && replaces, "Conflicts cannot be used with Replaces"),
        ] {
            if both {
                let problem = Problem::new(None, message);
                findings.error(match message.ends_with("Peers") {
                    true => problem.hint("Peers are the units that MachineOf names"),
                    false => problem,
                });
            }
        }
    }

    /// All values of one option, in the order in which its spellings and lines count.
    fn values(&self, key: Key) -> Vec<Value<'a>> {
        let mut values = Vec::new();
        let spellings = OPTIONS.iter().filter(|(known, _, _)| *known == key).flat_map(|(_, _, spellings)| *spellings);
        for spelling in spellings {
            for (line, UnitOption { section, name, value: given }) in self.file.options_with_lines() {
                if section == FLEET_SECTION && name == spelling {
                    let texts = split_value(given).into_iter().map(|text| self.specifiers.expand(&text));
                    values.extend(texts.map(|text| Value { line, spelling, given, text }));
                }
            }
        }
        values
    }

    /// The values of `Conflicts`, which are split at white space once more. An empty line gives none.
    fn conflicts(&self) -> Vec<Value<'a>> {
        let mut patterns = Vec::new();
        for value in self.values(Key::Conflicts) {
            patterns.extend(value.text.split_whitespace().map(|text| Value { text: text.to_owned(), ..value }));
        }
        patterns
    }
}

const CONTINUED: &str = "in this section a value cannot continue on the next line";
const ONE_LINE_EACH: &str = "write the option once more, on a line of its own, for each value";

/// Reads patterns; those that cannot match anything are reported, those that are malformed are left out.
fn read_globs(values: &[Value<'_>], findings: &mut Findings) -> Vec<Glob> {
    let mut globs = Vec::new();
    for value in values {
        let glob = match Glob::new(&value.text) {
            Ok(glob) => glob,
            Err(_) if value.text == "\\" => {
                findings.strict(value.problem(CONTINUED).hint(ONE_LINE_EACH));
                continue;
            }
            Err(error) => {
                findings.strict(value.problem(&format!("{error}, so it would match nothing")));
                continue;
            }
        };
        if value.text.contains(char::is_whitespace) {
            findings
                .strict(value.problem("this is one pattern with blanks in it, not several").hint(value.quoted_hint()));
        } else if let Some(hint) = never_matches(&glob) {
            findings.warn(value.problem("this pattern matches no unit name").hint(hint));
        } else if value.text.contains("[!") {
            findings.warn(value.problem("`[!` does not negate").hint("write `[^` for any character but these"));
        }
        globs.push(glob);
    }
    globs
}

/// Why a well-formed pattern matches no name that a unit can have, as a hint; `None` if there is no sign of that.
fn never_matches(glob: &Glob) -> Option<String> {
    let pattern = glob.as_str();
    if pattern.contains("\\x") && !pattern.contains("\\\\x") {
        return Some("a backslash in a name is written as two: `\\\\x2d`".to_owned());
    }
    if pattern.contains(['{', '}']) {
        return Some("braces are not expanded: write one pattern for each".to_owned());
    }
    let name = with_some_instance(&glob.literal()?);
    match name.parse::<UnitName>() {
        Ok(_) => None,
        Err(UnitNameError::NoType { .. } | UnitNameError::BadType { .. }) => {
            Some(format!("it has to cover the type as well: `{}` or `{pattern}*`", mangle(pattern)))
        }
        Err(UnitNameError::TooLong { .. }) => Some(format!("a name has at most {UNIT_NAME_LEN_MAX} bytes")),
        Err(error) => Some(error.to_string()),
    }
}

fn is_true(text: &str) -> bool {
    TRUE.iter().any(|word| text.eq_ignore_ascii_case(word))
}

impl Value<'_> {
    /// `what` is wrong with the value. The line as it stands is named first, because that is what a user looks for.
    fn problem(&self, what: &str) -> Problem {
        let option = shown(&format!("{}={}", self.spelling, self.given));
        let message = match self.text == self.given {
            true => format!("{option}: {what}"),
            false => format!("{option}: {}: {what}", shown(&self.text)),
        };
        Problem::new(self.line, message)
    }

    /// How to write a value that looks like a list.
    fn quoted_hint(&self) -> String {
        let separators = |ch: char| ch.is_whitespace() || "\"',".contains(ch);
        let quoted: Vec<String> =
            self.given.split(separators).filter(|word| !word.is_empty()).map(|word| format!("\"{word}\"")).collect();
        format!("write {}, or one line for each", shown(&format!("{}={}", self.spelling, quoted.join(" "))))
    }
}
