//! A real systemd, over D-Bus: the system bus, the user bus, or a manager's private socket.
//!
//! Nothing is polled. One list is read when the connection is made; from then on, signals keep the picture. Replies and signals
//! are handled by one reader in the order in which systemd sent them ([`signals`]), so a list is true at its place among the
//! signals, and the end of a job cannot slip by the one who waits for it.
//!
//! What systemd does with changed files was tried out (252); the rules that follow from it:
//! - A new file needs no reload, also when other units named it before it was there.
//! - systemd goes on with the old content of a unit that it holds in memory: one that is active, failed, has a job, or is named by
//!   a unit in memory. The last is why even "stop, remove, write anew, start" runs the *old* content, and a start of a
//!   removed unit succeeds. So after writing, each unit in memory is asked for `NeedDaemonReload`, and after
//!   removing, whether it is still there; if any says so, there is one `Reload` for the batch.
//! - `[Install]` sections are not carried out: the original enabled units, and then systemd started them behind its back.
//!
//! Reading order: [`connection`], [`peer`], [`state`], [`signals`], [`files`], [`jobs`], [`exec`], then here.

mod connection;
mod exec;
mod files;
mod jobs;
mod path;
mod peer;
mod signals;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fleet_core::unit::{Form, UnitName};
use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use zbus::{Message, OwnedVariant};

pub use connection::Address;
use connection::{manager_call, open, property_call};
pub use files::{Dirs, placed_at};
use files::{Files, Found};
use path::{result_interface, unit_path};
use state::{CallError, Link, Row, State};

use crate::exec::{ExecOrder, Execution};
use crate::{
    EVENTS_QUEUED, JobResult, Look, ManagerError, ManagerEvent, NO_SUCH_UNIT, NOT_AT_REST, Receipt, UnitManager,
    UnitStatus, Verb, WriteFile,
};

/// How many calls may be under way to systemd at once.
///
/// Measured: windows of 16 are as fast as all at once (1000 starts), one at a time costs a quarter more.
pub const SUBMIT_WINDOW: usize = 16;

/// How long systemd may take for an answer. Longest known: a reload with 5000 units, 16 s. Starting is not in it: a call to start
/// is answered as soon as the job is queued.
pub const CALL_LIMIT: Duration = Duration::from_secs(120);

/// One systemd, over D-Bus. See the module.
#[derive(Debug)]
pub struct DbusManager {
    shared: Arc<Shared>,
    events: Mutex<Option<mpsc::Receiver<ManagerEvent>>>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the manager and its reader share.
struct Shared {
    address: Address,
    files: Files,
    state: Mutex<State>,
    /// Rung when there is something to tell.
    news: Notify,
    window: Semaphore,
    /// Held from asking whether a reload is needed until it is done, so that two writers do not both reload.
    reload: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("address", &self.address).field("files", &self.files).finish_non_exhaustive()
    }
}

impl DbusManager {
    /// Connects, makes the directories, and lists what systemd has in memory. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// `Disconnected` when systemd cannot be reached now; `File` when a directory cannot be made or read.
    pub async fn connect(address: Address, dirs: Dirs) -> Result<DbusManager, ManagerError> {
        let files = blocking(move || Files::open(&dirs)).await?;
        let opened = open(&address)
            .await
            .map_err(|reason| ManagerError::Disconnected { address: address.to_string(), reason })?;
        let mut state = State::default();
        state.up(opened.connection.clone());
        let shared = Arc::new(Shared {
            address,
            files,
            state: Mutex::new(state),
            news: Notify::new(),
            window: Semaphore::new(SUBMIT_WINDOW),
            reload: tokio::sync::Mutex::new(()),
        });
        let (told, events) = mpsc::channel(EVENTS_QUEUED);
        let tasks = vec![
            tokio::spawn(signals::drive(Arc::clone(&shared), opened)),
            tokio::spawn(signals::tell(Arc::clone(&shared), told)),
        ];
        // Built before the greeting, so that the tasks end with it should the greeting fail.
        let manager = DbusManager { shared, events: Mutex::new(Some(events)), tasks };
        manager.shared.greet().await?;
        Ok(manager)
    }
}

