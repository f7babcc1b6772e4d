//! Commands beside a unit: each is a transient service of systemd's, with what says who and where the unit is.
//!
//! How it ends is told by the signals about that service. It is not asked for: systemd forgets the service with its end, and only a
//! client of a bus, not one of the private socket, could keep it from that. If the connection breaks meanwhile, the end is never
//! known; then the first thing that is done on the next connection is to stop what is left.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleet_core::unit::{UnitName, UnitType};
use tokio::sync::oneshot;
use zbus::{Fd, OwnedVariant, Variant};

use super::Shared;
use super::connection::{manager_call, properties_call};
use super::jobs::Job;
use super::path::{result_interface, unit_path};
use super::state::{Row, State};
use crate::exec::{EXEC_PREFIX, ExecEnd, ExecOrder, Execution, NO_SERVICE};
use crate::{JobResult, ManagerError, NO_SUCH_UNIT};

/// How long systemd has to come to the program: less than other daemons wait for the begin of an answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long the command has to end after SIGTERM, before it is killed. Nobody waits for it any more.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What a command takes over from its unit, under the names that systemd gives and takes them by.
///
/// Who: the user and groups. Where: the directories, the environment, the slice, the namespaces. What protects the machine from the
/// unit and what limits its share of resources is not in it: whoever may run commands here may write such a unit, too.
///
/// Each directory goes with its mode, for systemd gives it that mode anew with each start.
const TAKEN_OVER: [&str; 32] = [
    "BindPaths",
    "BindReadOnlyPaths",
    "CacheDirectory",
    "CacheDirectoryMode",
    "ConfigurationDirectory",
    "ConfigurationDirectoryMode",
    "DynamicUser",
    "Environment",
    "EnvironmentFiles",
    "ExecSearchPath",
    "Group",
    "IPCNamespacePath",
    "LogsDirectory",
    "LogsDirectoryMode",
    "NetworkNamespacePath",
    "PassEnvironment",
    "PrivateIPC",
    "PrivateNetwork",
    "PrivateTmp",
    "RootDirectory",
    "RootImage",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "Slice",
    "StateDirectory",
    "StateDirectoryMode",
    "SupplementaryGroups",
    "TemporaryFileSystem",
    "UMask",
    "UnsetEnvironment",
    "User",
    "WorkingDirectory",
];

/// What is known of a command that was begun.
#[derive(Debug)]
pub(super) struct Begun {
    /// The kind of the main process's end, as waitid(2) has it; 0 as long as there is none.
    kind: i32,
    number: i32,
    result: String,
    /// It has been seen at work: from then on, to be inactive is to have ended.
    was_up: bool,
    /// Its start job has ended well.
    started: bool,
    tell: oneshot::Sender<ExecEnd>,
}

/// What one signal says of a command. `None`: nothing of that.
#[derive(Debug, Default)]
pub(super) struct ExecNews<'a> {
    pub(super) active: Option<&'a str>,
    pub(super) kind: Option<i32>,
    pub(super) number: Option<i32>,
    pub(super) result: Option<&'a str>,
}

impl Begun {
    fn new(tell: oneshot::Sender<ExecEnd>) -> Begun {
        Begun { kind: 0, number: 0, result: "success".to_owned(), was_up: false, started: false, tell }
    }

    /// Takes what a signal says. Whether that was the end.
    ///
    /// systemd sends what the service says before what the unit says, so when the unit is inactive the rest is known.
    fn take(&mut self, news: &ExecNews<'_>) -> bool {
        self.kind = news.kind.unwrap_or(self.kind);
        self.number = news.number.unwrap_or(self.number);
        if let Some(result) = news.result {
            result.clone_into(&mut self.result);
        }
        match news.active {
            // Before its start, too; one that was fast may never be seen otherwise.
            Some("inactive" | "failed") => self.was_up || self.kind != 0 || self.result != "success",
            Some(_) => {
                self.was_up = true;
                false
            }
            None => false,
        }
    }

    /// It has ended: whoever waits hears how.
    fn end(self) {
        let Begun { kind, number, result, started, tell, .. } = self;
        // systemd dropped it before anything was told: nobody can know how it ended, which is what dropping the sender says.
        if kind == 0 && result == "success" {
            return;
        }
        // The one who waits may be gone; then nobody wants to know.
        drop(tell.send(ExecEnd::read(kind, number, &result, started)));
    }
}

