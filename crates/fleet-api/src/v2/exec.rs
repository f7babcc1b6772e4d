//! `POST /units/NAME/exec`: a command beside a unit.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Most words of a command, the program included.
pub const EXEC_WORDS_MAX: usize = 1_000;

/// Most bytes of a command, all words together. The kernel takes no longer single word.
pub const EXEC_COMMAND_BYTES_MAX: usize = 128 << 10;

/// Most bytes for a command's standard input.
pub const EXEC_STDIN_BYTES_MAX: usize = 16 << 20;

/// A command that is to run beside a unit, where the unit is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecRequest {
    /// The program and its arguments, as they are: no shell reads them. At most [`EXEC_WORDS_MAX`] words and
    /// [`EXEC_COMMAND_BYTES_MAX`] bytes. A program without a path is looked for where systemd looks.
    #[schema(min_items = 1)]
    pub command: Vec<String>,
    /// What the command reads, if that is text; nothing without it. At most [`EXEC_STDIN_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// The same in base64, for what is no text. Not together with `stdin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin_base64: Option<String>,
}

/// The query of `POST /units/NAME/exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExecQuery {
    /// On which machine; needed only for a unit that is on several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Another fleetd asks: what is not on a machine of the one that is asked is not sent on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
}

/// One line of the answer: one of these, or none, which only shows that the connection lives. The line with `ended` is the last; an
/// answer without it broke off, and nobody knows how the command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecEvent {
    /// The command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<ExecStarted>,
    /// What the command wrote to its standard output, if that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// What it wrote there and is no text, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_base64: Option<String>,
    /// What the command wrote to its standard error, if that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// What it wrote there and is no text, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_base64: Option<String>,
    /// The command has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<ExecEnded>,
}

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecStarted {
    /// The machine's ID.
    pub machine: String,
    /// The service that it is there, for that machine's systemctl.
    pub service: String,
}

/// How a command ended: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecEnded {
    /// By itself, with this exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// By this signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    /// It was stopped, or nobody knows how it ended: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Base64 that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is no base64: {reason}")]
pub struct Base64Error {
    /// Which field.
    pub field: &'static str,
    /// Why.
    pub reason: String,
}

impl ExecRequest {
    /// This command, with these bytes to read.
    pub fn new(command: Vec<String>, stdin: Vec<u8>) -> ExecRequest {
        let (stdin, stdin_base64) = if stdin.is_empty() { (None, None) } else { wrap(stdin) };
        ExecRequest { command, stdin, stdin_base64 }
    }

    /// What the command reads.
    ///
    /// # Errors
    /// Base64 that is none.
    pub fn stdin_bytes(&self) -> Result<Vec<u8>, Base64Error> {
        unwrap("stdin_base64", self.stdin.as_deref(), self.stdin_base64.as_deref()).map(Option::unwrap_or_default)
    }
}

impl ExecEvent {
    /// Bytes that were written to standard output.
    pub fn of_stdout(bytes: Vec<u8>) -> ExecEvent {
        let (stdout, stdout_base64) = wrap(bytes);
        ExecEvent { stdout, stdout_base64, ..ExecEvent::default() }
    }

    /// Bytes that were written to standard error.
    pub fn of_stderr(bytes: Vec<u8>) -> ExecEvent {
        let (stderr, stderr_base64) = wrap(bytes);
        ExecEvent { stderr, stderr_base64, ..ExecEvent::default() }
    }

    /// What was written to standard output, if that is what this says.
    ///
    /// # Errors
    /// Base64 that is none.
    pub fn stdout_bytes(&self) -> Result<Option<Vec<u8>>, Base64Error> {
        unwrap("stdout_base64", self.stdout.as_deref(), self.stdout_base64.as_deref())
    }

    /// What was written to standard error, if that is what this says.
    ///
    /// # Errors
    /// Base64 that is none.
    pub fn stderr_bytes(&self) -> Result<Option<Vec<u8>>, Base64Error> {
        unwrap("stderr_base64", self.stderr.as_deref(), self.stderr_base64.as_deref())
    }
}

/// Bytes as the wire has them: as text, or in base64. What has a zero byte in it is no text, and JSON would make six of each.
fn wrap(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => (Some(text), None),
        Ok(text) => (None, Some(BASE64_STANDARD.encode(text))),
        Err(err) => (None, Some(BASE64_STANDARD.encode(err.as_bytes()))),
    }
}

fn unwrap(field: &'static str, text: Option<&str>, base64: Option<&str>) -> Result<Option<Vec<u8>>, Base64Error> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(base64)) => {
            BASE64_STANDARD.decode(base64).map(Some).map_err(|err| Base64Error { field, reason: err.to_string() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_on_the_wire() {
        let check = |event: &ExecEvent, expected: &str| {
            let text = serde_json::to_string(event).expect("it has a JSON form");
            assert_eq!(text, expected);
            assert_eq!(serde_json::from_str::<ExecEvent>(&text).as_ref().expect("an event"), event);
        };
        check(&ExecEvent::of_stdout(b"a\xc3\xa4\n".to_vec()), "{\"stdout\":\"a\u{e4}\\n\"}");
        let odd = ExecEvent::of_stderr(vec![0, 0xff]);
        check(&odd, r#"{"stderr_base64":"AP8="}"#);
        check(&ExecEvent::of_stdout(b"a\0".to_vec()), r#"{"stdout_base64":"YQA="}"#);
        assert_eq!(odd.stderr_bytes(), Ok(Some(vec![0, 0xff])));
        assert_eq!(odd.stdout_bytes(), Ok(None));
        let ended = ExecEnded { signal: Some(9), ..ExecEnded::default() };
        check(&ExecEvent { ended: Some(ended), ..ExecEvent::default() }, r#"{"ended":{"signal":9}}"#);
        check(&ExecEvent::default(), "{}");

        let asked = ExecRequest::new(vec!["cat".to_owned()], vec![0xff]);
        assert_eq!(asked.stdin_bytes(), Ok(vec![0xff]));
        let wrong = ExecRequest { stdin_base64: Some("?".to_owned()), ..ExecRequest::default() };
        assert_eq!(wrong.stdin_bytes().expect_err("no base64").field, "stdin_base64");
        let newer = serde_json::from_str::<ExecEvent>(r#"{"warning":"of a newer fleetd"}"#);
        assert_eq!(newer.expect("an event"), ExecEvent::default());
    }
}
