//! A strict model of a systemd, in memory: for simulation and for tests that need no machine.
//!
//! It refuses what the real one refuses and passes the same conformance suite. **Modeled**: units in memory and why they stay
//! there, with the content that was read when they were loaded; templates; jobs that wait for each other (`After=`), pull in
//! others (`Requires=`, `BindsTo=`, `Wants=`), are canceled by opposite ones, time out (`JobTimeoutSec=`) or fail with what they
//! need; stops that spread (`Requires=`, `BindsTo=`, `PartOf=`); services of the types `simple`, `oneshot` and `notify` (other types
//! count as `simple`) with their timeouts, `ExecStop=`, `RemainAfterExit=`, `Restart=` and the start limit; the programs `sleep`,
//! `true` and `false` (any other runs until it is stopped), also as commands beside a unit, which print nothing and read nothing; time.
//! **Not modeled**: other settings of unit files, and so all that systemd might find bad in them but a missing or a second
//! `ExecStart=`; what sockets, timers and paths start; drop-ins; units of the machine itself (targets and slices that a file names
//! are taken for there and up); `Conflicts=`; `ExecStartPre=` and the like.
//!
//! Equal calls give equal outcomes: no clock and no randomness, unless the time of tokio is asked for.

mod exec;
mod file;
mod model;
mod transaction;
mod unit;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use fleet_core::unit::{Form, GUARD_UNIT, UnitName};
use model::{Model, Refusal};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::exec::{ExecOrder, Execution};
use crate::news::{self, News};
use crate::{
    EVENTS_QUEUED, JobResult, Look, ManagerError, ManagerEvent, NOT_AT_REST, Receipt, UnitManager, UnitStatus, Verb,
    WriteFile,
};

/// What a unit does instead of what its file says. It holds for every start and stop until it is taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// How long the start takes.
    pub ready_ms: Option<u64>,
    /// The start ends so: with systemd's result `exit-code`, `signal`, ...
    pub start_fails: Option<&'static str>,
    /// The main process ends this long after it came up, with this result (`success`, `exit-code`, `signal`, ...).
    pub exit: Option<(u64, &'static str)>,
    /// How long the stop takes. What is longer than `TimeoutStopSec=` (90 s if the file does not say) ends as `timeout`.
    pub stop_ms: Option<u64>,
}

/// A machine with a systemd of the model, as its kernel, its administrator and its disk see it.
///
/// Cheap to clone: all clones are the same machine.
#[derive(Clone, Debug)]
pub struct FakeMachine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Rung after each change, for the one who makes time pass.
    touched: Notify,
}

#[derive(Debug, Default)]
struct State {
    model: Model,
    receipts: BTreeMap<UnitName, Receipt>,
    write_faults: BTreeMap<UnitName, String>,
    /// Why there is no connection, if there is none.
    down: Option<String>,
    desks: Vec<Weak<Desk>>,
    /// Since when the model's time runs with tokio's; `None` if it is moved by hand.
    clock: Option<Instant>,
}

/// Where the news for one manager lie.
#[derive(Debug, Default)]
struct Desk {
    news: Mutex<News>,
    bell: Notify,
}

impl FakeMachine {
    /// A machine on which nothing is, whose time stands still until [`FakeMachine::advance`].
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a machine out of nothing should be asked for by name")]
    pub fn new() -> FakeMachine {
        FakeMachine { inner: Arc::new(Inner { state: Mutex::default(), touched: Notify::new() }) }
    }

    /// A machine whose time is tokio's, paused or not. Must be called on a tokio runtime.
    #[must_use]
    pub fn on_tokio_time() -> FakeMachine {
        let machine = FakeMachine::new();
        machine.lock().clock = Some(Instant::now());
        tokio::spawn(pass_time(Arc::downgrade(&machine.inner)));
        machine
    }

