//! Commands beside units in the model.

use std::collections::BTreeMap;

use fleet_core::unit::{UnitName, UnitType};
use tokio::sync::oneshot;

use super::file::Command;
use super::model::{Model, Refusal};
use super::unit::Content;
use crate::exec::{ExecEnd, ExecOrder, ExecPipes, Execution, NO_SERVICE};
use crate::{ManagerError, NO_SUCH_UNIT};

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running {
    /// Beside which it runs.
    unit: UnitName,
    /// When something happens to it by itself, and what.
    due: (u64, ExecEnd),
    tell: oneshot::Sender<ExecEnd>,
    /// Held open until it ends, as by a process.
    _pipes: ExecPipes,
}

impl Model {
    /// Begins a command.
    pub(super) fn exec(&mut self, order: ExecOrder) -> Result<Execution, ManagerError> {
        let call = format!("a command beside {}", order.unit);
        let refused = |name: &str, message: String| {
            Err(ManagerError::Refused { call: call.clone(), name: name.to_owned(), message })
        };
        if order.unit.unit_type() != UnitType::Service {
            return refused(NO_SERVICE, format!("{} is no service: no program runs in it", order.unit));
        }
        if !matches!(self.content(&order.unit), Content::Loaded { .. }) {
            return refused(NO_SUCH_UNIT, "the unit is not-found or bad-setting there".to_owned());
        }
        let name = match order.name() {
            Ok(name) => name,
            Err(reason) => return refused("fleet.BadId", reason),
        };
        if self.execs.contains_key(&name) {
            return refused("org.freedesktop.systemd1.UnitExists", format!("Unit {name} already exists."));
        }
        let command = Command::new(&order.command.join(" "));
        let limit_ms = u64::try_from(order.limit.as_millis()).unwrap_or(u64::MAX);
        let by_itself = command.runs_ms.filter(|runs_ms| *runs_ms < limit_ms);
        let due = match by_itself {
            // No program ends in no time.
            Some(runs_ms) => (runs_ms.max(1), ExecEnd::Exited(u8::from(!command.succeeds))),
            None => (limit_ms, ExecEnd::TimedOut),
        };
        let due = (self.now_ms.saturating_add(due.0), due.1);
        let (tell, end) = oneshot::channel();
        self.execs.insert(name.clone(), Running { unit: order.unit, due, tell, _pipes: order.pipes });
        Ok(Execution { name, started: true, end })
    }

    /// Stops a command, if `name` is one. Its job ends at once, for processes of the model end at once.
    pub(super) fn stop_exec(&mut self, name: &UnitName) -> Option<Result<oneshot::Receiver<String>, Refusal>> {
        if !name.as_str().starts_with(crate::exec::EXEC_PREFIX) {
            return None;
        }
        let Some(running) = self.execs.remove(name) else {
            return Some(Err(Refusal { name: NO_SUCH_UNIT, message: format!("Unit {name} not loaded.") }));
        };
        running.end(Some(ExecEnd::Killed(15)));
        let (tell, told) = oneshot::channel();
        // The receiver is here.
        drop(tell.send("done".to_owned()));
        Some(Ok(told))
    }

    /// A unit is told to stop, and with it what runs beside it.
    pub(super) fn stop_execs_beside(&mut self, unit: &UnitName) {
        self.end_those(|running| running.unit == *unit, Some(&ExecEnd::Killed(15)));
    }

    /// A manager has connected: what another one has begun is stopped.
    pub(super) fn stop_left_execs(&mut self) {
        self.end_those(|_| true, Some(&ExecEnd::Killed(15)));
    }

    /// What is due now.
    pub(super) fn end_execs(&mut self) {
        let now_ms = self.now_ms;
        self.end_those(|running| running.due.0 <= now_ms, None);
    }

    fn end_those(&mut self, ends: impl Fn(&Running) -> bool, how: Option<&ExecEnd>) {
        let (ending, going_on) = std::mem::take(&mut self.execs).into_iter().partition(|(_, running)| ends(running));
        self.execs = going_on;
        let ending: BTreeMap<UnitName, Running> = ending;
        ending.into_values().for_each(|running| running.end(how.cloned()));
    }

    /// When one of them ends by itself.
    pub(super) fn next_exec_ms(&self) -> Option<u64> {
        self.execs.values().map(|running| running.due.0).min()
    }

    /// What systemd makes of a unit's file.
    fn content(&self, name: &UnitName) -> Content {
        self.text(name).map_or(Content::NotFound, |text| Content::read(name, text))
    }
}

impl Running {
    /// Ends it, so or as it was due.
    fn end(self, how: Option<ExecEnd>) {
        // Nobody waits for it any more: no error.
        drop(self.tell.send(how.unwrap_or(self.due.1)));
    }
}