impl Shared {
    /// Begins a command, and returns when its program runs, or has ended, or could not be begun.
    pub(super) async fn exec(&self, order: ExecOrder) -> Result<Execution, ManagerError> {
        let refused = |name: &str, message: String| ManagerError::Refused {
            call: format!("a command beside {}", order.unit),
            name: name.to_owned(),
            message,
        };
        if order.unit.unit_type() != UnitType::Service {
            return Err(refused(NO_SERVICE, format!("{} is no service: no program runs in it", order.unit)));
        }
        let of_unit = self.properties(&order.unit, "org.freedesktop.systemd1.Unit").await?;
        let load = of_unit.get("LoadState").and_then(|load| <&str>::try_from(load).ok()).unwrap_or_default();
        if load != "loaded" {
            return Err(refused(NO_SUCH_UNIT, format!("the unit is {load} there")));
        }
        let neighbors = neighbors(&order.unit, &of_unit);
        let unit = order.unit.clone();
        let name = order.name().map_err(|reason| refused("fleet.BadId", reason))?;
        let settings = self.settings(&order.unit).await?;
        let end = {
            let (tell, end) = oneshot::channel();
            self.lock().begin_exec(&name, Begun::new(tell));
            end
        };
        let message = {
            let properties = properties(&order, neighbors, settings);
            let others: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
            manager_call("StartTransientUnit", &(name.as_str(), "fail", properties, others))
        };
        // The command has its ends of the pipes from the message; ours would keep the pipes open after its end.
        drop(order);
        let submitted = {
            let _window = self.window.acquire().await;
            self.call("StartTransientUnit", message, Job::read).await
        };
        let begun = match submitted {
            Ok(job) => self.end_of(job).await,
            Err(err) => Err(err),
        };
        match begun {
            Ok(result) => {
                let started = result == JobResult::Done;
                tracing::debug!(%unit, %name, started, "a command was begun");
                Ok(Execution { name, started, end })
            }
            Err(err) => {
                self.lock().forget_exec(&name);
                Err(err)
            }
        }
    }

