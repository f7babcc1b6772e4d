//! The scanner of unit files.
//!
//! It accepts what the original accepts and gives the same options, except where systemd would read the written file
//! differently; then systemd's reading wins, because systemd is who acts on it. Each such case is in
//! `docs/differences.md`, "Unit files and names". The grammar of systemd is in systemd.syntax(7); the finer points (a
//! comment inside a continuation, an even number of backslashes) were seen with `systemd-analyze verify` of systemd 252.

use super::problem::{Problems, shown};
use super::{Problem, UnitOption};

/// Longest unit file in bytes.
///
/// A store entry holds a file twice, as given and in canonical form, and has to fit into one request to etcd, whose
/// limit is 1.5 MiB unless its operator changed it (`--max-request-bytes`).
pub const UNIT_FILE_LEN_MAX: usize = 512 * 1024;

/// systemd 252 refuses a file with a line of this many bytes or more (`LONG_LINE_MAX`, seen with `systemd-analyze`).
const SYSTEMD_LINE_LEN: usize = 1024 * 1024;

// So no line needs to be measured on its own, continued ones included.
const _: () = assert!(UNIT_FILE_LEN_MAX < SYSTEMD_LINE_LEN);

/// Why a text is no unit file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it; `line` counts from 1")]
pub enum UnitFileError {
    #[error("unit file is too long: {len} bytes, at most {UNIT_FILE_LEN_MAX}")]
    TooLong { len: usize },
    #[error("line {line}: NUL byte: this is no text")]
    Nul { line: u32 },
    #[error("line {line}: unable to find end of section: {} has no `]`", shown(header))]
    SectionNotClosed { line: u32, header: String },
    #[error("line {line}: found garbage after section name `[{section}]`: {}", shown(garbage))]
    GarbageAfterSection { line: u32, section: String, garbage: String },
    #[error("line {line}: unexpected newline encountered while parsing option name: {} has no `=`", shown(text))]
    NoEquals { line: u32, text: String },
    #[error(
        "line {line}: unexpected newline encountered while parsing option name: carriage return in {}",
        shown(name)
    )]
    CarriageReturnInName { line: u32, name: String },
    #[error("line {line}: the value of `{name}` ends in a backslash followed by blanks: {}", shown(text))]
    BlankAfterBackslash { line: u32, name: String, text: String },
    #[error("line {line}: the value of `{name}` ends in a backslash at the end of the file: {}", shown(text))]
    BackslashAtEnd { line: u32, name: String, text: String },
    #[error(
        "option {} with value {} of section {} would be read back as something else",
        shown(&option.name), shown(&option.value), shown(&option.section)
    )]
    Smuggled { option: UnitOption },
}

impl UnitFileError {
    /// The line it is about, counted from 1.
    pub fn line(&self) -> Option<u32> {
        match self {
            UnitFileError::Nul { line }
            | UnitFileError::SectionNotClosed { line, .. }
            | UnitFileError::GarbageAfterSection { line, .. }
            | UnitFileError::NoEquals { line, .. }
            | UnitFileError::CarriageReturnInName { line, .. }
            | UnitFileError::BlankAfterBackslash { line, .. }
            | UnitFileError::BackslashAtEnd { line, .. } => Some(*line),
            UnitFileError::TooLong { .. } | UnitFileError::Smuggled { .. } => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            UnitFileError::TooLong { .. } => Some("move long scripts into a file of their own and call that"),
            UnitFileError::Nul { .. } => None,
            UnitFileError::SectionNotClosed { .. } => Some("a section starts with a line such as `[Service]`"),
            UnitFileError::GarbageAfterSection { .. } => {
                Some("nothing may follow `]` on its line, not even a comment; put it on the next line")
            }
            UnitFileError::NoEquals { .. } => {
                Some("write `NAME=VALUE`, or end the line before it in a backslash if it belongs to that")
            }
            UnitFileError::CarriageReturnInName { .. } => {
                Some("end lines in a newline, not in a carriage return alone")
            }
            UnitFileError::BlankAfterBackslash { .. } => {
                Some("remove the blanks to continue on the next line, or the backslash not to")
            }
            UnitFileError::BackslashAtEnd { .. } => Some("remove the backslash: there is no line to continue on"),
            UnitFileError::Smuggled { .. } => Some(
                "a name holds no `=` and starts with none of `#`, `;`, `[`; in a value a newline follows a backslash",
            ),
        }
    }
}

impl From<UnitFileError> for Problem {
    fn from(error: UnitFileError) -> Problem {
        let (line, text) = (error.line(), error.to_string());
        // `Problem` prints the line itself.
        let message = line.and_then(|line| text.strip_prefix(&format!("line {line}: "))).unwrap_or(&text);
        Problem { line, message: message.to_owned(), hint: error.hint().map(str::to_owned) }
    }
}

pub(super) struct Parsed {
    pub options: Vec<UnitOption>,
    pub lines: Vec<u32>,
    pub lints: Problems,
}

