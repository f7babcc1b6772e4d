//! `ssh [TARGET [COMMAND...]]`: the user's own ssh, on the machine that a unit is on, or that is named.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;

use fleet_api::{ClientError, v2};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::SshArgs;
use crate::commands::session::{Session, machine_among};
use crate::error::{CommandError, UNKNOWN_UNIT};
use crate::exit::Exit;
use crate::names;
use crate::reach::ssh::{PROGRAM, check_host};

/// Carries it out. Without a tunnel this process becomes ssh; with one it has to hold it open meanwhile.
pub async fn run(session: &Session<'_>, args: &SshArgs) -> Result<Exit, CommandError> {
    // With one of the flags all words are the command.
    let is_named = args.machine.is_some() || args.unit.is_some();
    let target = args.target.iter().filter(|_| is_named);
    let command: Vec<String> = target.chain(&args.command).cloned().collect();
    let (id, machines) = find(session, args).await?;
    let address = machines.iter().find(|machine| machine.id == id).and_then(|machine| machine.ip.as_deref());
    let Some(address) = address else { return Err(CommandError::NoAddress { machine: id }) };
    let host = check_host(address).map_err(|reason| CommandError::BadAddress { machine: id, reason })?;

    let reach = &session.settings.reach;
    let proxy = reach.tunnel.as_ref().zip(session.tunnel.as_ref());
    let proxy = proxy.and_then(|(gateway, tunnel)| reach.ssh.proxy(gateway, &tunnel.control()));
    let words = reach.ssh.session(host, args.ssh_port, args.forward_agent, proxy.as_deref(), &command);
    session.console.debug(&format!("running {PROGRAM} {}", words.join(" ")));
    let mut ssh = Command::new(PROGRAM);
    ssh.args(&words);
    let failed = |err| CommandError::Run { program: PROGRAM.to_owned(), err };
    if session.tunnel.is_none() {
        return Err(failed(ssh.exec()));
    }
    // A terminal's signals reach ssh as well, whose end is then ours.
    let _interrupts = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    let _quits = signal(SignalKind::quit()).map_err(CommandError::Signals)?;
    let status = tokio::process::Command::from(ssh).status().await.map_err(failed)?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(Exit::Failed, Exit::Of))
}

/// The ID of the machine that is meant, and all machines.
async fn find(session: &Session<'_>, args: &SshArgs) -> Result<(String, Vec<v2::Machine>), CommandError> {
    let list = async || session.call("list the machines", session.client.machines()).await.map(|list| list.machines);
    let id = match (&args.machine, &args.unit, &args.target) {
        (Some(given), _, _) => {
            let machines = list().await?;
            return Ok((machine_among(given, &machines)?, machines));
        }
        (None, Some(given), _) => {
            let name = names::unit_name(given)?;
            let unit = unit(session, name.as_str()).await?;
            machine_of(
                &unit
                    .ok_or_else(|| CommandError::UnknownUnit { name: name.as_str().to_owned(), similar: Vec::new() })?,
            )?
        }
        (None, None, Some(given)) => {
            let unit = match names::unit_name(given) {
                Ok(name) => unit(session, name.as_str()).await?,
                // It may still be a machine.
                Err(_) => None,
            };
            let machines = list().await?;
            return Ok((either(given, unit.as_ref(), machine_among(given, &machines))?, machines));
        }
        (None, None, None) => return Err(CommandError::NoTarget),
    };
    Ok((id, list().await?))
}

/// A unit, if it is there.
async fn unit(session: &Session<'_>, name: &str) -> Result<Option<v2::Unit>, CommandError> {
    match session.client.unit(name).await {
        Ok(unit) => Ok(Some(unit)),
        Err(ClientError::Problem(problem)) if problem.kind == UNKNOWN_UNIT => Ok(None),
        Err(err) => Err(session.api_error(&format!("look up {name}"), err)),
    }
}

/// The machine that `given` means, which may be a unit or a machine.
fn either(given: &str, unit: Option<&v2::Unit>, machine: Result<String, CommandError>) -> Result<String, CommandError> {
    match (unit, machine) {
        (Some(unit), Ok(machine)) => {
            Err(CommandError::AmbiguousTarget { given: given.to_owned(), unit: unit.name.clone(), machine })
        }
        (Some(unit), Err(_)) => machine_of(unit),
        (None, Ok(machine)) => Ok(machine),
        (None, Err(CommandError::NoMachine { .. })) => Err(CommandError::UnknownTarget { given: given.to_owned() }),
        (None, Err(err)) => Err(err),
    }
}

/// The one machine that a unit is on.
fn machine_of(unit: &v2::Unit) -> Result<String, CommandError> {
    let (placed, leaving): (Vec<_>, Vec<_>) = unit.placements.iter().partition(|placement| placement.placed);
    let places = if placed.is_empty() { leaving } else { placed };
    match &places[..] {
        [] => {
            let (name, state) = (unit.name.clone(), unit.desired_state);
            Err(CommandError::NotPlaced { name, what: "running", state })
        }
        [place] => Ok(place.machine.clone()),
        several => {
            let machines = several.iter().map(|place| place.machine.clone()).collect();
            Err(CommandError::SeveralMachines { name: unit.name.clone(), machines })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_target_is_a_unit_or_a_machine() {
        let nowhere = fixture::unit("a.service", v2::State::Launched);
        let there = fixture::placed("a.service", fixture::state("active", "running", "success"));
        let mut twice = there.clone();
        twice.placements.push(v2::Placement { machine: "abc".to_owned(), ..there.placements[0].clone() });
        let mut moves = twice.clone();
        moves.placements[0].placed = false;
        let id = || Ok("10".to_owned());
        let none = || Err(CommandError::NoMachine { given: "a".to_owned(), known: Vec::new() });
        let check = |unit: Option<&v2::Unit>, machine: Result<String, CommandError>, expected: &str| {
            assert_eq!(either("a", unit, machine).unwrap_or_else(|err| err.to_string()), expected);
        };
        check(None, id(), "10");
        check(None, none(), "`a` is neither a unit nor a machine");
        let machines = vec!["a1".to_owned(), "a2".to_owned()];
        let ambiguous = CommandError::AmbiguousMachine { given: "a".to_owned(), machines };
        check(None, Err(ambiguous), "`a` fits 2 machines");
        check(Some(&there), none(), "4f1c2a7d00");
        check(Some(&there), id(), "`a` is a unit and a machine");
        check(Some(&nowhere), none(), "Unit a.service does not appear to be running.");
        check(Some(&twice), none(), "Unit a.service is on 2 machines");
        check(Some(&moves), none(), "abc");
    }
}
