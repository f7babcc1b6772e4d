//! Exit codes: the one list. The help of `fleetctl` and the user's page are made from it.

use std::process::ExitCode;

use crate::reach::ssh;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was done.
    Ok,
    /// Something failed, was refused, or took longer than allowed.
    Failed,
    /// The command line or the environment was wrong; nothing was done.
    Usage,
    /// `status`: the unit exists and is not running.
    NotRunning,
    /// No such unit.
    NoSuchUnit,
    /// `exec`: fleet failed, or stopped the command.
    ExecFailed,
    /// Ended by Ctrl-C while waiting.
    Interrupted,
    /// Ended by SIGTERM while waiting.
    Terminated,
    /// The exit code of another program: systemctl's (`status`), ssh's (`ssh`), that of a command beside a unit (`exec`) or of `fleetctl dev -- COMMAND`.
    Of(u8),
}

/// Every code with its meaning, for people.
pub const TABLE: [(u8, &str); 9] = [
    (0, "done"),
    (1, "something failed, was refused, or took longer than allowed"),
    (2, "the command line or an environment variable is wrong; nothing was done"),
    (3, "status, show, is-active, journal, kill, reload: the unit is not running (systemctl's code)"),
    (4, "no such unit (systemctl's code)"),
    (125, "exec: fleet failed, or stopped the command, and has said why; other codes are the command's"),
    (130, "ended by Ctrl-C while waiting; the desired state stays"),
    (143, "ended by SIGTERM while waiting; the desired state stays"),
    (ssh::FAILED, "ssh: ssh itself failed, and has said why"),
];

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotRunning => 3,
            Exit::NoSuchUnit => 4,
            Exit::ExecFailed => 125,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
            Exit::Of(code) => code,
        }
    }

    /// The code for two parts of one command: that of the part that failed, or the general one if both failed differently.
    #[must_use]
    pub fn and(self, other: Exit) -> Exit {
        match (self.code(), other.code()) {
            (0, _) => other,
            (_, 0) => self,
            (one, two) if one == two => self,
            _ => Exit::Failed,
        }
    }

    /// The table as lines of a help text.
    pub fn help() -> String {
        let rows: Vec<String> = TABLE.iter().map(|(code, meaning)| format!("  {code:<4} {meaning}")).collect();
        format!("Exit codes:\n{}", rows.join("\n"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_parts() {
        let check = |one: Exit, two: Exit, both: Exit| assert_eq!(one.and(two).code(), both.code(), "{one:?} {two:?}");
        check(Exit::Ok, Exit::Ok, Exit::Ok);
        check(Exit::Ok, Exit::NoSuchUnit, Exit::NoSuchUnit);
        check(Exit::NoSuchUnit, Exit::Ok, Exit::NoSuchUnit);
        check(Exit::NoSuchUnit, Exit::NoSuchUnit, Exit::NoSuchUnit);
        check(Exit::NoSuchUnit, Exit::Failed, Exit::Failed);
        check(Exit::NotRunning, Exit::Of(3), Exit::NotRunning);
    }

    #[test]
    fn every_code_is_in_the_table_and_on_the_users_page() {
        let page = include_str!("../../../docs/fleetctl.md");
        let ours = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::NotRunning,
            Exit::NoSuchUnit,
            Exit::ExecFailed,
            Exit::Interrupted,
            Exit::Terminated,
            Exit::Of(ssh::FAILED),
        ];
        let codes: Vec<u8> = ours.iter().map(|exit| exit.code()).collect();
        assert_eq!(TABLE.map(|(code, _)| code).to_vec(), codes);
        for (code, meaning) in TABLE {
            let row = format!("| {code} | {meaning} |");
            assert!(page.contains(&row), "docs/fleetctl.md lacks the row `{row}`");
        }
    }
}
