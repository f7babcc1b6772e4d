//! A command that runs beside a unit, for somebody who waits for it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use fleet_core::unit::UnitName;
use tokio::sync::oneshot;

/// What the names of such commands, which are services of systemd's own, begin with.
pub const EXEC_PREFIX: &str = "fleet-exec-";

/// The error name of what we refuse ourselves: a command beside a unit in which none runs.
pub const NO_SERVICE: &str = "fleet.UnitIsNoService";

/// What is to be run, and how.
#[derive(Debug)]
pub struct ExecOrder {
    /// The unit beside which it runs.
    pub unit: UnitName,
    /// Tells it from others: letters, digits and dashes. No other on this systemd ever had it.
    pub id: String,
    /// The program and its arguments, as they are: nothing in them is replaced by anything.
    pub command: Vec<String>,
    /// How long it may run. systemd itself stops it then, with all its children.
    pub limit: Duration,
    /// What it reads from and writes to.
    pub pipes: ExecPipes,
}

/// The ends of pipes that the command gets. The other ends stay with the caller.
#[derive(Debug)]
pub struct ExecPipes {
    /// Its standard input.
    pub stdin: OwnedFd,
    /// Its standard output.
    pub stdout: OwnedFd,
    /// Its standard error.
    pub stderr: OwnedFd,
}

/// A command that was begun.
#[derive(Debug)]
pub struct Execution {
    /// The service that it is: stopping that one ends it, with all its children.
    pub name: UnitName,
    /// Whether its program runs, or has run; if not, its end is at hand and says why.
    pub started: bool,
    /// How it ended, as soon as nothing of it is left. Nothing comes if that cannot be known any more: the connection to systemd
    /// broke meanwhile, and systemd is told to stop what is left of it as soon as the connection is back.
    pub end: oneshot::Receiver<ExecEnd>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    /// By itself, with this exit code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
    /// It was over its limit of time, and systemd stopped it.
    TimedOut,
    /// systemd could not begin it.
    NotStarted {
        /// What systemd says with its exit code; 0 if it did not get as far as to a process. Source: systemd.exec(5), "Process Exit
        /// Codes".
        status: u8,
        /// The same in words.
        reason: String,
    },
}

impl ExecOrder {
    /// The service that the command is.
    ///
    /// # Errors
    /// In words, if the ID cannot be a part of a name.
    pub fn name(&self) -> Result<UnitName, String> {
        format!("{EXEC_PREFIX}{}.service", self.id).parse().map_err(|err| format!("{err}"))
    }
}

impl ExecEnd {
    /// What systemd's words for an end mean: the kind of end and the number of the main process, as waitid(2) has them, systemd's
    /// result, and whether the start was seen to succeed.
    pub(crate) fn read(kind: i32, number: i32, result: &str, started: bool) -> ExecEnd {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        match kind {
            _ if result == "timeout" && !started => {
                ExecEnd::NotStarted { status: 0, reason: "it was not begun in time".to_owned() }
            }
            _ if result == "timeout" => ExecEnd::TimedOut,
            // CLD_EXITED. These numbers are systemd's own as long as it has not come to the program, and the program's afterwards.
            1 if !started && STATUSES.contains(&number) => {
                ExecEnd::NotStarted { status: number, reason: words(number) }
            }
            1 => ExecEnd::Exited(number),
            // CLD_KILLED, CLD_DUMPED.
            2 | 3 => ExecEnd::Killed(number),
            _ => ExecEnd::NotStarted { status: 0, reason: format!("systemd's result is `{result}`") },
        }
    }
}

/// The exit codes by which systemd says why it could not come to the program.
const STATUSES: std::ops::RangeInclusive<u8> = 200..=245;

fn words(status: u8) -> String {
    let reason = match status {
        200 => "its working directory cannot be entered (200/CHDIR)",
        203 => "the program cannot be executed: it is not there, or not for this user (203/EXEC)",
        210 => "its root directory cannot be entered (210/CHROOT)",
        216 => "its group is not known there (216/GROUP)",
        217 => "its user is not known there (217/USER)",
        225 => "its network namespace cannot be joined (225/NETWORK)",
        226 => "its mount namespace cannot be made (226/NAMESPACE)",
        238 => "a directory of its state cannot be made (238/STATE_DIRECTORY)",
        _ => return format!("systemd's exit code {status}; the machine's journal says why"),
    };
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let check = |kind, number, result: &str, started, expected: ExecEnd| {
            assert_eq!(ExecEnd::read(kind, number, result, started), expected, "{kind} {number} {result} {started}");
        };
        check(1, 0, "success", true, ExecEnd::Exited(0));
        check(1, 7, "exit-code", false, ExecEnd::Exited(7));
        check(1, 203, "exit-code", true, ExecEnd::Exited(203));
        check(2, 9, "signal", true, ExecEnd::Killed(9));
        check(3, 11, "core-dump", true, ExecEnd::Killed(11));
        check(2, 15, "timeout", true, ExecEnd::TimedOut);
        let late = ExecEnd::NotStarted { status: 0, reason: "it was not begun in time".to_owned() };
        check(2, 15, "timeout", false, late);
        let not_started = |number, expected: &str| match ExecEnd::read(1, number, "exit-code", false) {
            ExecEnd::NotStarted { reason, .. } => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{other:?}"),
        };
        not_started(203, "203/EXEC");
        not_started(244, "exit code 244");
        assert!(matches!(ExecEnd::read(0, 0, "resources", false), ExecEnd::NotStarted { status: 0, .. }));
    }
}