    /// A unit manager on this machine; several may be there at once, as while one `fleetd` takes over from another. Must be called
    /// on a tokio runtime.
    #[must_use]
    pub fn manager(&self) -> FakeManager {
        let desk = Arc::new(Desk::default());
        self.change(|state| {
            state.desks.push(Arc::downgrade(&desk));
            state.model.stop_left_execs();
        });
        let (told, events) = mpsc::channel(EVENTS_QUEUED);
        let (machine, from) = (self.clone(), Arc::clone(&desk));
        let telling = tokio::spawn(async move {
            let next = || {
                let state = machine.lock();
                from.lock().next(|name| state.is_ours(name).then(|| state.model.status(name)))
            };
            news::tell(&from.bell, told, || from.lock().is_empty(), next).await;
        });
        FakeManager { machine: self.clone(), desk, events: Mutex::new(Some(events)), telling }
    }

    /// Lets time pass, with all that happens meanwhile.
    pub fn advance(&self, by: Duration) {
        self.change(|state| {
            let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            let to_ms = state.model.now_ms.saturating_add(by_ms);
            state.model.advance_to(to_ms);
        });
    }

    /// How long until something happens by itself; `None` if nothing will.
    #[must_use]
    pub fn next_after(&self) -> Option<Duration> {
        let state = self.lock();
        state.model.next_ms().map(|at| Duration::from_millis(at.saturating_sub(state.model.now_ms)))
    }

    /// From now on, the unit does this; `None` is what its file says.
    pub fn script(&self, name: &UnitName, script: Option<Script>) {
        self.change(|state| match script {
            Some(script) => drop(state.model.scripts.insert(name.clone(), script)),
            None => drop(state.model.scripts.remove(name)),
        });
    }

    /// From now on, writing this unit's file fails with this reason; `None` is the end of that.
    pub fn fail_writes(&self, name: &UnitName, reason: Option<&str>) {
        self.change(|state| match reason {
            Some(reason) => drop(state.write_faults.insert(name.clone(), reason.to_owned())),
            None => drop(state.write_faults.remove(name)),
        });
    }

    /// Kills a unit's main process with SIGKILL.
    ///
    /// # Panics
    /// When it has none: the test is wrong about the world.
    pub fn kill_main(&self, name: &UnitName) {
        self.change(|state| state.model.kill_main(name));
    }

    /// The command line of a unit's main process, if it has one.
    #[must_use]
    pub fn command_line(&self, name: &UnitName) -> Option<String> {
        self.lock().model.command_line(name)
    }

    /// The units that have a main process, each with the number of that process, which no other on this machine ever had:
    /// as long as it stays, nothing was stopped or started anew.
    #[must_use]
    pub fn main_processes(&self) -> BTreeMap<UnitName, u64> {
        let state = self.lock();
        let number = |name: &UnitName| Some((name.clone(), state.model.main_number(name)?));
        state.model.units.keys().filter_map(number).collect()
    }

    /// How each unit in systemd's memory is, and each with a file.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<UnitName, UnitStatus> {
        let state = self.lock();
        let names = state.model.units.keys().chain(state.model.texts.keys());
        names.map(|name| (name.clone(), state.model.status(name))).collect()
    }

    /// The unit files on the disk, with their receipts.
    #[must_use]
    pub fn files(&self) -> BTreeMap<UnitName, (String, Option<Receipt>)> {
        let state = self.lock();
        let file =
            |(name, text): (&UnitName, &String)| (name.clone(), (text.clone(), state.receipts.get(name).cloned()));
        state.model.texts.iter().map(file).collect()
    }

    /// `systemctl daemon-reload`, by hand.
    pub fn reload(&self) {
        self.change(|state| state.model.reload());
    }

    /// How often systemd was reloaded, by whomever.
    #[must_use]
    pub fn n_reloads(&self) -> u64 {
        self.lock().model.n_reloads
    }

    /// Cuts the connection to systemd. The units go on.
    pub fn disconnect(&self, reason: &str) {
        self.change(|state| state.disconnect(reason));
    }

    /// Gives the connection back.
    pub fn reconnect(&self) {
        self.change(State::reconnect);
    }

    /// Power off and on: no unit runs, and `/run` with all files and receipts is empty.
    pub fn reboot(&self) {
        self.change(|state| {
            state.disconnect("power loss");
            state.model.reboot();
            state.receipts.clear();
            state.reconnect();
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up();
        state
    }

    /// Changes something, and tells everyone what became of it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let outcome = change(&mut state);
        state.publish();
        drop(state);
        self.inner.touched.notify_one();
        outcome
    }
}