impl Drop for DbusManager {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[async_trait]
impl UnitManager for DbusManager {
    async fn look(&self) -> Result<Look, ManagerError> {
        let shared = &self.shared;
        let found = shared.find().await?;
        let with_file = found.files.iter().map(|(name, _)| name).filter(|name| name.form() != Form::Template);
        let names: Vec<UnitName> = with_file.chain(&found.receipts_alone).cloned().collect();
        shared.list(&names).await?;
        shared.ask_results(&names).await?;
        let state = shared.lock();
        let at_rest_without_file =
            |status: &UnitStatus| status.active == "inactive" && found.receipts_alone.contains(&status.name);
        let units = names
            .iter()
            .filter_map(|name| state.status(name))
            .filter(|status| !at_rest_without_file(status))
            .cloned()
            .collect();
        Ok(Look { files: found.files, units })
    }

    async fn write(&self, files: &[WriteFile]) -> Result<Vec<Result<(), ManagerError>>, ManagerError> {
        let shared = &self.shared;
        let batch = files.to_vec();
        let on_disk = shared.files.clone();
        let outcomes = blocking(move || {
            let outcomes: Vec<_> = batch.iter().map(|file| on_disk.write(file)).collect();
            on_disk.stamp()?;
            Ok(outcomes)
        })
        .await?;
        let written = files.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(file, _)| &file.name);
        shared.take_up(&written.collect::<Vec<_>>()).await?;
        Ok(outcomes)
    }

    async fn provide(&self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        let shared = &self.shared;
        let (on_disk, unit, text) = (shared.files.clone(), name.clone(), text.to_owned());
        blocking(move || {
            on_disk.write_text(&unit, &text)?;
            on_disk.stamp()
        })
        .await?;
        shared.take_up(&[name]).await?;
        // It may have run all the time, as one of an earlier fleetd.
        shared.list(std::slice::from_ref(name)).await?;
        Ok(())
    }

    async fn write_receipt(&self, name: &UnitName, receipt: &Receipt) -> Result<(), ManagerError> {
        let (files, name, receipt) = (self.shared.files.clone(), name.clone(), receipt.clone());
        blocking(move || {
            if !files.has(&name) {
                return Err(ManagerError::File {
                    verb: "write the receipt of",
                    path: name.to_string(),
                    reason: "its file is not there".to_owned(),
                });
            }
            files.write_receipt(&name, &receipt)
        })
        .await
    }

    async fn remove(&self, names: &[UnitName]) -> Result<Vec<Result<(), ManagerError>>, ManagerError> {
        self.shared.remove(names).await
    }

    async fn run(&self, name: &UnitName, verb: Verb) -> Result<JobResult, ManagerError> {
        let shared = &self.shared;
        let method = match verb {
            Verb::Start => "StartUnit",
            Verb::Stop => "StopUnit",
            Verb::Restart => "RestartUnit",
        };
        match shared.submit(method, name).await {
            Ok(job) => shared.end_of(job).await,
            Err(ManagerError::Refused { name: error, message, .. }) => {
                // A refusal has no signal, though systemd may have read the file just now, and found it bad.
                shared.list(std::slice::from_ref(name)).await?;
                Ok(JobResult::Refused { name: error, message })
            }
            Err(err) => Err(err),
        }
    }

    async fn exec(&self, order: ExecOrder) -> Result<Execution, ManagerError> {
        self.shared.exec(order).await
    }

