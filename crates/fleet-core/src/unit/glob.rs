//! Glob patterns over unit names, in the syntax of the original: Go's `path.Match`.
//!
//! ```text
//! pattern: { term }
//! term:    '*'                 any characters, none too, but no `/`
//!          '?'                 one character, but no `/`
//!          '[' [ '^' ] range { range } ']'
//!          '\' c               the character c
//!          c                   itself, unless it is one of `*?[\`
//! range:   c | '\' c           one character; unescaped none of `-]`
//!          lo '-' hi           both written like c
//! ```

use std::str::{Chars, FromStr};

/// Longest pattern in bytes.
///
/// A name has at most 255 bytes, so longer patterns have no use; the limit bounds the cost of one match.
pub const GLOB_LEN_MAX: usize = 1024;

/// A pattern over unit names, as in `Conflicts=web@*.service`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    pattern: String, // Invariant: accepted by `Glob::new`.
}

/// A pattern that cannot match anything because its syntax is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pattern `{pattern}`: {fault}")]
pub struct GlobError {
    /// What was given, cut at [`GLOB_LEN_MAX`] bytes.
    pub pattern: String,
    /// What is wrong with it.
    pub fault: &'static str,
}

/// One character of a name, as the pattern describes it.
enum Term<'a> {
    Star,
    AnyChar,
    Class(Class<'a>),
    Literal(char),
}

/// The text after `[` or `[^`, up to the end of the pattern.
struct Class<'a> {
    negated: bool,
    ranges: Chars<'a>,
}

impl Glob {
    /// Checks a pattern.
    ///
    /// # Errors
    /// [`GlobError`] if the syntax is wrong or it is longer than [`GLOB_LEN_MAX`].
    pub fn new(pattern: &str) -> Result<Glob, GlobError> {
        let error = |fault| {
            let fits = |&(at, ch): &(usize, char)| at + ch.len_utf8() <= GLOB_LEN_MAX;
            let shown = pattern.char_indices().take_while(fits).map(|(_, ch)| ch).collect();
            GlobError { pattern: shown, fault }
        };
        if GLOB_LEN_MAX < pattern.len() {
            return Err(error("it is longer than any name needs (at most 1024 bytes)"));
        }
        let mut rest = pattern.chars();
        while next_term(&mut rest).map_err(error)?.is_some() {}
        Ok(Glob { pattern: pattern.to_owned() })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the pattern covers the whole of `name`. Allocates nothing.
    pub fn matches(&self, name: &str) -> bool {
        let (mut terms, mut chars) = (self.pattern.chars(), name.chars());
        // Where to go on after a mismatch: behind the last star, with one more character given to that star. Earlier
        // stars need not be tried again: what they took was the shortest that fits, and the last star can take the rest.
        let mut retry: Option<(Chars<'_>, Chars<'_>)> = None;
        loop {
            let at_char = chars.clone();
            let fits = match (valid(next_term(&mut terms)), chars.next()) {
                (None, None) => return true,
                // Nearly all patterns end in one star and a plain text, such as `.service`: no need to search for that.
                (Some(Term::Star), _) if !terms.as_str().contains(['*', '?', '[', '\\']) => {
                    let taken = at_char.as_str().strip_suffix(terms.as_str());
                    break taken.is_some_and(|taken| !taken.contains('/'));
                }
                (Some(Term::Star), _) => {
                    chars = at_char;
                    retry = Some((terms.clone(), chars.clone()));
                    true
                }
                (None, Some(_)) | (Some(_), None) => false,
                (Some(Term::AnyChar), Some(ch)) => ch != '/',
                (Some(Term::Class(class)), Some(ch)) => class.contains(ch),
                (Some(Term::Literal(literal)), Some(ch)) => literal == ch,
            };
            if fits {
                continue;
            }
            let Some((star_terms, star_chars)) = &mut retry else { return false };
            if star_chars.next().is_none_or(|ch| ch == '/') {
                return false;
            }
            terms = star_terms.clone();
            chars = star_chars.clone();
        }
    }

    /// What every matching name starts with, for looking up candidates in an ordered index. May be empty.
    pub fn literal_prefix(&self) -> String {
        let mut terms = self.pattern.chars();
        let mut prefix = String::new();
        while let Some(Term::Literal(ch)) = valid(next_term(&mut terms)) {
            prefix.push(ch);
        }
        prefix
    }

    /// The only name that matches, if the pattern has neither star nor `?` nor class.
    pub fn literal(&self) -> Option<String> {
        let mut terms = self.pattern.chars();
        let mut name = String::new();
        loop {
            match valid(next_term(&mut terms)) {
                None => return Some(name),
                Some(Term::Literal(ch)) => name.push(ch),
                Some(Term::Star | Term::AnyChar | Term::Class(_)) => return None,
            }
        }
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(pattern: &str) -> Result<Glob, GlobError> {
        Glob::new(pattern)
    }
}

impl Class<'_> {
    fn contains(mut self, ch: char) -> bool {
        let mut found = false;
        while let Some((lo, hi)) = valid(next_range(&mut self.ranges)) {
            found |= lo <= ch && ch <= hi;
        }
        found != self.negated
    }
}

/// Takes one term off the pattern. A class is handed out and skipped, without a look at its ranges.
fn next_term<'a>(rest: &mut Chars<'a>) -> Result<Option<Term<'a>>, &'static str> {
    let Some(ch) = rest.next() else { return Ok(None) };
    Ok(Some(match ch {
        '*' => Term::Star,
        '?' => Term::AnyChar,
        '[' => {
            let mut ranges = rest.clone();
            let negated = ranges.as_str().starts_with('^');
            if negated {
                ranges.next();
            }
            if ranges.as_str().starts_with(']') {
                return Err("a class needs a character before its `]`");
            }
            *rest = ranges.clone();
            while next_range(rest)?.is_some() {}
            Term::Class(Class { negated, ranges })
        }
        '\\' => Term::Literal(rest.next().ok_or("nothing follows the `\\` at its end")?),
        literal => Term::Literal(literal),
    }))
}

/// Takes one range off a class, or its closing bracket (`None`).
fn next_range(rest: &mut Chars<'_>) -> Result<Option<(char, char)>, &'static str> {
    if rest.as_str().starts_with(']') {
        rest.next();
        return Ok(None);
    }
    let lo = range_end(rest)?;
    let hi = if rest.as_str().starts_with('-') {
        rest.next();
        range_end(rest)?
    } else {
        lo
    };
    Ok(Some((lo, hi)))
}

fn range_end(rest: &mut Chars<'_>) -> Result<char, &'static str> {
    const NOT_CLOSED: &str = "`[` has no `]`";
    match rest.next().ok_or(NOT_CLOSED)? {
        '\\' => rest.next().ok_or(NOT_CLOSED),
        '-' | ']' => Err("in a class `-` stands between two characters; write `\\-` for itself"),
        ch => Ok(ch),
    }
}

/// The content of a result that cannot be an error since `Glob::new` accepted the pattern.
fn valid<T>(parsed: Result<Option<T>, &'static str>) -> Option<T> {
    parsed.unwrap_or_default()
}