/// Makes the model's time pass with tokio's, until the machine is gone.
async fn pass_time(machine: Weak<Inner>) {
    loop {
        let Some(inner) = machine.upgrade() else {
            return;
        };
        let machine_now = FakeMachine { inner };
        let wait = {
            let mut state = machine_now.lock();
            state.publish();
            state.model.next_ms().zip(state.clock).map(|(at, since)| since + Duration::from_millis(at))
        };
        let touched = machine_now.inner.touched.notified();
        match wait {
            Some(at) => tokio::select! {
                // In this order, so that a simulation goes the same way each time.
                biased;
                () = touched => (),
                () = tokio::time::sleep_until(at) => (),
            },
            None => touched.await,
        }
    }
}

impl State {
    fn catch_up(&mut self) {
        if let Some(since) = self.clock {
            let now_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.model.advance_to(now_ms);
        }
    }

    fn publish(&mut self) {
        self.desks.retain(|desk| desk.strong_count() > 0);
        let changed = std::mem::take(&mut self.model.changed);
        for desk in self.desks.iter().filter_map(Weak::upgrade) {
            let mut news = desk.lock();
            if self.down.is_none() {
                changed.iter().filter(|name| self.is_ours(name)).for_each(|name| news.changed(name));
            }
            if !news.is_empty() {
                desk.bell.notify_one();
            }
        }
    }

    fn disconnect(&mut self, reason: &str) {
        self.down = Some(reason.to_owned());
        self.model.drop_waiting();
        self.desks.iter().filter_map(Weak::upgrade).for_each(|desk| desk.lock().lost());
    }

    fn reconnect(&mut self) {
        if self.down.take().is_some() {
            self.desks.iter().filter_map(Weak::upgrade).for_each(|desk| desk.lock().back());
        }
    }

    /// A unit is ours if its file or its receipt is there.
    fn is_ours(&self, name: &UnitName) -> bool {
        self.model.texts.contains_key(name) || self.receipts.contains_key(name)
    }

    fn connected(&self) -> Result<(), ManagerError> {
        match &self.down {
            None => Ok(()),
            Some(reason) => Err(ManagerError::Disconnected { address: "the fake".to_owned(), reason: reason.clone() }),
        }
    }

    fn write(&mut self, file: &WriteFile) -> Result<(), ManagerError> {
        self.write_text(&file.name, &file.text)?;
        self.receipts.insert(file.name.clone(), file.receipt.clone());
        Ok(())
    }

    fn write_text(&mut self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        if let Some(reason) = self.write_faults.get(name) {
            return Err(ManagerError::File { verb: "write", path: name.to_string(), reason: reason.clone() });
        }
        self.model.texts.insert(name.clone(), text.to_owned());
        Ok(())
    }

