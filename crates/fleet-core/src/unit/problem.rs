//! What is wrong with a unit file, in words a user can act on.

use std::fmt;

/// One thing that is wrong, or only odd, in a unit file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line of the text that was checked, counted from 1; `None` if it concerns the whole file.
    pub line: Option<u32>,
    /// What is wrong, with the value it is about.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn new(line: impl Into<Option<u32>>, message: impl Into<String>) -> Problem {
        Problem { line: line.into(), message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

/// The line and the message; the hint is shown apart, by whoever prints.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// How many characters of a value a message shows. A value may have half a million.
const SHOWN_LEN_MAX: usize = 120;

/// `text` between backticks, on one line, cut at [`SHOWN_LEN_MAX`] characters.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::from("`");
    for (idx, ch) in text.chars().enumerate() {
        if idx == SHOWN_LEN_MAX {
            out.push('…');
            break;
        }
        if ch.is_control() {
            out.extend(ch.escape_default());
        } else {
            out.push(ch);
        }
    }
    out.push('`');
    out
}

/// How many problems of one kind are kept for one file, so that a file of nonsense cannot make an answer without end.
pub const PROBLEMS_MAX: usize = 100;

/// A list of problems that stops growing at [`PROBLEMS_MAX`] and then only counts.
#[derive(Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    n_omitted: usize,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        if self.list.len() < PROBLEMS_MAX {
            self.list.push(problem);
        } else {
            self.n_omitted += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems, those of the whole file first, then by line.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| problem.line); // Stable: problems of one line stay in the order of the checks.
        if 0 < self.n_omitted {
            self.list.push(Problem::new(None, format!("and {} more", self.n_omitted)));
        }
        self.list
    }
}
