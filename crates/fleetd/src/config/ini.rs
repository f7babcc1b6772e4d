//! The configuration file's syntax: the original's INI dialect, so that old files go on working.
//!
//! Top-level keys only; what follows a `[section]` line is ignored. Keys do not depend on case, and the last of equal keys
//! wins. Lines that begin with `#` or `;` are comments. A value in `"…"` or `'…'` loses its quotes if the closing one ends
//! the line; an unquoted value ends at the first `#` or `;`. A backslash at the end continues the line.

use std::collections::BTreeMap;

/// A line that is neither key nor comment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{text}` has no `=`; write `key = value`")]
pub struct IniError {
    /// 1-based.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// What a file says.
#[derive(Debug, Default)]
pub struct Ini {
    /// Keys in lower case with their value and line.
    pub keys: BTreeMap<String, (String, usize)>,
    /// The line of the first section, from which on nothing was read.
    pub section: Option<usize>,
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Ini, IniError> {
    let mut ini = Ini::default();
    let mut lines = text.lines().enumerate();
    while let Some((idx, line)) = lines.next() {
        let mut logical = line.trim().to_owned();
        if logical.is_empty() || logical.starts_with(['#', ';']) {
            continue;
        }
        if logical.starts_with('[') {
            ini.section = Some(idx + 1);
            break;
        }
        while logical.ends_with('\\') {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim()),
                None => break,
            }
        }
        let Some((key, value)) = logical.split_once('=') else {
            return Err(IniError { line: idx + 1, text: logical });
        };
        ini.keys.insert(key.trim().to_lowercase(), (unquote(value.trim()), idx + 1));
    }
    Ok(ini)
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.to_owned();
        }
    }
    value.split(['#', ';']).next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let keys = parse(text).expect("a file that parses").keys;
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, (value, _))| (key.as_str(), value.as_str())).collect();
        assert_eq!(keys, expected, "{text:?}");
    }

    #[test]
    fn values() {
        check("", &[]);
        check("# c\n; c\n\nverbosity=1\n", &[("verbosity", "1")]);
        check("Verbosity = 1\nVERBOSITY = 2", &[("verbosity", "2")]);
        check("metadata=\"a=b,c=d\"", &[("metadata", "a=b,c=d")]);
        check("metadata='a=b'", &[("metadata", "a=b")]);
        check("metadata=a=b # note", &[("metadata", "a=b")]);
        check("metadata=\"a=b\" # note", &[("metadata", "\"a=b\"")]);
        check("metadata=a=b,\\\n  c=d", &[("metadata", "a=b,c=d")]);
        check("public_ip=", &[("public_ip", "")]);
        check("a=1\n[section]\nb=2", &[("a", "1")]);
        check("a=1\r\nb=2\r\n", &[("a", "1"), ("b", "2")]);
        assert_eq!(parse("a=1\n[fleet]\nb=2").expect("a file that parses").section, Some(2));
        let err = parse("a=1\nnonsense\n").expect_err("a line without `=`");
        assert_eq!(err, IniError { line: 2, text: "nonsense".to_owned() });
    }
}