    fn remove(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        if let Some(why) = self.model.not_at_rest(name) {
            return Err(ManagerError::Refused {
                call: format!("removal of {name}"),
                name: NOT_AT_REST.to_owned(),
                message: format!("{why}; stop it first"),
            });
        }
        self.model.reset_failed(name);
        self.model.texts.remove(name);
        self.receipts.remove(name);
        self.desks.iter().filter_map(Weak::upgrade).for_each(|desk| desk.lock().forget(name));
        Ok(())
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The unit manager of a [`FakeMachine`].
#[derive(Debug)]
pub struct FakeManager {
    machine: FakeMachine,
    desk: Arc<Desk>,
    events: Mutex<Option<mpsc::Receiver<ManagerEvent>>>,
    telling: JoinHandle<()>,
}

impl FakeManager {
    /// The machine it manages.
    #[must_use]
    pub fn machine(&self) -> &FakeMachine {
        &self.machine
    }
}

impl Drop for FakeManager {
    fn drop(&mut self) {
        self.telling.abort();
        self.desk.lock().lost();
    }
}

#[async_trait]
impl UnitManager for FakeManager {
    async fn look(&self) -> Result<Look, ManagerError> {
        let state = self.machine.lock();
        state.connected()?;
        let users = state.model.texts.keys().filter(|name| name.as_str() != GUARD_UNIT);
        let files: Vec<_> = users.map(|name| (name.clone(), state.receipts.get(name).cloned())).collect();
        let units = files
            .iter()
            .filter(|(name, _)| name.form() != Form::Template)
            .map(|(name, _)| state.model.status(name))
            .collect();
        Ok(Look { files, units })
    }

    async fn write(&self, files: &[WriteFile]) -> Result<Vec<Result<(), ManagerError>>, ManagerError> {
        self.machine.change(|state| {
            state.connected()?;
            let outcomes = files.iter().map(|file| state.write(file)).collect();
            if files.iter().any(|file| state.model.needs_reload(&file.name)) {
                state.model.reload();
            }
            Ok(outcomes)
        })
    }

    async fn provide(&self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        self.machine.change(|state| {
            state.connected()?;
            state.write_text(name, text)?;
            if state.model.needs_reload(name) {
                state.model.reload();
            }
            Ok(())
        })
    }

    async fn write_receipt(&self, name: &UnitName, receipt: &Receipt) -> Result<(), ManagerError> {
        self.machine.change(|state| {
            if !state.model.texts.contains_key(name) {
                return Err(ManagerError::File {
                    verb: "write the receipt of",
                    path: name.to_string(),
                    reason: "its file is not there".to_owned(),
                });
            }
            state.receipts.insert(name.clone(), receipt.clone());
            Ok(())
        })
    }

    async fn remove(&self, names: &[UnitName]) -> Result<Vec<Result<(), ManagerError>>, ManagerError> {
        self.machine.change(|state| {
            state.connected()?;
            let outcomes = names.iter().map(|name| state.remove(name)).collect();
            if names.iter().any(|name| state.model.needs_reload(name)) {
                state.model.reload();
            }
            Ok(outcomes)
        })
    }

    async fn run(&self, name: &UnitName, verb: Verb) -> Result<JobResult, ManagerError> {
        let submitted = self.machine.change(|state| {
            state.connected()?;
            Ok(state.model.submit(name, verb))
        })?;
        let end = match submitted {
            Ok(end) => end,
            Err(Refusal { name, message }) => return Ok(JobResult::Refused { name: name.to_owned(), message }),
        };
        match end.await {
            Ok(result) if result == "done" => Ok(JobResult::Done),
            Ok(result) => Ok(JobResult::Other(result)),
            Err(oneshot::error::RecvError { .. }) => Err(ManagerError::Disconnected {
                address: "the fake".to_owned(),
                reason: "the connection was lost meanwhile".to_owned(),
            }),
        }
    }

    async fn exec(&self, order: ExecOrder) -> Result<Execution, ManagerError> {
        self.machine.change(|state| {
            state.connected()?;
            state.model.exec(order)
        })
    }

    async fn invocation(&self, name: &UnitName) -> Result<String, ManagerError> {
        self.machine.change(|state| {
            state.connected()?;
            Ok(state.model.main_number(name).map_or_else(String::new, |number| number.to_string()))
        })
    }

    fn status(&self, name: &UnitName) -> Option<UnitStatus> {
        let state = self.machine.lock();
        state.model.texts.contains_key(name).then(|| state.model.status(name))
    }

    fn events(&self) -> Option<mpsc::Receiver<ManagerEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
