//! `kill`, `reload`, `reset-failed`: what the systemd of a unit's machines is told, beside what is wanted of the unit.

use fleet_api::v2;

use crate::cli::{Kill, KillWhom, Told};
use crate::commands::session::{Session, machine_of};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names::{self, Purpose};
use crate::wait::{self, legend};

/// What systemd is told.
#[derive(Clone, Debug)]
pub struct Word {
    act: v2::Act,
    signal: Option<String>,
    whom: Option<v2::Whom>,
}

impl Word {
    /// To send a signal.
    pub fn kill(args: &Kill) -> Word {
        let whom = match args.kill_whom {
            KillWhom::Main => v2::Whom::Main,
            KillWhom::Control => v2::Whom::Control,
            KillWhom::All => v2::Whom::All,
        };
        Word { act: v2::Act::Kill, signal: Some(signal_name(&args.signal)), whom: Some(whom) }
    }

    /// To reload, or to forget a failure.
    pub fn plain(act: v2::Act) -> Word {
        Word { act, signal: None, whom: None }
    }

    fn command(&self) -> &'static str {
        match self.act {
            v2::Act::Kill => "kill",
            v2::Act::Reload => "reload",
            v2::Act::ResetFailed => "reset-failed",
        }
    }

    /// What has been done to a unit, behind its name.
    fn done(&self) -> String {
        match self.act {
            v2::Act::Kill => format!("was sent {}", self.signal.as_deref().unwrap_or_default()),
            v2::Act::Reload => "reloaded".to_owned(),
            v2::Act::ResetFailed => "reset".to_owned(),
        }
    }
}

/// Carries it out, unit by unit. The exit code is that of what failed.
pub async fn run(session: &Session<'_>, word: &Word, told: &Told) -> Result<Exit, CommandError> {
    if told.units.is_empty() && word.act != v2::Act::ResetFailed {
        return Err(CommandError::NoUnits { command: word.command() });
    }
    let (arguments, mut errors) = names::arguments(&told.units, Purpose::Existing);
    let known = session.lookup(&arguments).await?;
    let (selected, unknown) = names::units_of(&arguments, &known);
    errors.extend(session.with_similar(unknown).await);
    let mut exit = session.report_all(&errors);
    // As with systemctl: no unit means all that have failed.
    let all = if told.units.is_empty() {
        let list = session.call("list the units", session.client.units(&[])).await?;
        list.units.into_iter().filter(has_failed).collect()
    } else {
        Vec::new()
    };
    for unit in selected.iter().map(|one| one.unit).chain(&all) {
        match tell(session, word, told, unit).await {
            Ok(code) => exit = exit.and(code),
            Err(err @ CommandError::Output(_)) => return Err(err),
            Err(err) => exit = exit.and(session.report(&err)),
        }
    }
    Ok(exit)
}

fn has_failed(unit: &v2::Unit) -> bool {
    let failed = |one: &v2::Placement| one.state.as_ref().is_some_and(|state| state.active == "failed");
    wait::exists(unit) && unit.placements.iter().any(failed)
}

async fn tell(session: &Session<'_>, word: &Word, told: &Told, unit: &v2::Unit) -> Result<Exit, CommandError> {
    if unit.placements.is_empty() {
        let (name, state) = (unit.name.clone(), unit.desired_state);
        return Err(CommandError::NotPlaced { name, what: "on any machine", state });
    }
    let machines = unit.placements.iter().map(|placement| placement.machine.as_str());
    let machine = told.machine.as_deref().map(|given| machine_of(given, machines)).transpose()?;
    let Word { act, signal, whom } = word.clone();
    let request = v2::ActRequest { act, signal, whom, machine, forwarded: false };
    let doing = format!("{} {}", word.command(), unit.name);
    let mut exit = Exit::Ok;
    for acted in session.call(&doing, session.client.act(&unit.name, &request)).await? {
        let place = unit.placements.iter().find(|placement| placement.machine == acted.machine);
        let place = legend(&acted.machine, place.and_then(|placement| placement.ip.as_deref()));
        match acted.problem {
            Some(problem) => {
                let err = CommandError::NotToldBySystemd { doing: doing.clone(), place, problem: Box::new(problem) };
                exit = exit.and(session.report(&err));
            }
            None if told.quiet => (),
            None => session.console.line(&format!("Unit {} {} on {place}", unit.name, word.done()))?,
        }
    }
    Ok(exit)
}

/// A signal as systemd reads it, which knows only large letters: `hup` is `SIGHUP`; a number stays one.
fn signal_name(given: &str) -> String {
    let upper = given.to_ascii_uppercase();
    let is_number = upper.starts_with(|first: char| first.is_ascii_digit());
    if is_number || upper.starts_with("SIG") { upper } else { format!("SIG{upper}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn signals() {
        assert_eq!(
            ["hup", "SIGTERM", "USR1", "9", "rtmin+3"].map(signal_name),
            ["SIGHUP", "SIGTERM", "SIGUSR1", "9", "SIGRTMIN+3"]
        );
    }

    #[test]
    fn units_that_have_failed() {
        let failed = |active: &str| has_failed(&fixture::placed("a.service", fixture::state(active, "", "")));
        assert_eq!(["failed", "active", "inactive"].map(failed), [true, false, false]);
        assert!(!has_failed(&fixture::unit("a.service", v2::State::Launched)));
    }
}