    /// What the command takes over from the unit, as far as the unit says anything of it.
    async fn settings(&self, unit: &UnitName) -> Result<BTreeMap<&'static str, OwnedVariant>, ManagerError> {
        let interface = result_interface(UnitType::Service).expect("services have results");
        let mut all = self.properties(unit, interface).await?;
        let said = TAKEN_OVER.iter().filter_map(|name| Some((*name, all.remove(*name)?)));
        Ok(said.filter(|(_, value)| !is_empty(value)).collect())
    }

    /// All properties of a unit under an interface.
    async fn properties(
        &self,
        unit: &UnitName,
        interface: &str,
    ) -> Result<HashMap<String, OwnedVariant>, ManagerError> {
        let _window = self.window.acquire().await;
        let message = properties_call(&unit_path(unit.as_str()), interface);
        self.call(&format!("GetAll of {unit}"), message, |_, reply| reply.body().deserialize()).await
    }

    /// Stops commands that an earlier connection, or an earlier `fleetd`, has begun: nobody waits for them.
    pub(super) async fn stop_left_execs(&self, rows: &[Row]) -> Result<(), ManagerError> {
        let is_left = |row: &&Row| row.0.starts_with(EXEC_PREFIX) && matches!(row.3.as_str(), "active" | "activating");
        for name in rows.iter().filter(is_left).filter_map(|row| row.0.parse::<UnitName>().ok()) {
            if self.lock().has_exec(&name) {
                continue;
            }
            tracing::info!(%name, "a command that nobody waits for is stopped");
            match self.submit("StopUnit", &name).await {
                Ok(_) | Err(ManagerError::Refused { .. }) => (),
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// Whose namespaces the command joins: those of the unit, or of those that the unit has joined, for systemd looks no further than one
/// step. It counts all who join each other, and so other commands too.
fn neighbors(unit: &UnitName, of_unit: &HashMap<String, OwnedVariant>) -> Vec<String> {
    let joined = of_unit.get("JoinsNamespaceOf").and_then(|joined| joined.try_clone().ok());
    let joined: Vec<String> = joined.and_then(|joined| joined.try_into().ok()).unwrap_or_default();
    let others = joined.into_iter().filter(|name| !name.starts_with(EXEC_PREFIX));
    std::iter::once(unit.to_string()).chain(others).collect()
}

/// Whether it says nothing, so that systemd need not be told, which does not take every empty value.
fn is_empty(value: &OwnedVariant) -> bool {
    match Variant::try_from(value) {
        Ok(Variant::Str(text)) => text.is_empty(),
        Ok(Variant::Array(items)) => items.is_empty(),
        Ok(Variant::Bool(yes)) => !yes,
        Ok(_) => false,
        // A value that cannot be copied is one with descriptors in it, which no setting is.
        Err(_) => true,
    }
}

/// What StartTransientUnit is told.
fn properties<'a>(
    order: &'a ExecOrder,
    neighbors: Vec<String>,
    settings: BTreeMap<&'static str, OwnedVariant>,
) -> Vec<(&'static str, Variant<'a>)> {
    let us = |time: Duration| Variant::from(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let ExecOrder { unit, command, limit, pipes, .. } = order;
    // Nothing in the words is replaced: what looks like a variable is one of whoever asked.
    let line = (command.first().cloned().unwrap_or_default(), command.clone(), vec!["no-env-expand".to_owned()]);
    let mut properties = vec![
        ("Description", Variant::from(format!("a command beside {unit}"))),
        ("CollectMode", Variant::from("inactive-or-failed")),
        // Its start is over when the program runs, so that one that cannot be run is told apart from one that fails.
        ("Type", Variant::from("exec")),
        ("ExecStartEx", Variant::from(vec![line])),
        ("RuntimeMaxUSec", us(*limit)),
        ("TimeoutStartUSec", us(START_LIMIT)),
        ("TimeoutStopUSec", us(STOP_LIMIT)),
        // It goes with its unit; it is not started anew with it.
        ("StopPropagatedFrom", Variant::from(vec![unit.as_str().to_owned()])),
        ("JoinsNamespaceOf", Variant::from(neighbors)),
        // They are the unit's, and stay when the command ends.
        ("RuntimeDirectoryPreserve", Variant::from("yes")),
        ("StandardInputFileDescriptor", Variant::from(Fd::from(&pipes.stdin))),
        ("StandardOutputFileDescriptor", Variant::from(Fd::from(&pipes.stdout))),
        ("StandardErrorFileDescriptor", Variant::from(Fd::from(&pipes.stderr))),
    ];
    for (name, value) in settings {
        let value = Variant::from(value);
        let value = match (name, &value) {
            // What is asked for with `-` is told with `!`.
            ("WorkingDirectory", Variant::Str(path)) => match path.strip_prefix('!') {
                Some(path) => Variant::from(format!("-{path}")),
                None => value,
            },
            _ => value,
        };
        properties.push((name, value));
    }
    properties
}

impl State {
    fn begin_exec(&mut self, name: &UnitName, begun: Begun) {
        self.execs.insert(unit_path(name.as_str()), begun);
    }

    fn has_exec(&self, name: &UnitName) -> bool {
        self.execs.contains_key(&unit_path(name.as_str()))
    }

    /// The start job of a command has ended well.
    pub(super) fn exec_started(&mut self, name: &str) {
        if let Some(begun) = self.execs.get_mut(&unit_path(name)) {
            begun.started = true;
        }
    }

    /// What a signal says of a command.
    pub(super) fn exec_told(&mut self, path: &str, news: &ExecNews<'_>) {
        if self.execs.get_mut(path).is_some_and(|begun| begun.take(news)) {
            self.exec_ended(path);
        }
    }

    /// Nothing of a command is left.
    pub(super) fn exec_ended(&mut self, path: &str) {
        if let Some(begun) = self.execs.remove(path) {
            begun.end();
        }
    }

    fn forget_exec(&mut self, name: &UnitName) {
        self.execs.remove(&unit_path(name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds signals, and gives what was told at the end.
    fn told(signals: &[ExecNews<'_>]) -> Result<ExecEnd, &'static str> {
        let (tell, mut end) = oneshot::channel();
        let mut begun = Begun::new(tell);
        for (at, news) in signals.iter().enumerate() {
            if begun.take(news) {
                assert_eq!(at + 1, signals.len(), "the end came too early");
                begun.end();
                return end.try_recv().map_err(|_| "nothing");
            }
        }
        Err("no end")
    }

    fn is(active: &str) -> ExecNews<'_> {
        ExecNews { active: Some(active), ..ExecNews::default() }
    }

    fn ends(kind: i32, number: i32, result: &str) -> ExecNews<'_> {
        ExecNews { active: None, kind: Some(kind), number: Some(number), result: Some(result) }
    }

    #[test]
    fn the_end_is_read_from_signals() {
        let slow = [is("inactive"), is("activating"), is("active"), ends(1, 3, "exit-code"), is("failed")];
        assert_eq!(told(&slow), Ok(ExecEnd::Exited(3)));
        // All in one, as systemd tells of what is over in no time.
        assert_eq!(told(&[ends(1, 0, "success"), is("inactive")]), Ok(ExecEnd::Exited(0)));
        assert_eq!(told(&[is("inactive"), is("inactive")]), Err("no end"), "it waits to be started");
        assert_eq!(told(&[is("activating"), is("inactive")]), Err("nothing"), "systemd said nothing of it");
        let without_a_process = told(&[ends(0, 0, "resources"), is("failed")]);
        assert!(matches!(without_a_process, Ok(ExecEnd::NotStarted { status: 0, .. })), "{without_a_process:?}");
    }
}