    async fn invocation(&self, name: &UnitName) -> Result<String, ManagerError> {
        let id: Vec<u8> = self.shared.property(name, "org.freedesktop.systemd1.Unit", "InvocationID").await?;
        Ok(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn status(&self, name: &UnitName) -> Option<UnitStatus> {
        self.shared.lock().status(name).cloned()
    }

    fn events(&self) -> Option<mpsc::Receiver<ManagerEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Shared {
    /// The state. Held for the blink of an eye only, never over an `await`.
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between would be a bug of ours in code that only sets fields; going on with those is the better end.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disconnected(&self) -> ManagerError {
        let reason = match &self.lock().link {
            Link::Up(_) => "the connection was lost meanwhile".to_owned(),
            Link::Down(reason) => reason.clone(),
        };
        ManagerError::Disconnected { address: self.address.to_string(), reason }
    }

    /// Looks at everything for the first time on a connection.
    async fn greet(&self) -> Result<(), ManagerError> {
        let files = self.files.clone();
        blocking(move || files.make()).await?;
        self.find().await?;
        self.list_all().await?;
        let names = self.lock().ours_in_memory();
        self.ask_results(&names).await
    }

    /// Reads what is on disk, and counts it among ours.
    async fn find(&self) -> Result<Found, ManagerError> {
        let files = self.files.clone();
        let found = blocking(move || files.find()).await?;
        let mut state = self.lock();
        found.files.iter().map(|(name, _)| name).chain(&found.receipts_alone).for_each(|name| state.track(name));
        drop(state);
        Ok(found)
    }

    /// Counts units whose files were written among ours, and has systemd read them anew if it holds one in memory otherwise.
    async fn take_up(&self, written: &[&UnitName]) -> Result<(), ManagerError> {
        {
            let mut state = self.lock();
            written.iter().for_each(|name| state.track(name));
        }
        let _one_at_a_time = self.reload.lock().await;
        let asked: Vec<&UnitName> = {
            let state = self.lock();
            let units = written.iter().filter(|name| name.form() != Form::Template);
            units.filter(|name| state.may_be_in_memory(name)).copied().collect()
        };
        if self.any(asked.into_iter().map(|name| self.needs_reload(name))).await? {
            self.reload().await?;
        }
        Ok(())
    }

    /// Makes a call; `take` reads the reply at its place among the signals.
    async fn call<T: Send + 'static>(
        &self,
        what: &str,
        message: zbus::Result<Message>,
        take: impl FnOnce(&mut State, &Message) -> zbus::Result<T> + Send + 'static,
    ) -> Result<T, ManagerError> {
        let unreadable = |err: zbus::Error| ManagerError::Disconnected {
            address: self.address.to_string(),
            reason: format!("{what}: {err}"),
        };
        let message = message.map_err(unreadable)?;
        let (tell, told) = oneshot::channel();
        let connection = {
            let mut state = self.lock();
            let Link::Up(connection) = &state.link else {
                drop(state);
                return Err(self.disconnected());
            };
            let connection = connection.clone();
            let handler = move |state: &mut State, reply: Result<&Message, &CallError>| {
                let answer = reply.map_err(CallError::clone).map(|message| take(state, message));
                // The caller may have gone; what had to be done at this place among the signals is done.
                drop(tell.send(answer));
            };
            state.expect(message.primary_header().serial_num(), Box::new(handler));
            connection
        };
        let answer = async {
            connection.send(&message).await?;
            Ok::<_, zbus::Error>(told.await)
        };
        match tokio::time::timeout(CALL_LIMIT, answer).await {
            Ok(Ok(Ok(Ok(taken)))) => taken.map_err(unreadable),
            Ok(Ok(Ok(Err(CallError::Refused { name, message })))) => {
                Err(ManagerError::Refused { call: what.to_owned(), name, message })
            }
            Ok(Ok(Ok(Err(CallError::Lost(_))) | Err(_))) => Err(self.disconnected()),
            Ok(Err(err)) => Err(unreadable(err)),
            Err(_) => Err(ManagerError::Disconnected {
                address: self.address.to_string(),
                reason: format!("{what}: no answer within {CALL_LIMIT:?}"),
            }),
        }
    }

    /// A call of which only the reply's being there counts.
    async fn plain_call(&self, what: &str, message: zbus::Result<Message>) -> Result<(), ManagerError> {
        let _window = self.window.acquire().await;
        self.call(what, message, |_, _| Ok(())).await
    }

    /// Asks for one property.
    async fn property<T>(&self, name: &UnitName, interface: &str, property: &str) -> Result<T, ManagerError>
    where
        T: TryFrom<OwnedVariant, Error = zbus::Error> + Send + 'static,
    {
        let _window = self.window.acquire().await;
        let message = property_call(&unit_path(name.as_str()), interface, property);
        let what = format!("Get {property} of {name}");
        self.call(&what, message, |_, reply| T::try_from(reply.body().deserialize::<OwnedVariant>()?)).await
    }

    /// Lists these units, loading those that are not in memory, into the state. Returns the rows.
    ///
    /// systemd refuses the whole list for one name that it does not take. Then each name is asked for alone, so that one bad
    /// name hides no other unit; it has no row.
    async fn list(&self, names: &[UnitName]) -> Result<Vec<Row>, ManagerError> {
        // A template is no unit, and one among the names would be such a bad one.
        let names: Vec<&UnitName> = names.iter().filter(|name| name.form() != Form::Template).collect();
        match self.list_at_once(&names).await {
            Err(ManagerError::Refused { .. }) => (),
            other => return other,
        }
        let mut rows = Vec::new();
        for name in names {
            match self.list_at_once(&[name]).await {
                Ok(row) => rows.extend(row),
                Err(err @ ManagerError::Refused { .. }) => tracing::warn!(%name, %err, "no state for this unit"),
                Err(err) => return Err(err),
            }
        }
        Ok(rows)
    }

    async fn list_at_once(&self, names: &[&UnitName]) -> Result<Vec<Row>, ManagerError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let message = manager_call("ListUnitsByNames", &(names,));
        self.call("ListUnitsByNames", message, |state, reply| {
            let rows: Vec<Row> = reply.body().deserialize()?;
            state.listed(&rows);
            Ok(rows)
        })
        .await
    }

    /// Lists all that is in memory into the state.
    async fn list_all(&self) -> Result<(), ManagerError> {
        let listed = self.call("ListUnits", manager_call("ListUnits", &()), |state, reply| {
            let rows: Vec<Row> = reply.body().deserialize()?;
            state.listed_all(&rows);
            Ok(rows)
        });
        let rows = listed.await?;
        self.news.notify_one();
        self.stop_left_execs(&rows).await
    }

    /// Asks for the result of those that may have failed and of which none is known: lists do not have it.
    async fn ask_results(&self, names: &[UnitName]) -> Result<(), ManagerError> {
        let unknown: Vec<(&UnitName, &str)> = {
            let state = self.lock();
            names
                .iter()
                .filter(|name| {
                    state.status(name).is_some_and(|status| {
                        status.result.is_empty() && !matches!(status.active.as_str(), "inactive" | "active")
                    })
                })
                .filter_map(|name| Some((name, result_interface(name.unit_type())?)))
                .collect()
        };
        let asked = unknown.into_iter().map(|(name, interface)| async move {
            let result: String = self.property(name, interface, "Result").await?;
            self.lock().properties(name, None, None, Some(&result));
            Ok(())
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn needs_reload(&self, name: &UnitName) -> Result<bool, ManagerError> {
        self.property(name, "org.freedesktop.systemd1.Unit", "NeedDaemonReload").await
    }

    async fn holds_in_memory(&self, name: &UnitName) -> Result<bool, ManagerError> {
        let _window = self.window.acquire().await;
        match self.call("GetUnit", manager_call("GetUnit", &(name.as_str(),)), |_, _| Ok(())).await {
            Ok(()) => Ok(true),
            Err(ManagerError::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Whether any of these says yes.
    async fn any(
        &self,
        asked: impl Iterator<Item = impl Future<Output = Result<bool, ManagerError>>>,
    ) -> Result<bool, ManagerError> {
        join_all(asked).await.into_iter().try_fold(false, |any, one| Ok(any | one?))
    }

    /// Has systemd read all its files anew, and waits until it has.
    async fn reload(&self) -> Result<(), ManagerError> {
        tracing::debug!(address = %self.address, "daemon-reload");
        self.plain_call("Reload", manager_call("Reload", &())).await
    }

    async fn remove(&self, names: &[UnitName]) -> Result<Vec<Result<(), ManagerError>>, ManagerError> {
        // Listing a unit that is not in memory would have systemd read its file, only to forget it again; it is at rest.
        let rows = self.list(&self.those_in_memory(names)).await?;
        let rows: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.0.as_str(), row)).collect();
        let refusal = |name: &UnitName| {
            let (_, _, _, active, sub, _, _, job, job_type, _) = rows.get(name.as_str())?;
            let why = match active.as_str() {
                _ if *job != 0 => format!("{name} has a {job_type} job"),
                "inactive" | "failed" => return None,
                _ => format!("{name} is {active} ({sub})"),
            };
            let (call, error) = (format!("removal of {name}"), NOT_AT_REST.to_owned());
            Some(ManagerError::Refused { call, name: error, message: format!("{why}; stop it first") })
        };
        let mut outcomes: Vec<Result<(), ManagerError>> =
            names.iter().map(|name| refusal(name).map_or(Ok(()), Err)).collect();
        let at_rest: Vec<UnitName> =
            names.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(name, _)| name.clone()).collect();
        let failed = at_rest.iter().filter(|name| rows.get(name.as_str()).is_some_and(|row| row.3 == "failed"));
        for reset in join_all(failed.map(|name| self.reset_failed(name))).await {
            reset?;
        }
        let (files, batch) = (self.files.clone(), at_rest.clone());
        let mut removed = blocking(move || {
            let removed: Vec<_> = batch.iter().map(|name| files.remove(name)).collect();
            files.stamp()?;
            Ok(removed)
        })
        .await?
        .into_iter();
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
            *outcome = removed.next().unwrap_or(Ok(()));
        }
        // What other units name stays in memory as it was: they would pull it in although it is removed.
        let _one_at_a_time = self.reload.lock().await;
        let asked = self.those_in_memory(&at_rest);
        if self.any(asked.iter().map(|name| self.holds_in_memory(name))).await? {
            self.reload().await?;
        }
        let mut state = self.lock();
        for (name, outcome) in names.iter().zip(&outcomes) {
            if outcome.is_ok() {
                state.untrack(name);
            }
        }
        drop(state);
        Ok(outcomes)
    }

    /// Those that systemd may have in memory, as far as it has told. Templates never are.
    fn those_in_memory(&self, names: &[UnitName]) -> Vec<UnitName> {
        let state = self.lock();
        let units = names.iter().filter(|name| name.form() != Form::Template);
        units.filter(|name| state.may_be_in_memory(name)).cloned().collect()
    }

    /// Has systemd forget a failure, and with it the unit if nothing else names it.
    async fn reset_failed(&self, name: &UnitName) -> Result<(), ManagerError> {
        match self.plain_call("ResetFailedUnit", manager_call("ResetFailedUnit", &(name.as_str(),))).await {
            Err(ManagerError::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(()),
            other => other,
        }
    }
}

/// Does work on files off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ManagerError> + Send + 'static,
) -> Result<T, ManagerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(err) => Err(ManagerError::File {
            verb: "work on",
            path: "unit files".to_owned(),
            reason: format!("the runtime is shutting down ({err})"),
        }),
    }
}
