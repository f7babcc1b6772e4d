//! Glob patterns over unit names.

/// A pattern over unit names, in the syntax of the original (Go's `path.Match`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    pattern: String, // Invariant: accepted by `Glob::new`.
}

/// A pattern that cannot match anything because its syntax is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pattern `{pattern}`")]
pub struct GlobError {
    /// What was given.
    pub pattern: String,
}

impl Glob {
    /// Checks a pattern.
    pub fn new(pattern: &str) -> Result<Glob, GlobError> {
        Ok(Glob { pattern: pattern.to_owned() })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the pattern covers the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.pattern == name
    }
}
