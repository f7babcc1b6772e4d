//! `exec UNIT -- COMMAND`: a command beside a unit, through the API. It prints what the command prints and ends as the command ends.

use std::io::Read as _;

use clap::Args;
use fleet_api::v2;
use futures_util::StreamExt as _;

use crate::commands::session::{Session, machine_of};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names;
use crate::render;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ExecArgs {
    /// On this machine: its ID or the beginning of it; needed for a unit that is on several
    #[arg(long, value_name = "ID")]
    pub machine: Option<String>,
    /// Give the command what is on standard input; it is read to its end first, and may have 16 MiB
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// The unit: a service that is on a machine
    #[arg(value_name = "UNIT")]
    pub unit: String,
    /// The program and its arguments; no shell reads them
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<String>,
}

const HELP: &str = "\
The command runs on the unit's machine, started by its systemd: as the unit's user and groups, in its directories, environment and slice, \
and in its private network, /tmp and IPC namespaces where it has such. The unit need not run. The command is stopped, with all its children, \
when fleetctl ends, when the unit is stopped, or after the `exec_timeout` of the machine's fleetd. The exit code is that of the \
command, 128 and the signal's number if one ended it, and 125 if fleet failed or stopped it.

It is no terminal: for that there is `fleetctl ssh`.";

/// Carries it out. Ctrl-C ends it the usual way, and with the connection the command.
pub async fn run(session: &Session<'_>, args: &ExecArgs) -> Result<Exit, CommandError> {
    match attempt(session, args).await {
        Err(err) => failed(session.console, err),
        done => done,
    }
}

/// Ends with a code of our own, whatever failed: all others are the command's. But for a wrong command line, with which nothing was done.
///
/// # Errors
/// What is for the caller to end with.
pub fn failed(console: &Console, err: CommandError) -> Result<Exit, CommandError> {
    if err.is_silent() || err.exit() == Exit::Usage {
        return Err(err);
    }
    console.talk(&render::error::render(&err));
    Ok(Exit::ExecFailed)
}

async fn attempt(session: &Session<'_>, args: &ExecArgs) -> Result<Exit, CommandError> {
    let name = names::unit_name(&args.unit)?;
    let name = name.as_str();
    let machine = match &args.machine {
        Some(given) => {
            let unit = session.call(&format!("look up {name}"), session.client.unit(name)).await?;
            let machines = unit.placements.iter().map(|placement| placement.machine.as_str());
            Some(machine_of(given, machines)?)
        }
        None => None,
    };
    let stdin = if args.stdin { stdin()? } else { Vec::new() };
    let query = v2::ExecQuery { machine, forwarded: false };
    let request = v2::ExecRequest::new(args.command.clone(), stdin);
    let doing = format!("run a command beside {name}");
    let mut events = session.open_stream(&doing, session.client.exec(name, &query, &request)).await?;
    let reader_gone = session.console.reader_gone();
    tokio::pin!(reader_gone);
    let lost = |reason: String| CommandError::ExecLost { name: name.to_owned(), reason };
    loop {
        let next = tokio::select! {
            next = events.next() => next,
            () = &mut reader_gone => return Ok(Exit::Ok),
        };
        let event = match next {
            Some(Ok(event)) => event,
            Some(Err(err)) if err.broke_off() => return Err(lost("the connection broke".to_owned())),
            Some(Err(err)) => return Err(lost(err.to_string())),
            None => return Err(lost("the answer ended too early".to_owned())),
        };
        let garbled = |err: v2::Base64Error| lost(err.to_string());
        if let Some(bytes) = event.stdout_bytes().map_err(garbled)? {
            session.console.pass_on(&bytes)?;
        }
        if let Some(bytes) = event.stderr_bytes().map_err(garbled)? {
            session.console.pass_on_to_stderr(&bytes);
        }
        if let Some(started) = &event.started {
            session.console.debug(&format!("it is {} on machine {}", started.service, started.machine));
        }
        if let Some(ended) = event.ended {
            return exit_of(name, ended);
        }
    }
}

/// All that is on standard input. It blocks, and nothing else is under way.
fn stdin() -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let max = v2::EXEC_STDIN_BYTES_MAX;
    let mut stdin = std::io::stdin().lock().take(max as u64 + 1);
    stdin.read_to_end(&mut bytes).map_err(|err| CommandError::Read { path: "-".into(), err })?;
    if max < bytes.len() { Err(CommandError::StdinTooLarge { max }) } else { Ok(bytes) }
}

/// How this ends when the command has ended so.
fn exit_of(name: &str, ended: v2::ExecEnded) -> Result<Exit, CommandError> {
    match ended {
        v2::ExecEnded { exit_code: Some(0), .. } => Ok(Exit::Ok),
        v2::ExecEnded { exit_code: Some(code), .. } => Ok(Exit::Of(code)),
        v2::ExecEnded { signal: Some(signal), .. } => Ok(Exit::Of(signal.saturating_add(128))),
        v2::ExecEnded { reason, .. } => {
            let reason = reason.unwrap_or_else(|| "nobody knows how it ended".to_owned());
            Err(CommandError::ExecStopped { name: name.to_owned(), reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let ended = v2::ExecEnded::default;
        let check = |ended: v2::ExecEnded, expected: &str| {
            let exit = exit_of("a.service", ended);
            assert_eq!(exit.map_or_else(|err| err.to_string(), |exit| exit.code().to_string()), expected);
        };
        check(v2::ExecEnded { exit_code: Some(0), ..ended() }, "0");
        check(v2::ExecEnded { exit_code: Some(203), ..ended() }, "203");
        check(v2::ExecEnded { signal: Some(9), ..ended() }, "137");
        let reason = Some("it was over the limit".to_owned());
        check(v2::ExecEnded { reason, ..ended() }, "the command beside a.service was ended: it was over the limit");
        check(ended(), "the command beside a.service was ended: nobody knows how it ended");
    }
}