pub(super) fn parse(text: &str) -> Result<Parsed, UnitFileError> {
    if UNIT_FILE_LEN_MAX < text.len() {
        return Err(UnitFileError::TooLong { len: text.len() });
    }
    if let Some((before, _)) = text.split_once('\0') {
        return Err(UnitFileError::Nul { line: line_at(before) });
    }
    let mut parsed = Parsed { options: Vec::new(), lines: Vec::new(), lints: Problems::default() };
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => {
            parsed.lints.push(Problem::new(1, "byte order mark at the start of the file is skipped"));
            rest
        }
        None => text,
    };

    let mut section: Option<&str> = None;
    let mut lines = Lines { rest: text, number: 0 };
    while let Some(line) = lines.next() {
        let body = line.text.trim_start();
        if is_comment(body) {
            if continues(body) && lines.peek().is_some_and(|next| !is_comment(next) && !next.trim().is_empty()) {
                let lint =
                    Problem::new(line.number, "a comment does not continue over a backslash: the next line counts");
                parsed
                    .lints
                    .push(lint.hint("the original fleet would have dropped it; put `#` before it if it is a comment"));
            }
        } else if let Some(header) = body.strip_prefix('[') {
            section = Some(section_name(line.number, header)?);
        } else if let Some(section) = section.filter(|_| !body.is_empty()) {
            let (name, value) = option(&mut parsed.lints, &mut lines, &line, body)?;
            parsed.options.push(UnitOption::new(section, name, value));
            parsed.lines.push(line.number);
        } else if !body.is_empty() {
            let lint = Problem::new(line.number, format!("text before the first section is ignored: {}", shown(body)));
            parsed.lints.push(lint.hint("a section starts with a line such as `[Service]`"));
        }
    }
    Ok(parsed)
}

fn section_name(line: u32, header: &str) -> Result<&str, UnitFileError> {
    let Some((section, rest)) = header.split_once(']') else {
        return Err(UnitFileError::SectionNotClosed { line, header: format!("[{header}") });
    };
    if !rest.trim().is_empty() {
        let (section, garbage) = (section.to_owned(), rest.trim().to_owned());
        return Err(UnitFileError::GarbageAfterSection { line, section, garbage });
    }
    Ok(section)
}

/// Reads one option that begins on the line `first`, and the lines it continues on.
fn option(
    lints: &mut Problems,
    lines: &mut Lines<'_>,
    first: &Line<'_>,
    body: &str,
) -> Result<(String, String), UnitFileError> {
    let Some((name, mut part)) = body.split_once('=') else {
        return Err(UnitFileError::NoEquals { line: first.number, text: body.to_owned() });
    };
    let name = name.trim();
    if name.contains('\r') {
        return Err(UnitFileError::CarriageReturnInName { line: first.number, name: name.to_owned() });
    }
    if name.is_empty() {
        lints.push(Problem::new(first.number, "option without a name; systemd ignores it"));
    }

    let mut value = String::new();
    let mut line = Line { ..*first };
    loop {
        // A blank line ends the value even after a backslash, in systemd as well.
        if part.trim().is_empty() {
            break;
        }
        if part.trim().contains('\r') {
            let lint = Problem::new(line.number, "systemd ends the line at the carriage return that is within it");
            lints.push(lint.hint("write it as two lines"));
        }
        value.push_str(part);
        let comment = line.number != first.number && is_comment(part.trim_start());
        if !continues(part) && !comment {
            break;
        }
        if !line.terminated && !comment {
            let (name, text) = (name.to_owned(), part.trim().to_owned());
            return Err(UnitFileError::BackslashAtEnd { line: line.number, name, text });
        }
        value.push('\n');
        match lines.next() {
            None => break,
            Some(next) => line = next,
        }
        part = line.text;
        if part.trim_start().starts_with('[') {
            let lint = format!("{} continues the value of `{name}`, it starts no section", shown(part.trim()));
            lints.push(Problem::new(line.number, lint).hint("remove the backslash at the end of the line before it"));
        }
    }
    // The newline of an open continuation stays, or the next option would become part of the value when it is written.
    let open = if value.ends_with('\n') { "\n" } else { "" };
    let value = format!("{}{open}", value.trim());
    if continues(&value) {
        let (name, text) = (name.to_owned(), part.trim().to_owned());
        return Err(UnitFileError::BlankAfterBackslash { line: line.number, name, text });
    }
    if value.ends_with('\\') {
        let lint = Problem::new(line.number, format!("two backslashes do not continue the value of `{name}`"));
        lints.push(lint.hint("one backslash does; the original fleet took two as well"));
    }
    Ok((name.to_owned(), value))
}

/// Whether the line ends in a backslash that is not itself escaped by one.
fn continues(text: &str) -> bool {
    text.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

fn is_comment(text: &str) -> bool {
    text.trim_start().starts_with(['#', ';'])
}

fn line_at(before: &str) -> u32 {
    let n_newlines = before.bytes().filter(|&byte| byte == b'\n').count();
    u32::try_from(n_newlines + 1).expect("a file has fewer bytes than u32 counts")
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: u32,
    /// Without its line end: `\n`, or `\r\n`.
    text: &'a str,
    /// Whether a newline ended it, not the end of the file.
    terminated: bool,
}

struct Lines<'a> {
    rest: &'a str,
    number: u32,
}

impl<'a> Lines<'a> {
    /// The text of the next line, which stays the next one.
    fn peek(&self) -> Option<&'a str> {
        Lines { ..*self }.next().map(|line| line.text)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (text, rest, terminated) = match self.rest.split_once('\n') {
            Some((text, rest)) => (text.trim_end_matches('\r'), rest, true),
            None => (self.rest, "", false),
        };
        self.rest = rest;
        self.number += 1;
        Some(Line { number: self.number, text, terminated })
    }
}
