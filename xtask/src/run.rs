//! Running programs and talking to the person in front of them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Why a chore failed.
#[derive(Debug, thiserror::Error)]
pub enum ChoreError {
    #[error("cannot run `{line}`: {err}")]
    Start { line: String, err: std::io::Error },
    #[error("`{line}` failed ({status})")]
    Failed { line: String, status: std::process::ExitStatus },
    #[error("{0}")]
    Other(String),
}

/// One line for a person, on stderr.
pub fn say(line: &str) {
    // Nobody reads any more: no error.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One line of result, on stdout.
pub fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.clone(), PathBuf::from)
}

/// cargo, in the workspace, as it was called for this chore.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(args);
    command
}

/// Where cargo puts programs of `profile` (`debug` or `release`): beside this one, whose own is among them.
pub fn programs(profile: &str) -> Result<PathBuf, ChoreError> {
    let own = std::env::current_exe().map_err(|err| ChoreError::Other(format!("cannot tell where I am: {err}")))?;
    let target = own.parent().and_then(|folder| folder.parent());
    target.map(|target| target.join(profile)).ok_or_else(|| ChoreError::Other("I am nowhere".to_owned()))
}

/// Runs a program with its output shown; an exit code other than 0 is an error.
pub fn check(command: &mut Command) -> Result<(), ChoreError> {
    let line = line(command);
    let status = command.status().map_err(|err| ChoreError::Start { line: line.clone(), err })?;
    if status.success() { Ok(()) } else { Err(ChoreError::Failed { line, status }) }
}

/// Runs a program and gives what it printed.
pub fn output(command: &mut Command) -> Result<String, ChoreError> {
    let line = line(command);
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|err| ChoreError::Start { line: line.clone(), err })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(ChoreError::Failed { line, status: output.status })
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
